"""Ours, the red button from random weights until it is learned, a seed a round, by the two commands of a user.

``handeye pretrain`` teaches a tiny model to see screens of its gallery, which never show the task; ``handeye train``
then learns the task from its reward. Steps are clicks and, besides, every screen that pretraining learned from; not
those from which it takes its tokenizer's words and its classes (see ``--resets``), nor the looks of its one probe.
Both commands compute in float32, as the peer does.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro

from benchmarks.peers.meter import Meter
from benchmarks.peers.red_button import LEARNED, WINDOW, RedButton
from training.report import read_lines

SCREENS = 8
"""A step of pretraining."""


@dataclass(frozen=True)
class Options:
    pretrain_steps: int = 900
    dense_steps: int = 60
    """The first of them, in which only the tower learns."""
    depth: int = 2
    """Layers of the tower, and of the text model."""
    groups: int = 32
    group_size: int = 8
    steps: int = 80
    """Of training, after which it is given up."""


def cpu() -> float:
    """Seconds of the commands that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def handeye(*args: str) -> None:
    subprocess.run([sys.executable, "-m", "training", *args], check=True, stdout=sys.stderr)


def learn(options: Options, seed: int, folder: Path) -> tuple[int, float]:
    """Environment steps until it is learned, and CPU seconds after that (the command goes on to its last step)."""
    handeye(
        *("pretrain", "--seed", str(seed), "--out", str(folder / "base"), "--screens", str(SCREENS), "--tables", "0"),
        *("--steps", str(options.pretrain_steps), "--dense-steps", str(options.dense_steps), "--bf16", "False"),
        *("--shape.vision-depth", str(options.depth), "--shape.layers", str(options.depth)),
        # Screens of one or two widgets from first to last, and no experts at work.
        *("--stages", "1", "2", "--recipe.demos", "0", "--probe-every", str(options.pretrain_steps)),
    )
    handeye(
        *("train", "grpo", "--seed", str(seed), "--out", str(folder / "run")),
        *("--import", "benchmarks.peers.red_button", "--tasks", RedButton.task_id),
        *("--policy", str(folder / "base" / "model"), "--steps", str(options.steps), "--eval-episodes", "0"),
        *("--groups", str(options.groups), "--group-size", str(options.group_size), "--ranks", "1"),
        *("--bf16", "False", "--kl", "0", "--train-vision", "True", "--train-embeddings", "True"),
    )
    rows, times = (read_lines(folder / "run" / name) for name in ("metrics.jsonl", "timings.jsonl"))
    hits, clicks = [row[f"success/{RedButton.task_id}"] for row in rows], options.groups * options.group_size
    span = -(-WINDOW // clicks)
    for end in range(span, len(rows) + 1):
        if sum(hits[end - span : end]) >= LEARNED * span:
            break
    else:
        raise SystemExit(f"seed {seed}: not learned in {len(rows) * clicks} clicks: {[round(h, 2) for h in hits]}")
    print(f"seed {seed}: {end * clicks} clicks, {[round(h, 2) for h in hits]}", file=sys.stderr, flush=True)
    return options.pretrain_steps * SCREENS + end * clicks, times[-1]["cpu_seconds"] - times[end - 1]["cpu_seconds"]


def main(options: Options) -> None:
    seeds, over = count(2), 0.0  # 0 and 1 are what its options were chosen on
    meter = Meter(cpu=lambda: cpu() - over)
    meter.ready(("torch", "transformers", "gymnasium"), pretraining=options.pretrain_steps, screens=SCREENS)
    while meter.asked():
        with TemporaryDirectory() as folder:
            steps, after = learn(options, next(seeds), Path(folder))
        over += after
        meter.done(1, steps=steps)


if __name__ == "__main__":
    main(tyro.cli(Options))
