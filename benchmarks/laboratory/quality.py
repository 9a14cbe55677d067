"""Gradient quality: how near each estimator's gradient, from one group of episodes, is to the true one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.laboratory.chain import Array, Chain, exact, gradients, play, softmax
from benchmarks.laboratory.estimators import ESTIMATORS, Batch, Critics, gigpo, grpo, paid_at_the_end
from benchmarks.stats import interval

WORLDS = {10: Chain(4, 10, 0.8), 30: Chain(6, 30, 0.8), 50: Chain(8, 50, 1.5)}
"""By horizon; harder ones in proportion, so that a good part of a group succeeds everywhere."""
GROUPS, GROUP_SIZE = 600, 8
CRITIC_EPISODES = 512
"""Played by the same policy before, for the critics to learn from: four steps of the preset ``ppo``."""
BRANCHES = 8


class Bench:
    """One world with its fixed policy, its true gradient, and groups of episodes to judge estimators by."""

    def __init__(self, world: Chain, groups: int, size: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng([seed, world.horizon, size])
        self.leads = world.shuffled(seed)
        self.policy = softmax(world.start(self.leads))
        self.values, self.truth = exact(world, self.leads, self.policy)
        self.critics = Critics(world, self.leads, self.policy, CRITIC_EPISODES, self.rng)
        self.group = np.repeat(np.arange(groups), size)
        self.run = np.zeros(groups * size, np.int64)
        played = play(world, self.leads[None], self.policy[None], self.run, self.rng)
        rewards = paid_at_the_end(played, played.success)
        self.batch = Batch(played, self.group, played.success, rewards, self.critics.values(played, self.values))

    def judge(self, estimator: Callable[[Batch], Array]) -> dict[str, Any]:
        """Cosine of each group's gradient with the true one; noise E|g − Eg|² / |Eg|²; cosine of the mean, the bias."""
        found = gradients(
            self.batch.played, estimator(self.batch), self.policy[None], self.run, self.group, self.group[-1] + 1
        ).reshape(-1, self.truth.size)
        truth, mean = self.truth.ravel(), found.mean(0)
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(truth)
        cosines = np.divide(found @ truth, lengths, out=np.zeros(len(found)), where=lengths > 0)
        return {
            "cosine": interval(cosines),
            "noise": float(((found - mean) ** 2).sum(1).mean() / (mean**2).sum()),
            "cosine_of_mean": float(mean @ truth / np.linalg.norm(mean) / np.linalg.norm(truth)),
        }


def by_horizon(groups: int = GROUPS) -> dict[str, Any]:
    """The full table at group size 8."""
    out: dict[str, Any] = {}
    for horizon, world in WORLDS.items():
        bench = Bench(world, groups, GROUP_SIZE)
        rows = {name: bench.judge(estimator) for name, estimator in ESTIMATORS.items()}
        out[str(horizon)] = {"success": float(bench.values[0, 0]), "estimators": rows}
    return out


def by_group_size(groups: int = GROUPS // 2) -> dict[str, Any]:
    """GRPO and GiGPO at other group sizes, at every horizon."""
    sizes = (2, 4, 16)
    benches = {(t, n): Bench(world, groups * 4 // n, n) for t, world in WORLDS.items() for n in sizes}
    return {
        str(t): {str(n): {"GRPO": benches[t, n].judge(grpo), "GiGPO": benches[t, n].judge(gigpo)} for n in sizes}
        for t in WORLDS
    }


def by_repetition(groups: int = GROUPS // 2) -> dict[str, Any]:
    """GiGPO at horizon 50 where keys tell moments apart, ever finer: by place, by place and bins of time, by moment."""
    bench = Bench(WORLDS[50], groups, GROUP_SIZE)
    out: dict[str, Any] = {"GRPO": bench.judge(grpo) | {"singletons": 1.0}}
    for name, bins in {"place": 0, "place and 10 steps": 10, "place and 3 steps": 3, "place and step": 1}.items():
        _, size, count = np.unique(bench.batch.keys(bins), axis=0, return_inverse=True, return_counts=True)
        row = bench.judge(lambda batch, bins=bins: gigpo(batch, bins))  # type: ignore[misc]
        out[f"GiGPO, key: {name}"] = row | {"singletons": float((count[size.ravel()] == 1).mean())}
    return out


def critics(states: int = 4000, repeats: int = 10) -> dict[str, Any]:
    """Correlation of critics with the mean of returns that are branched from snapshots of states the policy visits.

    From a snapshot a return is 1 with the probability that dynamic programming gives, so that branching is a draw.
    """
    out: dict[str, Any] = {}
    for horizon, world in WORLDS.items():
        found: dict[str, list[float]] = {}
        for seed in range(repeats):
            bench = Bench(world, 40, GROUP_SIZE, seed)
            values = bench.batch.values
            at = bench.rng.integers(len(bench.batch.rewards), size=states)
            branched = bench.rng.binomial(BRANCHES, values["exact"][at].clip(0, 1)) / BRANCHES
            for name, v in values.items():
                found.setdefault(name, []).append(float(np.corrcoef(v[at], branched)[0, 1]))
        gain = np.array(found["V(o, c)"]) - np.array(found["V(o)"])
        out[str(horizon)] = {name: interval(np.array(c)) for name, c in found.items()} | {"gain": interval(gain)}
    return out
