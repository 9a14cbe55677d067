"""Every method on one task: does what it trains come to be better, and to do what is preferred?

    python -m benchmarks.methods [--only ARM ...] [--out DIR] [--seeds 5] [--steps 12] [--starts 200] [--report-only]

An arm is a preset on one GUI task, from the shipped base, 64 episodes a step, at the preset's own learning rate; and
``dpo-swapped``, with every label the wrong way round. Steps in which the preset's judges learn alone come before the
others. Each arm's last policy and the base then play the same held-out starts, sampled as in training. *Success* is the
final check. The *preference rate* is the share of starts on which the trained policy's episode is preferred by somebody
who likes success, sub-goals and the short path (the ``reward`` of the preset ``dpo``), ties counted half, so that 50 %
is no change. The KL, and a reward model's accuracy over pairs that it had not learned from, are those of the last
quarter of the steps; for the model both of those in which it learns alone, from the base's episodes, and of those after
them.

Runs one after another, on one core, into ``DIR/ARM-SEED`` and leaves out those that are finished; then writes the table
between the markers of ``docs/results.md``.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.page import experiment, put, table
from benchmarks.stats import Interval, t_interval, told
from policy.agent import VLMAgent, context_of
from policy.codecs import codec_named
from policy.engine import Sampling
from policy.vlm import VLM
from training import checkpoint
from training.advantages import EQUAL
from training.config import PRESETS, Config
from training.evaluate import HELD_OUT_SEED
from training.loop import train
from training.report import read_lines
from training.rewards import RewardWeights, total
from training.rollout import EpisodeSpec, run_episodes

TASK = "gui/type-text-v0"
"""On which the base fails in a third of the episodes (the one before, of docs/results.md, by haste in four of
five), so that there is something to learn and to prefer."""
EPISODES = 64
"""Episodes a step."""
PREFERENCE = PRESETS["dpo"].reward
SWAPPED = {name: -weight for name, weight in PREFERENCE.items()}
SMALL: dict[str, Any] = {"task_weights": {}, "ranks": 1, "eval_episodes": 0, "save_every": 1000}


def on_one_task(config: Config, task: str = TASK, **changes: Any) -> Config:
    """A preset's run, small: one task, one rank, :data:`EPISODES` a step, no evaluation of its own."""
    settings = SMALL | {"tasks": task, "groups": EPISODES // config.group_size} | changes
    return dataclasses.replace(config, **settings)


ARMS: dict[str, Config] = {name: on_one_task(config) for name, config in PRESETS.items() if name != "debug"}
ARMS["dpo-swapped"] = on_one_task(PRESETS["dpo"], reward=SWAPPED)
KL_CAP = 0.1
"""Nats a token to the base, within which a preference has to be met."""
Outcomes = tuple[NDArray[np.float64], NDArray[np.float64]]
"""By held-out start: what the one who prefers thinks of the episode, and whether it succeeded."""


def outcomes(policy: str | Path, config: Config, starts: int) -> Outcomes:
    """Of one sampled episode of the config's task from each of [starts] held-out starts."""
    codec, vlm = codec_named(config.codec), VLM.load(policy, bf16=config.bf16).eval()
    context = context_of(vlm, codec, config.frames, config.last_actions)
    agent = VLMAgent(vlm, codec, context, Sampling(config.temperature, codec.max_tokens))
    specs = [EpisodeSpec(config.tasks, HELD_OUT_SEED + i, "heldout", episode=i) for i in range(starts)]
    weights = RewardWeights(**PREFERENCE)
    played = list(run_episodes(agent, specs, weights, config.batch))
    return np.array([total(t, weights) for t in played]), np.array([float(t.success) for t in played])


def preference_rate(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Share of starts on which ours is preferred; ties count half."""
    gain = ours - theirs
    return float(np.mean(np.where(np.abs(gain) <= EQUAL, 0.5, gain > 0)))


def run_all(out: Path, seeds: int, steps: int, starts: int, names: tuple[str, ...] = tuple(ARMS)) -> None:
    """Every arm and seed that has no result yet, seed by seed."""
    base: Outcomes | None = None
    for seed in range(seeds):
        for name in names:
            folder = out / f"{name}-{seed}"
            if (folder / "outcome.json").is_file():
                continue
            config = dataclasses.replace(ARMS[name], seed=seed, steps=steps + ARMS[name].judge_steps)
            if not (folder / "summary.json").is_file():
                train(config, folder, folder if (folder / "checkpoints").is_dir() else None)
            base = base or outcomes("base", config, starts)
            after = outcomes(checkpoint.model_folder(folder), config, starts)
            outcome = {"rate": preference_rate(after[0], base[0]), "success": after[1].mean(), "before": base[1].mean()}
            more = {"starts": starts, "judge_steps": config.judge_steps}
            (folder / "outcome.json").write_text(json.dumps(outcome | more) + "\n")


def figures(folder: Path) -> dict[str, float]:
    """What one run came to.

    ``before``, ``success``, ``while`` (training), ``rate``, environment ``steps``; and, where they were measured,
    ``kl`` over the last quarter of the steps, and the share of pairs that a reward model ranks right before it learns
    from them: ``accuracy`` in the last quarter of the steps in which it learns alone, ``later`` in that of the others.
    """
    lines = read_lines(folder / "metrics.jsonl")
    outcome = json.loads((folder / "outcome.json").read_text())
    alone = outcome.get("judge_steps", 0)
    learning, lines = lines[:alone], lines[alone:]
    found = {name: outcome[name] for name in ("before", "success", "rate")}
    found["while"] = float(np.mean([line[f"success/{TASK}"] for line in lines]))
    found["steps"] = lines[-1]["env_steps"]
    # A step in which nothing was learned measured no KL.
    if apart := [line["kl/reference"] for line in _last(lines) if "kl/reference" in line]:
        found["kl"] = float(np.mean(apart))
    for name, those in (("accuracy", learning), ("later", lines)):
        judged = [line for line in _last(those) if "reward_model/accuracy" in line]
        pairs = sum(line["reward_model/pairs"] for line in judged)
        if pairs:
            found[name] = sum(line["reward_model/accuracy"] * line["reward_model/pairs"] for line in judged) / pairs
    return found


def _last(lines: list[dict[str, float]]) -> list[dict[str, float]]:
    """The last quarter of some steps."""
    return lines[-max(1, len(lines) // 4) :]


def collected(out: Path, seeds: int) -> dict[str, dict[str, Interval]]:
    """By arm and figure: mean and t interval over the seeds that are finished; no arm without one."""
    table: dict[str, dict[str, Interval]] = {}
    for arm in ARMS:
        done = [out / f"{arm}-{s}" for s in range(seeds) if (out / f"{arm}-{s}" / "outcome.json").is_file()]
        runs = [figures(folder) for folder in done]
        for name in dict.fromkeys(name for run in runs for name in run):
            values = np.array([run[name] for run in runs if name in run])
            table.setdefault(arm, {"runs": (len(runs),) * 3})[name] = t_interval(values)
    return table


def write(out: Path, seeds: int) -> None:
    """Put the table between the markers of ``docs/results.md``."""

    def cell(value: Interval | None, form: str) -> str:
        return "" if value is None else told(value, form)

    columns = {
        "while": ("success while training", ".0%"),
        "success": ("held out, after", ".0%"),
        "rate": ("preferred to the base", ".0%"),
        "kl": ("KL to the base, nats a token", ".3f"),
        "accuracy": ("reward model, new pairs of the base", ".0%"),
        "later": ("of the policy", ".0%"),
        "steps": ("environment steps", ",.0f"),
    }
    lines = [
        [arm, f"{found['runs'][0]:.0f}", *(cell(found.get(name), form) for name, (_, form) in columns.items())]
        for arm, found in collected(out, seeds).items()
    ]
    put("methods", table(["arm", "runs", *(head for head, _ in columns.values())], lines))


def main() -> None:
    parser = experiment(__doc__, "methods", 5)
    parser.add_argument("--only", nargs="+", choices=[*ARMS], default=[*ARMS], metavar="ARM")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--starts", type=int, default=200)
    options = parser.parse_args()
    if not options.report_only:
        run_all(options.out, options.seeds, options.steps, options.starts, tuple(options.only))
    write(options.out, options.seeds)


if __name__ == "__main__":
    main()
