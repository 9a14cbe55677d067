"""What a base sees: three questions on held-out pictures, answered freely, with 95 % intervals.

    python -m benchmarks.base [--policy FOLDER|base] [--episodes 300] [--json FILE]
    python -m benchmarks.base --curves RUN [RUN ...]     # pretraining runs, one after another, as docs/media/base.png

- *choose*: eight buttons whose words lie within two edits of each other; a click on the named one counts.
- *transcribe*: a label at a place, letter by letter: share of right letters (1 − edits / length), and exact ones.
- *spot*: a named object in a camera frame; within 4 % of the frame's width counts.

Each is asked again of black frames: what is right by guessing.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from episode import Frame, SceneObject, stream
from gui_env.gallery import confusable_buttons, random_screen
from policy.agent import dialect_of
from policy.codecs.compact import LOCATIONS, Compact
from policy.context import ContextBuilder
from policy.engine import Engine, Sampling
from policy.vlm import VLM
from sims.gallery import Gallery
from training.evaluate import wilson
from training.mixture import point
from training.report import read_lines

ROOT = Path(__file__).resolve().parent.parent
SIDE = 128
BATCH = 64


@dataclass(frozen=True, slots=True)
class Item:
    """One question, and what an answer is worth by name of the score."""

    images: tuple[Frame, ...]
    question: str
    judge: Callable[[str], dict[str, float]]


def edits(a: str, b: str) -> int:
    """Levenshtein distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]


def spoken_place(text: str) -> tuple[float, float] | None:
    """The centre of two location tokens as shares of width and height, None where the text is something else."""
    parts = text.replace("<loc_", " ").replace(">", "").split()
    if len(parts) != 2 or not all(p.isdigit() for p in parts):
        return None
    return (int(parts[0]) + 0.5) / LOCATIONS, (int(parts[1]) + 0.5) / LOCATIONS


def choose(seed: int) -> Iterator[Item]:
    """Screens that have room for all eight buttons."""
    frame, objects = confusable_buttons(seed, (SIDE, SIDE), "heldout", 8)
    buttons = [o for o in objects if o.kind == "button" and o.text is not None]
    if len(buttons) < 8:
        return
    target = buttons[int(stream(seed, "choose").integers(len(buttons)))]
    x0, y0, x1, y1 = target.box

    def judge(text: str) -> dict[str, float]:
        spot = spoken_place(text)
        return {"choose": float(spot is not None and x0 <= spot[0] * SIDE < x1 and y0 <= spot[1] * SIDE < y1)}

    yield Item((frame,), f'Where is "{target.label}"?', judge)


def transcribe(seed: int) -> Iterator[Item]:
    """A label that stands once on a random screen."""
    frame, objects = random_screen(seed, (SIDE, SIDE), "heldout", (2, 8))
    counts = Counter(o.text.text for o in objects if o.text is not None)
    readable = [o for o in objects if o.text is not None and o.text.text.strip() and counts[o.text.text] == 1]
    if not readable:
        return
    target = readable[int(stream(seed, "transcribe").integers(len(readable)))]
    assert target.text is not None
    said = target.text.text
    x0, y0, x1, y1 = target.box

    def judge(text: str) -> dict[str, float]:
        read = text.strip('"')
        right = max(0.0, 1 - edits(read, said) / len(said))
        return {"transcribe, letters": right, "transcribe, exact": float(read == said)}

    yield Item((frame,), f"Read {point((x0 + x1) / 2 / SIDE, (y0 + y1) / 2 / SIDE)}", judge)


class Spot:
    """A thing of which there is one, in each of the cameras that see it."""

    def __init__(self) -> None:
        self.gallery = Gallery(96, "heldout")

    def __call__(self, seed: int) -> Iterator[Item]:
        frames, objects, _, body = self.gallery.sample(seed)
        names = Counter(o.label for o in objects if o.camera == body.cameras[0])
        seen = [o for o in objects if o.label and names[o.label] == 1]
        if seen:
            images = tuple(frames[c] for c in body.cameras)
            yield self._ask(images, seen[int(stream(seed, "spot").integers(len(seen)))])

    def _ask(self, images: tuple[Frame, ...], target: SceneObject) -> Item:
        width = images[0].shape[1]
        centre = ((target.box[0] + target.box[2]) / 2 / width, (target.box[1] + target.box[3]) / 2 / width)

        def judge(text: str) -> dict[str, float]:
            spot = spoken_place(text)
            near = spot is not None and np.hypot(spot[0] - centre[0], spot[1] - centre[1]) <= 0.04
            return {"spot": float(near)}

        return Item(images, f"Where in {target.camera} is the {target.label}?", judge)


def scores(vlm: VLM, items: list[Item]) -> dict[str, list[float]]:
    """Greedy answers, judged."""
    context = ContextBuilder(dialect_of(vlm), Compact())
    engine, sampling = Engine(vlm), Sampling(0.0, max_tokens=16)
    found: dict[str, list[float]] = {}
    for start in range(0, len(items), BATCH):
        part = items[start : start + BATCH]
        prompts = [context.compose(item.images, item.question) for item in part]
        for item, reply in zip(part, engine.generate(prompts, sampling, range(len(part))), strict=True):
            for name, value in item.judge(reply.text).items():
                found.setdefault(name, []).append(value)
    return found


def black(item: Item) -> Item:
    return replace(item, images=tuple(np.zeros_like(image) for image in item.images))


def examine(policy: str, count: int) -> dict[str, Any]:
    """``{name: {"score", "n", "interval", "black"}}``; letters have a bootstrap interval, the others Wilson's."""
    vlm = VLM.load(policy, bf16=True)
    vlm.eval()
    results: dict[str, Any] = {}
    for draw in (choose, transcribe, Spot()):
        items: list[Item] = []
        seed = 10_000_000
        while len(items) < count:
            items += draw(seed)
            seed += 1
        blind = scores(vlm, [black(item) for item in items])
        for name, values in scores(vlm, items).items():
            n, mean = len(values), float(np.mean(values))
            interval = wilson(round(sum(values)), n)
            if name.endswith("letters"):
                picks = np.random.default_rng(0).integers(0, n, (2000, n))
                low, high = np.quantile(np.array(values)[picks].mean(1), (0.025, 0.975))
                interval = float(low), float(high)
            results[name] = {"score": mean, "n": n, "interval": interval, "black": float(np.mean(blind[name]))}
    return results


def curves(runs: list[Path], path: Path) -> None:
    """Held-out skills against CPU minutes (both processes), over pretraining runs that went on from each other."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    sides = {
        "Screens": ("point", "read", "order", "copy", "absent", "act"),
        "Cameras": ("locate", "spot", "name", "aim", "done"),
    }
    start, points = 0.0, []
    for run in runs:
        rows = read_lines(run / "metrics.jsonl")
        before = 0.0  # a resumed run counts its CPU from 0 again
        for earlier, row in zip([None, *rows], rows, strict=False):
            if earlier is not None and row["cpu"] < earlier["cpu"]:
                before += earlier["cpu"]
            points.append((start + (before + row["cpu"]) / 30, row))
        start = points[-1][0]
    for axis, (title, skills) in zip(axes, sides.items(), strict=True):
        for skill in skills:
            key = f"heldout/{skill}/near"
            line = [(minute, row[key]) for minute, row in points if key in row]
            axis.plot(*zip(*line, strict=True), label=skill, lw=1.4)
        axis.set(title=title, xlabel="CPU minutes, both processes", ylim=(0, 1.02))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, ncols=2)
    axes[0].set_ylabel("held out, right within one bin")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="base")
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--curves", type=Path, nargs="+", metavar="RUN")
    options = parser.parse_args()
    if options.curves:
        curves(options.curves, ROOT / "docs" / "media" / "base.png")
        return
    results = examine(options.policy, options.episodes)
    print("| what | score (95 %) | n | black frames |\n|---|---|---|---|")
    for name, r in results.items():
        low, high = r["interval"]
        print(f"| {name} | {r['score']:.1%} ({100 * low:.1f} to {100 * high:.1f}) | {r['n']} | {r['black']:.1%} |")
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
