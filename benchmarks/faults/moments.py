"""Moments of a run, counted: before and after each call of what plays, learns, saves, logs and reports.

A run with the same seed makes the same calls in the same order, so that "the 17th moment" is one place in the code and
a fault can be planted exactly there.
"""

from __future__ import annotations

import errno
import functools
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults.drill import put
from policy.vlm import VLM
from training import checkpoint, files, journal, page, play, record, report, rollout
from training.pool import WorldPool
from training.update import Learner

Strike = Callable[[str], None]

STAGES: tuple[tuple[str, Any, str], ...] = (
    ("rollout", WorldPool, "turns"),
    ("rollout", rollout, "_record"),
    ("update", Learner, "_loss"),
    ("update", Learner, "descend"),
    ("save", VLM, "save"),
    ("save", checkpoint, "save_file"),
    ("save", checkpoint, "_write_json"),
    ("save", checkpoint, "_digests"),
    ("save", checkpoint, "_sync"),
    ("save", checkpoint, "prune"),
    ("save", shutil, "rmtree"),
    ("save", Path, "rename"),
    ("log", journal, "_append"),
    ("log", os, "fsync"),
    ("log", os, "replace"),
    ("log", Path, "write_text"),
    ("log", files, "fresh"),
    ("log", record, "load"),
    ("log", record, "_frame_path"),
    ("log", play, "film_page"),
    ("report", report, "render"),
    ("report", page, "slides"),
)
"""Stage, owner, name of a function that is wrapped."""


def arm(strike: Strike) -> None:
    """From now on call ``strike(label)`` at every moment, for good: only in a process that is thrown away."""
    for stage, owner, name in STAGES:
        put(owner, name, _wrapped(getattr(owner, name), f"{stage}: {name.lstrip('_')}", strike))


def _wrapped(inner: Callable[..., Any], label: str, strike: Strike) -> Callable[..., Any]:
    @functools.wraps(inner)
    def outer(*args: Any, **keywords: Any) -> Any:
        strike(f"{label}, before")
        result = inner(*args, **keywords)
        strike(f"{label}, after")
        return result

    return outer


@dataclass(frozen=True)
class Moment:
    """One moment of an undisturbed run."""

    label: str
    stood: str
    """Name of the newest checkpoint that stood then; empty where there was none."""
    reading: bool
    """Inside of what only reads an episode."""


def counting(into: Path, run: Path) -> None:
    """Write each moment of a run to a file, for :func:`counted`."""
    file = into.open("w", buffering=1)

    def strike(label: str) -> None:
        saved = checkpoint.listed(run / "checkpoints")
        print(label, saved[-1].name if saved else "", sep="\t", file=file)

    arm(strike)


def counted(path: Path) -> list[Moment]:
    """What :func:`counting` wrote."""
    found, depth = list[Moment](), 0
    for line in path.read_text().splitlines():
        label, stood = line.split("\t")
        depth += {"log: load, before": 1, "log: load, after": -1}.get(label, 0)
        found.append(Moment(label, stood, depth > 0))
    return found


def at(number: int, act: Callable[[], None]) -> None:
    """Act at one moment, counted from 0."""
    passed = iter(range(10**9))

    def strike(label: str) -> None:
        if next(passed) == number:
            act()

    arm(strike)


def kill() -> None:
    """``kill -9`` of this process and its whole group."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


def full() -> None:
    """What a full disk says."""
    raise OSError(errno.ENOSPC, "No space left on device")
