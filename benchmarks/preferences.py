"""Learning from preferences: what the reward model knows, and whether the policy comes to do what is preferred.

    python -m benchmarks.preferences [--out DIR] [--seeds 5] [--steps 20] [--starts 200] [--report-only]

On one task, from the shipped base, somebody prefers success, sub-goals and the short path (the ``reward`` of the preset
``dpo``); no reward is paid. Arms: ``dpo``; ``dpo`` with every label swapped (the weights negated); ``rlhf``. Each arm's
last policy and the base then play the same held-out starts, sampled as in training: the *preference rate* is the share
of starts on which the trained policy's episode is preferred, ties counted half, so that 50 % is no change. The reward
model's accuracy is over pairs that it had not learned from, in the last quarter of the steps.

Runs one after another into ``DIR/ARM-SEED`` and leaves out those that are finished; then writes the table between the
markers of ``docs/results.md``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.laboratory.quality import interval
from benchmarks.page import ROOT, put
from policy.agent import VLMAgent, context_of
from policy.codecs import codec_named
from policy.engine import Sampling
from policy.vlm import VLM
from training import checkpoint
from training.advantages import EQUAL
from training.config import PRESETS, Config
from training.evaluate import HELD_OUT_SEED
from training.loop import train
from training.rewards import RewardWeights, total
from training.rollout import EpisodeSpec, run_episodes

TASK = "gui/click-button-v0"
PREFERENCE = PRESETS["dpo"].reward
SWAPPED = {name: -weight for name, weight in PREFERENCE.items()}
SMALL: dict[str, Any] = {
    "tasks": TASK,
    "task_weights": {},
    "groups": 8,
    "ranks": 1,
    "temperature": 1.5,  # the base is so sure of itself that at 1 most groups hold eight equal episodes
    "eval_episodes": 0,
    "save_every": 1000,
}
ARMS: dict[str, Config] = {
    "dpo": dataclasses.replace(PRESETS["dpo"], **SMALL),
    "dpo-swapped": dataclasses.replace(PRESETS["dpo"], **SMALL, reward=SWAPPED),
    "rlhf": dataclasses.replace(PRESETS["rlhf"], **SMALL),
}
KL_CAP = 0.1
"""Nats a token to the base, within which a preference has to be met."""


def utilities(policy: str | Path, config: Config, starts: int) -> NDArray[np.float64]:
    """[starts] what the one who prefers thinks of one sampled episode from each held-out start."""
    codec, vlm = codec_named(config.codec), VLM.load(policy, bf16=config.bf16).eval()
    context = context_of(vlm, codec, config.frames, config.last_actions)
    agent = VLMAgent(vlm, codec, context, Sampling(config.temperature, codec.max_tokens))
    specs = [EpisodeSpec(TASK, HELD_OUT_SEED + i, "heldout", episode=i) for i in range(starts)]
    weights = RewardWeights(**PREFERENCE)
    return np.array([total(t, weights) for t in run_episodes(agent, specs, weights, config.batch)])


def preference_rate(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Share of starts on which ours is preferred; ties count half."""
    gain = ours - theirs
    return float(np.mean(np.where(np.abs(gain) <= EQUAL, 0.5, gain > 0)))


def run_all(out: Path, seeds: int, steps: int, starts: int) -> None:
    """Every arm and seed that has no result yet."""
    base: NDArray[np.float64] | None = None
    for seed in range(seeds):
        for name, arm in ARMS.items():
            folder = out / f"{name}-{seed}"
            if (folder / "preference.json").is_file():
                continue
            config = dataclasses.replace(arm, seed=seed, steps=steps)
            if not (folder / "summary.json").is_file():
                train(config, folder, folder if (folder / "checkpoints").is_dir() else None)
            if base is None:
                base = utilities("base", config, starts)
            rate = preference_rate(utilities(checkpoint.model_folder(folder), config, starts), base)
            (folder / "preference.json").write_text(json.dumps({"rate": rate, "starts": starts}) + "\n")


def figures(folder: Path) -> dict[str, float]:
    """What one run came to: ``rate``, ``kl`` and, of a reward model, ``accuracy`` over its last pairs."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    late = lines[-max(1, len(lines) // 4) :]
    rate = json.loads((folder / "preference.json").read_text())["rate"]
    # A step in which nothing was learned measured no KL.
    found = {"rate": rate, "kl": next(line["kl/reference"] for line in reversed(lines) if "kl/reference" in line)}
    judged = [line for line in late if "reward_model/accuracy" in line]
    pairs = sum(line["reward_model/pairs"] for line in judged)
    if pairs:
        found["accuracy"] = sum(line["reward_model/accuracy"] * line["reward_model/pairs"] for line in judged) / pairs
    return found


def collected(out: Path, seeds: int) -> dict[str, dict[str, tuple[float, float, float]]]:
    """By arm and figure: mean, low and high over the seeds that are finished."""
    table: dict[str, dict[str, tuple[float, float, float]]] = {}
    for arm in ARMS:
        done = [out / f"{arm}-{s}" for s in range(seeds) if (out / f"{arm}-{s}" / "preference.json").is_file()]
        runs = [figures(folder) for folder in done]
        names = dict.fromkeys(name for run in runs for name in run)
        table[arm] = {name: interval(np.array([run[name] for run in runs if name in run])) for name in names}
    return table


def write(out: Path, seeds: int) -> None:
    """Put the table between the markers of ``docs/results.md``."""

    def cell(value: tuple[float, float, float] | None, form: str) -> str:
        return "" if value is None else "{} ({} to {})".format(*(format(v, form) for v in value))

    head = ["arm", "preferred to the base", "KL to the base, nats a token", "reward model, held-out pairs"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|---|---|"]
    for arm, found in collected(out, seeds).items():
        cells = [cell(found.get("rate"), ".0%"), cell(found.get("kl"), ".3f"), cell(found.get("accuracy"), ".0%")]
        lines.append("| " + " | ".join([arm, *cells]) + " |")
    put("preferences", "\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "preferences")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--starts", type=int, default=200)
    parser.add_argument("--report-only", action="store_true")
    options = parser.parse_args()
    if not options.report_only:
        run_all(options.out, options.seeds, options.steps, options.starts)
    write(options.out, options.seeds)


if __name__ == "__main__":
    main()
