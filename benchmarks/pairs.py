"""Effects of credit with the vision-language policy in both worlds, each in pairs of runs from the shipped base.

    python -m benchmarks.pairs [--only NAME ...] [--out DIR] [--seeds 5] [--report-only]

- ``subgoals-screen``, ``subgoals-arm``: GRPO paid for the task alone, and for the task and its sub-goals, on one long
  task: logging in, and putting an object into a bowl.
- ``critic-screen``, ``critic-arm``: PPO with V(o), and with V(o, c) that sees the world's state too, on the same tasks.

Both arms of a pair have the seed, and so the starts, in common. What is compared: success on held-out seeds after
training, mean success of sampled episodes while training (the area under the curve), and environment steps
until its running mean over five steps first reaches 80 %; a run that never does counts with all of its steps.
Differences and the steps' ratio are means over the pairs (geometric for the ratio) with a 95 % t interval.

Runs one after another into ``DIR/EFFECT-ARM-SEED`` and leaves out those that are finished; then writes the table
between the markers of ``docs/results.md``.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.methods import on_one_task
from benchmarks.page import experiment, put, table
from benchmarks.stats import t_interval, told
from training.config import PRESETS, Config
from training.loop import train
from training.report import read_lines

THRESHOLD = 0.8
WINDOW = 5
"""Training steps of a running mean."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Two ways to give credit, otherwise the same run."""

    control: tuple[str, Config]
    treated: tuple[str, Config]

    @property
    def arms(self) -> tuple[tuple[str, Config], ...]:
        return self.control, self.treated


SCREEN, ROBOT = "gui/login-form-v0", "sims/put-in-bowl-v0"
"""Long tasks, on which the shipped base fails by haste."""


def _subgoals(task: str) -> Effect:
    both = on_one_task(PRESETS["grpo"], task, steps=20, eval_episodes=200)
    alone = dataclasses.replace(both, reward={**both.reward, "subgoal": 0.0})
    return Effect(("task alone", alone), ("task and sub-goals", both))


def _critic(task: str) -> Effect:
    blind, seeing = (on_one_task(PRESETS[p], task, steps=20, eval_episodes=200) for p in ("ppo", "ppo_privileged"))
    return Effect(("V(o)", blind), ("V(o, c)", seeing))


EFFECTS: dict[str, Effect] = {
    "subgoals-screen": _subgoals(SCREEN),
    "subgoals-arm": _subgoals(ROBOT),
    "critic-screen": _critic(SCREEN),
    "critic-arm": _critic(ROBOT),
}


def folder_of(out: Path, effect: str, arm: int, seed: int) -> Path:
    return out / f"{effect}-{arm}-{seed}"


def run_all(out: Path, names: tuple[str, ...], seeds: int) -> None:
    """Every run that has no summary yet, pair by pair."""
    for seed in range(seeds):
        for name in names:
            for number, (_, config) in enumerate(EFFECTS[name].arms):
                folder = folder_of(out, name, number, seed)
                if not (folder / "summary.json").is_file():
                    begun = folder if folder.is_dir() else None
                    train(dataclasses.replace(config, seed=seed), folder, begun)


def figures(run: Path) -> dict[str, float]:
    """What one run came to: ``before`` and ``after``, ``while`` and ``steps`` (and ``reached``, 1 where it did)."""
    tasks = json.loads((run / "summary.json").read_text())["tasks"]
    lines = read_lines(run / "metrics.jsonl")
    curve = [
        np.mean([line[f"success/{world}"] for world in ("gui", "sims") if f"success/{world}" in line]) for line in lines
    ]
    steps, reached = steps_to(np.array(curve), np.array([line["env_steps"] for line in lines]))
    return {
        "before": float(np.mean([t["before"]["success"] for t in tasks.values()])),
        "after": float(np.mean([t["after"]["success"] for t in tasks.values()])),
        "while": float(np.mean(curve)),
        "steps": steps,
        "reached": reached,
    }


def steps_to(curve: NDArray[np.float64], env_steps: NDArray[np.int64]) -> tuple[float, float]:
    """Environment steps until the curve's running mean is at the threshold, and 1; or all of them, and 0."""
    for end in range(WINDOW, len(curve) + 1):
        if curve[end - WINDOW : end].mean() >= THRESHOLD:
            return float(env_steps[end - 1]), 1.0
    return float(env_steps[-1]), 0.0


def pairs(out: Path, name: str, seeds: int) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Figures of both arms, of the seeds for which both are finished."""
    found = []
    for seed in range(seeds):
        control, treated = (folder_of(out, name, arm, seed) for arm in (0, 1))
        if all((run / "summary.json").is_file() for run in (control, treated)):
            found.append((figures(control), figures(treated)))
    return found


def tables(out: Path, seeds: int) -> str:
    """Markdown: two lines an effect, and their difference."""
    head = ["effect", "arm", "pairs", "before", "after, held out", "while training", "steps to 80 %", "reached"]
    lines = []
    for name, effect in EFFECTS.items():
        both = pairs(out, name, seeds)
        if not both:
            continue
        arms = [np.array([[pair[arm][key] for key in pair[arm]] for pair in both]) for arm in (0, 1)]
        for number, (label, _) in enumerate(effect.arms):
            before, after, area, steps, reached = arms[number].T
            cells = [f"{before.mean():.0%}", f"{after.mean():.0%}", f"{area.mean():.0%}", f"{np.median(steps):,.0f}"]
            cells.append(f"{reached.sum():.0f} of {len(both)}")
            lines.append([name, label, str(len(both)), *cells])
        gain = arms[1] - arms[0]
        gains = [told(t_interval(gain[:, column]), "+.1%") for column in (1, 2)]
        ratio = np.exp(t_interval(np.log(arms[1][:, 3] / arms[0][:, 3])))
        cells = ["difference, ratio of steps", "", "", *gains, told(ratio.tolist(), ".2f"), ""]
        lines.append([name, *cells])
    return table(head, lines)


def write(out: Path, seeds: int) -> None:
    """Put the table between the markers of ``docs/results.md``."""
    put("pairs", tables(out, seeds))


def main() -> None:
    parser = experiment(__doc__, "pairs", 5)
    parser.add_argument("--only", nargs="+", choices=[*EFFECTS], default=[*EFFECTS], metavar="NAME")
    options = parser.parse_args()
    if not options.report_only:
        run_all(options.out, tuple(options.only), options.seeds)
    write(options.out, options.seeds)


if __name__ == "__main__":
    main()
