"""What a run writes while it trains: metrics, timings, tracker, bar. One a run, on the first rank."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from episode import HandeyeError
from training import checkpoint, files, guards, record
from training.config import Config
from training.play import film
from training.progress import Progress
from training.track import Tracker, TrackerState

METRICS = "metrics.jsonl"
TIMINGS = "timings.jsonl"


class JournalError(HandeyeError):
    """A run's files could not be written."""


class Journal:
    """Appends to ``metrics.jsonl`` (comparable bit for bit) and ``timings.jsonl`` (not), and tells tracker and bar."""

    def __init__(self, config: Config, out: Path, step: int, tracker: dict[str, Any] | None) -> None:
        """``step`` is the last step of the checkpoint that the run goes on from; later lines are cut off."""
        self.out = out
        self.lines, _ = (_kept(out / name, step) for name in (METRICS, TIMINGS))
        """Of ``metrics.jsonl`` so far, as many as the guards look at."""
        self.lost = step - (self.lines[-1]["step"] if self.lines else 0)
        """Steps of the checkpoint that ``metrics.jsonl`` does not reach: somebody removed or cut it."""
        self.progress = Progress(config.steps, step)
        resume = checkpoint.restored(TrackerState, tracker, f"the tracker of {out}'s checkpoint") if tracker else None
        self.tracker = Tracker(out, config.to_json(), resume=resume)

    def step(self, metrics: dict[str, Any], timings: dict[str, Any]) -> None:
        self.lines.append(_append(self.out / METRICS, metrics))
        guards.forget(self.lines)
        _append(self.out / TIMINGS, timings)
        with _writing(self.out / "wandb"):
            self.tracker.log(metrics, int(metrics["step"]))
        self.progress.step(metrics)

    def evaluation(self, tasks: dict[str, Any], step: int, when: str) -> None:
        """A table, and a film of each task's first episode."""
        with _writing(self.out / "wandb"), tempfile.TemporaryDirectory() as folder:
            self.tracker.evaluation(tasks, step, when)
            films = {}
            for episode in record.find(self.out / "episodes" / when):
                if episode.name.endswith("-0"):
                    path = Path(folder) / f"{episode.name}.html"
                    films[f"{when}/{episode.name}"] = film(record.load(episode), path)
            self.tracker.films(films, step)

    def tracker_state(self) -> dict[str, Any]:
        state = self.tracker.state
        return {"id": state.id, "step": state.step}

    def note(self, text: str) -> None:
        self.progress.note(text)

    def say(self, text: str) -> None:
        """A line for whoever watches, above the bar."""
        tqdm.write(text)

    def close(self, failed: bool) -> None:
        self.progress.close()
        self.tracker.close(failed)


def _append(path: Path, line: dict[str, Any]) -> dict[str, Any]:
    # A step that was dropped has figures that JSON cannot say.
    line = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}
    with _writing(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())  # a checkpoint is on the disk for certain: so must be the lines before it
    return line


def write_whole(path: Path, text: str) -> None:
    """Write a file of a run folder so that it is there whole or as it was.

    Raises:
        JournalError: it cannot be written (a full disk, say).
    """
    with _writing(path):
        files.write_whole(path, text)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise JournalError(
            f"{path} cannot be written: {error}. Free some space, then --resume {path.parent}"
        ) from error


def _kept(path: Path, step: int) -> list[dict[str, Any]]:
    with _writing(path):
        return files.keep_lines(path, step)
