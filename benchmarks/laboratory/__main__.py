"""The laboratory: credit where the true policy gradient is known. Minutes on one core.

    python -m benchmarks.laboratory [--out DIR]

Each experiment writes ``DIR/NAME.json`` and is left out when that is there, so that it can be interrupted. Then writes
the tables between the markers of ``docs/results.md`` and ``docs/media/laboratory.png``.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.laboratory import curves, quality
from benchmarks.page import ROOT, put, table
from benchmarks.stats import told

OUT = ROOT / "runs" / "laboratory"
EXPERIMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "quality by horizon": quality.by_horizon,
    "quality by group size": quality.by_group_size,
    "quality by repetition": quality.by_repetition,
    "critics": quality.critics,
    **curves.EXPERIMENTS,
}


def run_all(out: Path) -> dict[str, dict[str, Any]]:
    """Every experiment that has no result yet; all results by name."""
    out.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, experiment in tqdm(EXPERIMENTS.items(), desc="laboratory", leave=False):
        path = out / f"{re.sub('[^a-z0-9]+', '-', name)}.json"
        if not path.is_file():
            aside = path.with_suffix(".partial")
            aside.write_text(json.dumps(experiment(), indent=1) + "\n")
            aside.rename(path)
        found[name] = json.loads(path.read_text())
    return found


def span(cell: list[float], digits: int = 2) -> str:
    return told(cell, f".{digits}f")


def quality_tables(found: dict[str, dict[str, Any]]) -> str:
    horizons = found["quality by horizon"]
    head = [f"T = {t}, success {horizons[t]['success']:.2f}" for t in horizons]
    rows = [
        [name, *(f"{span(horizons[t]['estimators'][name]['cosine'])}" for t in horizons)]
        + [f"{horizons[t]['estimators'][name]['noise']:.1f}" for t in horizons]
        for name in next(iter(horizons.values()))["estimators"]
    ]
    sizes = found["quality by group size"]
    size_rows = [
        [f"{t}", method, *(span(cells[n][method]["cosine"]) for n in cells)]
        for t, cells in sizes.items()
        for method in ("GRPO", "GiGPO")
    ]
    repeated = [
        [name, f"{row['singletons']:.0%}", span(row["cosine"])] for name, row in found["quality by repetition"].items()
    ]
    judged = found["critics"]
    critic_rows = [[name, *(span(judged[t][name]) for t in judged)] for name in next(iter(judged.values()))]
    critic_rows[-1][0] = "V(o, c) over V(o)"
    return "\n\n".join(
        [
            "Cosine of the gradient of one group of 8 episodes with the true one, and noise E‖g − Eg‖² / ‖Eg‖²:",
            table(["estimator", *head, *(f"noise, T = {t}" for t in horizons)], rows),
            "Other group sizes:",
            table(["T", "estimator", *(f"group of {n}" for n in next(iter(sizes.values())))], size_rows),
            "GiGPO at T = 50 where the key tells ever more moments apart (singletons: share of decisions that are alone"
            " in their step group):",
            table(["estimator", "singletons", "cosine"], repeated),
            "Correlation of critics with the mean of 8 returns branched from snapshots; a random c in place of c:",
            table(["critic", *(f"T = {t}" for t in judged)], critic_rows),
        ]
    )


def curve_tables(found: dict[str, dict[str, Any]]) -> str:
    parts = []
    for name in curves.EXPERIMENTS:
        result = found[name]
        seeds = len(next(iter(result["arms"].values()))["final"])
        rows = []
        for arm, r in result["arms"].items():
            steps = f"{np.median(r['steps_to_threshold']):,.0f}" + ("" if r["reached"] == seeds else " or more")
            cells = [arm, f"{r['rate']:g}", f"{np.mean(r['area']):.2f}", f"{np.mean(r['final']):.2f}"]
            cells += [f"{steps} ({r['reached']} of {seeds})", f"{r['wasted']:.0%}"]
            differences = [r["against_base"][key] for key in ("area", "final")]
            factor = [2**x for x in r["against_base"]["log2_steps"]]
            same = arm == result["base"]
            rows.append([*cells, *("" if same else span(d) for d in differences), "" if same else span(factor)])
        head = ["arm", "rate", "mean success", "final", f"steps to {result['threshold']:.0%}", "groups wasted"]
        head += ["mean success, difference", "final, difference", "steps, ratio"]
        parts.append(f"**{name.capitalize()}** (differences from {result['base']}):\n\n{table(head, rows)}")
    return "\n\n".join(parts)


def plot(found: dict[str, dict[str, Any]], path: Path) -> None:
    """Cosines by horizon, and learning curves of the methods."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    horizons = found["quality by horizon"]
    for name in next(iter(horizons.values()))["estimators"]:
        cells = np.array([cell["estimators"][name]["cosine"] for cell in horizons.values()])
        error = np.abs(cells[:, 1:].T - cells[:, 0])
        axes[0].errorbar([int(t) for t in horizons], cells[:, 0], error, marker="o", ms=3, lw=1.2, label=name)
    axes[0].set(title="gradient of one group of 8", xlabel="horizon", ylabel="cosine with the true one", ylim=(0, 1))
    for axis, name in zip(axes[1:], ("methods at horizon 30", "methods at horizon 50"), strict=True):
        for arm, result in found[name]["arms"].items():
            axis.plot(result["env_steps"], result["curve"], lw=1.2, label=arm)
        axis.set(title=name, xlabel="environment steps", ylabel="exact success", ylim=(0, 1))
    for axis in axes:
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=6, loc="lower left")
    axes[2].legend(fontsize=7, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write(found: dict[str, dict[str, Any]]) -> None:
    """Put the tables between the markers of ``docs/results.md``, and draw the figure."""
    text = f"{quality_tables(found)}\n\n{curve_tables(found)}\n\n![laboratory](media/laboratory.png)"
    put("laboratory", text)
    plot(found, ROOT / "docs" / "media" / "laboratory.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    write(run_all(options.out))


if __name__ == "__main__":
    main()
