"""How the cost of a step grows: with groups, turns, history, images, the model and worlds, each alone.

    python -m benchmarks.growth [--only NAME ...] [--out FILE] [--plot FILE]

- The six axes of ``GROWTH``: CPU seconds of generation (context, engine, codec) and of the update (samples to optimiser
  step), and what the process held at most beyond what it held before. An exponent is the slope of a least-squares line
  through the points' medians in log-log, with its 95 % t interval: 1 is linear.
- ``turn-20``: generation of the 20th turn over that of the 2nd in the same episodes, with the last four frames in each
  prompt, and in a conversation that holds all of them; and over that of the 5th, where there are four frames already.
- ``roofline``: FLOPs that a batch's gradient needs a CPU second of the update, or of its passes forward and backward
  alone, over what plain matrix products of the same shapes reach: the best of them, and all of them as they come.

What is played is in ``point.py``. The vision tower is trained too, in one optimiser step. Each point is a process of
its own with one thread, and plays a round that does not count before those that do. What a run measures takes the place
of what the file holds of that name; each entry has the commit that was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LP_NUM_THREADS", "1")

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.page import table
from benchmarks.peers.harness import commit
from benchmarks.point import Point, one_round, roofline, spread
from benchmarks.stats import T_95


@dataclass(frozen=True)
class Axis:
    """What grows alone: ``x`` is its size, one of those that :func:`one_round` gives."""

    unit: str
    x: str
    points: tuple[Point, ...]


GROWTH = {
    "group-size": Axis("episodes of a group", "group_size", tuple(Point(group_size=n) for n in (2, 4, 8, 16, 32))),
    "turns": Axis("turns of an episode", "turns", tuple(Point(turns=n) for n in (2, 4, 8, 16))),
    # Fewer than a turn may see at the start of an episode, so that their mean is the size.
    "history": Axis(
        "frames a turn sees, mean", "seen", tuple(Point(group_size=2, turns=20, frames=n) for n in (1, 2, 4, 8))
    ),
    "image-size": Axis("pixels of a frame", "pixels", tuple(Point(turns=2, side=n) for n in (128, 192, 256, 384))),
    "model-size": Axis(
        "parameters", "parameters", tuple(Point(n, turns=2, group_size=2) for n in ("2M", "7M", "34M", "100M"))
    ),
    "worlds": Axis("worlds at once", "worlds", tuple(Point(turns=2, groups=n) for n in (1, 2, 4, 8, 16))),
}
COSTS = {"generation": "CPU s", "update": "CPU s", "memory": "MB"}
HISTORIES = {
    "4 frames": Point(groups=2, turns=20, frames=4, learns=False),
    "conversation": Point(groups=2, turns=20, conversation=True, learns=False),
}
ROOFLINES = {
    "base": Point(groups=4, group_size=8),
    "100M": Point("100M", turns=2),
    "100M, 64 replies": Point("100M", turns=2, groups=4, group_size=8),
}
NAMES = (*GROWTH, "turn-20", "roofline")


@dataclass(frozen=True)
class Fit:
    """y = c · x^exponent, with the exponent's 95 % interval."""

    exponent: float
    low: float
    high: float


def fit(x: Sequence[float], y: Sequence[float]) -> Fit:
    """A line through logarithms, by least squares; n is 3 to 8. The interval is ± t · √(RSS / (n - 2) / Σ(u - ū)²)."""
    u, v = np.log(x) - np.log(x).mean(), np.log(y) - np.log(y).mean()
    slope, free = float(u @ v / (u @ u)), len(u) - 2
    half = T_95[free - 1] * float(np.sqrt(((v - slope * u) ** 2).sum() / free / (u @ u)))
    return Fit(slope, slope - half, slope + half)


def process() -> Executor:
    """A process of its own, made by one that has loaded libraries and done nothing."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.point"])
    return ProcessPoolExecutor(1, context)


def rounds_of(points: Sequence[Point], rounds: int, bf16: bool) -> list[list[dict[str, Any]]]:
    """The rounds of each point. Points take turns, so that a machine that gets slower does so for all of them."""
    with ExitStack() as alive:
        pools = [alive.enter_context(process()) for _ in points]
        turns = tqdm([*zip(pools, points, strict=True)] * rounds, leave=False)
        found = [pool.submit(one_round, point, bf16).result() for pool, point in turns]
    return [found[number :: len(points)] for number in range(len(points))]


def grow(axis: Axis, rounds: int, bf16: bool) -> dict[str, Any]:
    """Costs by size, and their exponents."""
    points = rounds_of(axis.points, rounds, bf16)
    sizes = [played[0][axis.x] for played in points]
    values = {cost: [spread([r["costs"][cost] for r in played]) for played in points] for cost in points[0][0]["costs"]}
    fits = {cost: asdict(fit(sizes, [value[0] for value in values[cost]])) for cost in COSTS}
    return {"unit": axis.unit, "x": sizes, "values": values, "fits": fits, "points": list(map(asdict, axis.points))}


def late_turns(rounds: int, bf16: bool) -> dict[str, Any]:
    """By history: median CPU seconds of each turn's generation, and the last over the second and the fifth.

    In twice as many rounds, as one turn is a fraction of a second.
    """
    found = {}
    for name, played in zip(HISTORIES, rounds_of(list(HISTORIES.values()), 2 * rounds, bf16), strict=True):
        turns = np.array([r["by turn"] for r in played])
        ratios = {f"{turns.shape[1]} over {n}": spread((turns[:, -1] / turns[:, n - 1]).tolist()) for n in (2, 5)}
        found[name] = {"seconds": np.median(turns, 0).tolist(), "ratios": ratios}
    return found


def rooflines(rounds: int, bf16: bool) -> dict[str, Any]:
    """By model."""
    found = {}
    for model, point in ROOFLINES.items():
        with process() as pool:
            found[model] = pool.submit(roofline, point, rounds, bf16).result()
    return found


def measured(name: str, rounds: int, bf16: bool) -> dict[str, Any]:
    """One of ``NAMES``."""
    if name in GROWTH:
        return grow(GROWTH[name], rounds, bf16)
    return {"histories": late_turns(rounds, bf16)} if name == "turn-20" else {"models": rooflines(rounds, bf16)}


def short(x: float) -> str:
    """Three digits, or four before the point."""
    unit, letter = (1e6, "M") if x >= 1e6 else (1e3, "k") if x >= 1e4 else (1, "")
    return f"{x / unit:{'.0f' if 1e3 <= x < 1e4 else '.3g'}}{letter}"


def tables(found: dict[str, Any]) -> str:
    """What a file holds, in Markdown."""
    grown = []
    for name in (n for n in GROWTH if n in found):
        axis = found[name]
        for cost, unit in COSTS.items():
            slope = "{exponent:.2f} ({low:.2f} to {high:.2f})".format(**axis["fits"][cost])
            costs = ", ".join(short(value[0]) for value in axis["values"][cost])
            grown.append([axis["unit"], ", ".join(map(short, axis["x"])), f"{cost}, {unit}", costs, slope])
    late = [
        [history, what, f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})"]
        for history, turns in found.get("turn-20", {}).get("histories", {}).items()
        for what, ratio in turns["ratios"].items()
    ]
    roofs = found.get("roofline", {}).get("models", {})
    numbers = [
        [model, r["dtype"], f"{r['needed'] / 1e9:.3g}", f"{r['computed'] / r['needed']:.2f}"]
        + [f"{rate / 1e9:.3g}" for rate in r["rates"].values()]
        + [f"{share:.0%}" for share in r["shares"].values()]
        for model, r in roofs.items()
    ]
    head = ["model", "in", "GFLOP needed", "computed / needed", "GFLOPS of the best product", "of all as they come"]
    head += ["update / best", "update / all", "passes / best", "passes / all"]
    parts = [
        table(["what grows", "size", "cost", "at each size", "exponent (95 %)"], grown),
        table(["a turn sees", "generation, turn", "ratio (lowest to highest)"], late),
        table(head, numbers),
    ]
    return "\n\n".join(part for part, rows in zip(parts, (grown, late, numbers), strict=True) if rows)


def draw(found: dict[str, Any], path: Path) -> None:
    """A panel an axis: costs over those at the smallest size; and generation by turn."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 4, figsize=(12, 5.6), layout="constrained")
    free = list(panels.flat)
    for name in (n for n in GROWTH if n in found):
        panel, x = free.pop(0), np.array(found[name]["x"])
        for cost, slope in found[name]["fits"].items():
            y = np.array([value[0] for value in found[name]["values"][cost]])
            line = np.exp(np.log(y).mean() + slope["exponent"] * (np.log(x) - np.log(x).mean()))
            (dots,) = panel.loglog(x, y / y[0], "o", ms=4, label=f"{cost}, {slope['exponent']:.2f}")
            panel.loglog(x, line / y[0], lw=1, color=dots.get_color())
        panel.set(title=name, xlabel=found[name]["unit"], ylabel="times the smallest")
        panel.minorticks_off()
        panel.set_xticks(x, map(short, x))
        panel.yaxis.set_major_formatter("{x:g}")
    if "turn-20" in found:
        panel = free.pop(0)
        for history, turns in found["turn-20"]["histories"].items():
            panel.plot(range(1, len(turns["seconds"]) + 1), turns["seconds"], lw=1.2, label=history)
        panel.set(title="generation", xlabel="turn", ylabel="CPU s", ylim=(0, None))
    if "roofline" in found:
        panel = free.pop(0)
        models = found["roofline"]["models"]
        wide = 0.8 / len(models)
        for number, (model, r) in enumerate(models.items()):
            at = np.arange(len(r["shares"]))
            panel.bar(at + wide * (number - (len(models) - 1) / 2), r["shares"].values(), wide, label=model)
            panel.set_xticks(at, list(r["shares"]))
        panel.tick_params(axis="x", rotation=30, labelsize=7)
        panel.set(title="useful FLOPs", ylim=(0, 1))
    for panel in panels.flat:
        if panel in free:
            panel.set_axis_off()
        else:
            panel.grid(alpha=0.3)
            panel.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=4, help="that count, of each point")
    parser.add_argument("--float32", action="store_true", help="compute in it also where bfloat16 is quick")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/growth.json"))
    parser.add_argument("--plot", type=Path, help="where the figure goes, where there is to be one")
    options = parser.parse_args()
    found: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        about = {"commit": commit(), "rounds": options.rounds, "bf16": not options.float32}
        about |= {"platform": platform.platform(), "torch": torch.__version__, "load": os.getloadavg()[0]}
        found[name] = {**measured(name, options.rounds, not options.float32), **about}
        options.out.write_text(json.dumps(found, indent=1) + "\n")
        print(tables({name: found[name]}), flush=True)
    print(f"\n{tables(found)}\n\n{options.out}")
    if options.plot is not None:
        draw(found, options.plot)


if __name__ == "__main__":
    main()
