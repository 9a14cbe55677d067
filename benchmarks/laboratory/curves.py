"""Learning effects: paired runs from one start, the learning rate swept for each arm, exact success after each update.

Every arm sees the same number of groups an update (dynamic sampling apart, which is the arm that plays more). The sweep
has seeds of its own: the rate that learns best there, by the area under the curve, is the one that is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.laboratory.chain import Array, Chain, Episodes, Ints, gradients, play, softmax, success
from benchmarks.laboratory.estimators import ESTIMATORS, Batch, paid_at_the_end
from benchmarks.stats import interval
from training.advantages import EQUAL

RATES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
SWEEP_SEEDS, SEEDS = 8, 24
UPDATES, GROUPS, GROUP_SIZE = 60, 2, 8
DECAY = 0.9
"""Of the critics' tables: they are learned as the policy is, from its own last tens of updates."""


@dataclass(frozen=True)
class Arm:
    """One way to learn."""

    estimator: str = "GRPO"
    subgoal: float = 0.0
    """Weight of progress at the end, which is what the sub-goal terms of an episode add up to."""
    resample: int = 0
    """Rounds in which groups without variance are played again."""


class Learners:
    """R runs at once: softmax policies of their own in worlds of their own."""

    def __init__(self, world: Chain, arm: Arm, seeds: Sequence[int], rates: Array) -> None:
        self.world, self.arm, self.rates = world, arm, rates
        self.leads = np.stack([world.shuffled(seed) for seed in seeds])
        self.logits = np.stack([world.start(leads) for leads in self.leads])
        self.rng = np.random.default_rng([world.horizon, *seeds])
        self.env_steps = np.zeros(len(rates))
        self.played, self.wasted = 0, 0
        cells = len(rates) * world.horizon * world.places
        self.counts, self.sums = np.zeros(cells), np.zeros(cells)

    def update(self) -> None:
        """One collection (in rounds, with dynamic sampling) and one gradient step."""
        total, decisions = np.zeros_like(self.logits), np.zeros(len(self.rates))
        runs = np.repeat(np.arange(len(self.rates)), GROUPS)
        for _ in range(1 + self.arm.resample):
            part, count, runs = self._round(runs)
            total, decisions = total + part, decisions + count
            if not len(runs):
                break
        # As the trainer does: the mean over the decisions of groups that teach something.
        self.logits += self.rates[:, None, None] * total / np.maximum(decisions, 1)[:, None, None]

    def _round(self, runs: Ints) -> tuple[Array, Array, Ints]:
        """Gradients and decisions by run of one group for each of ``runs``; the runs of groups without variance."""
        policy = softmax(self.logits)
        group, run = np.repeat(np.arange(len(runs)), GROUP_SIZE), np.repeat(runs, GROUP_SIZE)
        played = play(self.world, self.leads, policy, run, self.rng)
        returns = played.success + self.arm.subgoal * played.reached / self.world.places
        batch = Batch(played, group, returns, paid_at_the_end(played, returns), self._values(played, run))
        advantage = ESTIMATORS[self.arm.estimator](batch)
        of = run[played.episode]
        self.env_steps += np.bincount(of, minlength=len(self.rates))
        taught = np.bincount(group[played.episode], np.abs(advantage), len(runs)) > 0
        kept = taught[group[played.episode]]
        spread = returns.reshape(len(runs), GROUP_SIZE)
        flat = spread.max(1) - spread.min(1) <= EQUAL
        self.played, self.wasted = self.played + len(runs), self.wasted + int(flat.sum())
        self._learn_values(batch, run)
        return (
            gradients(played, advantage, policy, run, run, len(self.rates)),
            np.bincount(of[kept], minlength=len(self.rates)).astype(np.float64),
            runs[flat],
        )

    def _cells(self, played: Episodes, run: Ints) -> Ints:
        place = played.time * self.world.places + played.place
        return run[played.episode] * self.world.horizon * self.world.places + place

    def _values(self, played: Episodes, run: Ints) -> dict[str, Array]:
        """V(o) and V(o, c) as learned until now: means over the last updates; c counts a place's mean as one visit."""
        shape = (len(self.rates), self.world.horizon, self.world.places)
        counts, sums = self.counts.reshape(shape), self.sums.reshape(shape)
        seen = sums.sum(1) / np.maximum(counts.sum(1), 1)
        known = (sums + seen[:, None]) / (counts + 1)
        of = run[played.episode]
        return {"V(o)": seen[of, played.place], "V(o, c)": known[of, played.time, played.place]}

    def _learn_values(self, batch: Batch, run: Ints) -> None:
        cells = self._cells(batch.played, run)
        self.counts = DECAY * self.counts + np.bincount(cells, minlength=len(self.counts))
        self.sums = DECAY * self.sums + np.bincount(cells, batch.returns[batch.played.episode], len(self.sums))


def learn(world: Chain, arm: Arm, seeds: Sequence[int], rates: Array, updates: int) -> tuple[Array, Array, Learners]:
    """Exact success [updates + 1, R] and environment steps [updates + 1, R] along R runs."""
    learners = Learners(world, arm, seeds, rates)
    curve, steps = [], []
    for _ in range(updates):
        curve.append(success(world, learners.leads, softmax(learners.logits)))
        steps.append(learners.env_steps.copy())
        learners.update()
    curve.append(success(world, learners.leads, softmax(learners.logits)))
    return np.array(curve), np.array([*steps, learners.env_steps]), learners


def run_arm(world: Chain, arm: Arm, updates: int, threshold: float) -> dict[str, Any]:
    """Sweep the rate on seeds of its own, then learn with the best on the seeds that are reported."""
    swept = list(range(1000, 1000 + SWEEP_SEEDS))
    curve, _, _ = learn(world, arm, swept * len(RATES), np.repeat(RATES, SWEEP_SEEDS), updates)
    areas = curve.mean(0).reshape(len(RATES), SWEEP_SEEDS).mean(1)
    best = float(RATES[int(areas.argmax())])
    curve, steps, learners = learn(world, arm, list(range(SEEDS)), np.full(SEEDS, best), updates)
    above = curve >= threshold
    # A run that never gets there counts as its whole length: a lower bound, and said so in the table.
    first = np.where(above.any(0), above.argmax(0), updates)
    return {
        "rate": best,
        "rate_areas": dict(zip(map(str, RATES), areas.tolist(), strict=True)),
        "curve": curve.mean(1).tolist(),
        "area": curve.mean(0).tolist(),
        "final": curve[-1].tolist(),
        "steps_to_threshold": steps[first, np.arange(SEEDS)].tolist(),
        "reached": int(above.any(0).sum()),
        "env_steps": steps.mean(1).tolist(),
        "wasted": learners.wasted / learners.played,
    }


def compare(
    world: Chain, arms: dict[str, Arm], base: str, threshold: float = 0.8, updates: int = UPDATES
) -> dict[str, Any]:
    """Every arm, and its paired differences from ``base`` with bootstrap intervals over the seeds."""
    found = {name: run_arm(world, arm, updates, threshold) for name, arm in arms.items()}

    def against(name: str, of: Callable[[dict[str, Any]], Any]) -> tuple[float, float, float]:
        return interval(np.array(of(found[name]), np.float64) - np.array(of(found[base]), np.float64))

    for name in arms:
        found[name]["against_base"] = {
            "area": against(name, lambda r: r["area"]),
            "final": against(name, lambda r: r["final"]),
            "log2_steps": against(name, lambda r: np.log2(np.maximum(r["steps_to_threshold"], 1))),
        }
    return {"arms": found, "base": base, "threshold": threshold, "updates": updates}


METHODS = {
    name: Arm(estimator)
    for name, estimator in {
        "GRPO": "GRPO",
        "step term alone": "step term alone",
        "GiGPO": "GiGPO",
        "PPO, V(o)": "learned V(o)",
        "PPO, V(o, c)": "learned V(o, c)",
    }.items()
}
SUBGOALS = {"task reward alone": Arm(), "task and sub-goal": Arm(subgoal=1.0)}
SHORT = Chain(6, 30, 0.8, slip=0.4)
LONG = Chain(8, 50, 1.2, slip=0.4)
"""With slips, or one lucky episode would teach everything at once."""
RARE = Chain(8, 50, 0.8, slip=0.4)
"""As LONG, from a start that succeeds in one of ten episodes: most groups fail together."""
REMOTE = Chain(12, 50, 0.8, slip=0.4)
"""Longer than the starting policy ever gets but by luck: one episode in a hundred."""

EXPERIMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "methods at horizon 30": lambda: compare(SHORT, METHODS, "GRPO"),
    "methods at horizon 50": lambda: compare(LONG, METHODS, "GRPO"),
    "sub-goals, start at 10 %": lambda: compare(RARE, SUBGOALS, "task reward alone"),
    "sub-goals, start at 1 %": lambda: compare(REMOTE, SUBGOALS, "task reward alone"),
    "dynamic sampling": lambda: compare(
        RARE, {"none": Arm(), "up to 3 rounds": Arm(resample=3)}, "none", threshold=0.9
    ),
}
