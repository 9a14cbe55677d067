"""Learning experiments: GiGPO, GRPO, PPO and the cloning control over several seeds, from the same base.

    python -m benchmarks.learning [--out DIR] [--seeds 3] [--report-only]

Runs one after another (each uses all ranks of its preset) into ``DIR/PRESET-SEED`` and leaves out those that are
finished, so that it can be interrupted. The control, ``clone``, gets the CPU time of training of the first ``default``
run. Then writes the tables between the markers of ``docs/results.md`` and ``docs/media/learning.png``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.page import ROOT, experiment, put, table
from benchmarks.stats import t_interval, told
from episode import HandeyeError
from training.evaluate import wilson
from training.report import read_lines

EPISODES = 200
"""Held-out episodes a task, before and after: a run's own 100 leave intervals of a world of ± 5 points."""
PRESETS = {"default": "GiGPO (default)", "grpo": "GRPO", "ppo": "PPO", "clone": "cloning (control)"}
WORLDS = {"gui": "GUI", "sims": "MuJoCo"}


def run_all(out: Path, seeds: int) -> None:
    """Every preset and seed that has no summary yet."""
    for preset in PRESETS:
        for seed in range(seeds):
            folder = out / f"{preset}-{seed}"
            if (folder / "summary.json").is_file():
                continue
            command = [sys.executable, "-m", "training", "train", preset, "--seed", str(seed), "--out", str(folder)]
            command += ["--eval-episodes", str(EPISODES)]
            if preset == "clone":
                budget = read_lines(out / "default-0" / "timings.jsonl")[-1]["cpu_seconds"]
                command += ["--cpu-seconds", str(budget), "--steps", "1000"]
            subprocess.run(command, cwd=ROOT, check=True)


def world_mean(summary: dict[str, Any], world: str, when: str) -> tuple[float, float, float]:
    """Mean success over a world's tasks, and the Wilson interval of all its episodes together."""
    cells = [v[when] for k, v in summary["tasks"].items() if k.startswith(f"{world}/")]
    successes = sum(round(c["success"] * c["n"]) for c in cells)
    n = sum(c["n"] for c in cells)
    low, high = wilson(successes, n)
    return float(np.mean([c["success"] for c in cells])), low, high


def percent(mean: float, low: float, high: float) -> str:
    return f"{mean:.0%} ({100 * low:.0f} to {100 * high:.0f})"


def tables(out: Path, seeds: int) -> str:
    """Markdown: worlds, differences of presets, tasks."""
    found = {
        (preset, seed): json.loads((out / f"{preset}-{seed}" / "summary.json").read_text())
        for preset in PRESETS
        for seed in range(seeds)
        if (out / f"{preset}-{seed}" / "summary.json").is_file()
    }
    if len({frozenset(run["tasks"]) for run in found.values()}) > 1:
        raise HandeyeError(f"the runs in {out} are not all of the same tasks: remove those that were made before")
    head = ["algorithm", "world", *(f"seed {s}" for s in range(seeds)), "n a task", "minutes"]
    lines = []
    for preset, name in PRESETS.items():
        mine = {s: found[preset, s] for s in range(seeds) if (preset, s) in found}
        for world, world_name in WORLDS.items() if mine else ():
            # Each seed has a "before" of its own: replies are sampled.
            cells = [
                " → ".join(percent(*world_mean(mine[s], world, when)) for when in ("before", "after"))
                if s in mine
                else ""
                for s in range(seeds)
            ]
            n = ", ".join(str(n) for n in sorted({t["after"]["n"] for s in mine.values() for t in s["tasks"].values()}))
            minutes = f"{np.mean([s['seconds'] for s in mine.values()]) / 60:.1f}"
            lines.append([name, world_name, *cells, n, minutes])
    presets = [p for p in PRESETS if any((p, s) in found for s in range(seeds))]
    tasks = []
    for task in next(iter(found.values()))["tasks"]:
        values = [
            np.mean([run["tasks"][task][when]["success"] for (p, _), run in found.items() if p in among])
            for among, when in [(presets, "before"), *(([p], "after") for p in presets)]
        ]
        tasks.append([f"`{task}`", *(f"{v:.0%}" for v in values)])
    parts = [table(head, lines)]
    if pairs := differences(found):
        caption = "Success after training, one minus another with the same seed, mean of the pairs (95 % t interval):"
        parts += [caption, pairs]
    parts += ["By task, mean of the seeds:", table(["task", "before", *(PRESETS[p] for p in presets)], tasks)]
    return "\n\n".join(parts)


def differences(found: dict[tuple[str, int], dict[str, Any]]) -> str:
    """Markdown: success after training, one preset minus another, over the seeds that both have; empty without two."""
    lines = []
    for other, preset in combinations(PRESETS, 2):
        seeds = [seed for p, seed in found if p == preset and (other, seed) in found]
        if len(seeds) < 2:
            continue
        cells = []
        for world in WORLDS:
            ours, theirs = (
                np.array([world_mean(found[p, s], world, "after")[0] for s in seeds]) for p in (preset, other)
            )
            cells.append(told(t_interval(100 * (ours - theirs)), "+.1f"))
        lines.append([f"{PRESETS[preset]} − {PRESETS[other]}", *cells, str(len(seeds))])
    return table(["points", *WORLDS.values(), "pairs"], lines) if lines else ""


def smooth(values: NDArray[np.float64], window: int = 5) -> NDArray[np.float64]:
    """Running mean over the last ``window`` steps."""
    return np.array([values[max(0, i - window + 1) : i + 1].mean() for i in range(len(values))])


def plot(out: Path, seeds: int, path: Path) -> None:
    """Success of sampled training episodes against CPU minutes: a thin line a seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    colors = dict(zip(PRESETS, ("tab:green", "tab:blue", "tab:orange", "tab:gray"), strict=True))
    for preset in ("default", "grpo", "ppo"):  # while cloning, experts play: their success is no curve of the policy's
        for seed in range(seeds):
            folder = out / f"{preset}-{seed}"
            if not (folder / "summary.json").is_file():
                continue
            minutes = np.array([r["cpu_seconds"] for r in read_lines(folder / "timings.jsonl")]) / 60
            metrics = read_lines(folder / "metrics.jsonl")
            for axis, (world, name) in zip(axes, WORLDS.items(), strict=True):
                success = np.array([r[f"success/{world}"] for r in metrics])
                drawn = axis.get_legend_handles_labels()[1]
                label = None if PRESETS[preset] in drawn else PRESETS[preset]
                axis.plot(minutes, smooth(success), color=colors[preset], lw=1.2, alpha=0.8, label=label)
                axis.set(title=name, xlabel="CPU minutes, all processes", ylim=(0, 1.02))
                axis.grid(alpha=0.3)
    axes[0].set_ylabel("success while training")
    axes[1].legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def write(out: Path, seeds: int) -> None:
    """Put the tables between the markers of ``docs/results.md``, and draw the figure."""
    put("learning", f"{tables(out, seeds)}\n\n![learning curves](media/learning.png)")
    plot(out, seeds, ROOT / "docs" / "media" / "learning.png")


def main() -> None:
    parser = experiment(__doc__, "learning", 3)
    options = parser.parse_args()
    if not options.report_only:
        run_all(options.out, options.seeds)
    write(options.out, options.seeds)


if __name__ == "__main__":
    main()
