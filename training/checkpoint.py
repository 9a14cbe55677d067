"""Checkpoints that are whole or not there: written aside, synced, marked, renamed. safetensors and JSON only.

``checkpoints/step-000020/`` holds ``model/`` (opens with ``AutoModelForImageTextToText.from_pretrained``; a value head
lies beside the weights), ``optimizer.safetensors``, ``state.json`` and, written last, ``complete.json`` with the size
and sha256 of every other file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from episode import HandeyeError

SCHEMA = 1
"""Of ``state.json``. A version that changes its meaning counts up, and reads the older ones or says why not."""
MARKER = "complete.json"
STATE = "state.json"
MODEL = "model"
OPTIMIZER = "optimizer.safetensors"


class CheckpointError(HandeyeError):
    """A checkpoint could not be written or read."""


class NoCheckpoint(CheckpointError):
    """A folder holds none."""


def name_of(step: int) -> str:
    return f"step-{step:06d}"


def save(
    folder: Path, step: int, state: dict[str, Any], save_model: Callable[[Path], None], optimizer: dict[str, Tensor]
) -> Path:
    """Write ``folder/step-…``; until the last rename nothing under that name changes.

    Raises:
        CheckpointError: it could not be written (a full disk, say); what was there before still is.
    """
    target, aside = folder / name_of(step), folder / f".{name_of(step)}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".step-*"):
            shutil.rmtree(left)  # of a run that was killed while it saved
        aside.mkdir()
        save_model(aside / MODEL)
        save_file(optimizer, aside / OPTIMIZER)
        _write_json(aside / STATE, state)
        _write_json(aside / MARKER, {"version": 1, "files": _digests(aside)})
        for path in (*aside.rglob("*"), aside):
            _sync(path)
        if target.exists():
            # Of the steps that are being repeated after a resume from further back.
            target.rename(folder / f".{target.name}.old")
        aside.rename(target)
        _sync(folder)
        shutil.rmtree(folder / f".{target.name}.old", ignore_errors=True)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            shutil.rmtree(aside)
        raise CheckpointError(_failure(folder, target, error)) from error
    return target


def _failure(folder: Path, target: Path, error: Exception) -> str:
    full = (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or "No space left" in str(error)
    why = "the disk is full" if full else str(error)
    before = [p.name for p in listed(folder)]
    stands = f"{before[-1]} still stands" if before else "there was none before"
    mend = "Free some space" if full else "Mend that"
    return f"checkpoint {target} could not be written: {why}; {stands}. {mend}, then --resume {folder.parent}"


def listed(folder: Path) -> list[Path]:
    """Checkpoints in ``folder``, oldest first, damaged ones included."""
    return sorted(p for p in folder.glob("step-*") if p.is_dir())


def damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint; empty where every file is as it was written and no other lies beside it."""
    marker = checkpoint / MARKER
    if not marker.is_file():
        return f"{MARKER} is missing"
    try:
        said = json.loads(marker.read_text("utf-8"))
        files = {str(name): (int(file["size"]), str(file["sha256"])) for name, file in said["files"].items()}
        version = said["version"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"{MARKER} cannot be read ({type(error).__name__}: {error})"
    if version != 1:
        return f"{MARKER} has version {version!r}, this handeye reads 1"
    there = {str(p.relative_to(checkpoint)) for p in checkpoint.rglob("*") if p.is_file() or p.is_symlink()}
    # What nobody vouches for might be loaded all the same: an adapter's weights, say, or code.
    if strange := sorted(name for name in there - {*files, MARKER} if not Path(name).name.startswith(".")):
        return f"{strange[0]} was not there when it was written"
    for name, (size, sha256) in files.items():
        path = checkpoint / name
        if name not in there or path.is_symlink():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if _sha256(path) != sha256:
            return f"{name} was changed after it was written"
    if STATE not in files or OPTIMIZER not in files:
        return f"{MARKER} does not name {STATE} and {OPTIMIZER}"
    return ""


def find(resume: Path) -> Path:
    """The checkpoint meant by a run folder (its newest) or by a checkpoint's own folder, after it was checked.

    Raises:
        NoCheckpoint: there is none.
        CheckpointError: it is damaged; the newest good one is then named.
    """
    own = (resume / MARKER).is_file() or resume.name.startswith("step-")
    folder = resume.parent if own else resume / "checkpoints"
    there = listed(folder)
    if not resume.is_dir() or not there:
        raise NoCheckpoint(f"{resume} holds no checkpoint; give a run folder or one of its checkpoints/step-…")
    chosen = resume if own else there[-1]
    wrong = damage(chosen)
    if wrong:
        good = next((p for p in reversed(there) if p != chosen and not damage(p)), None)
        offer = f"the newest good one is {good}: --resume {good}" if good else "no other is good"
        raise CheckpointError(f"checkpoint {chosen} is damaged: {wrong}; {offer}")
    return chosen


def load_state(checkpoint: Path) -> dict[str, Any]:
    """What ``state.json`` holds.

    Raises:
        CheckpointError: it is no JSON object, or of a schema that this version does not read.
    """
    path = checkpoint / STATE
    try:
        state: dict[str, Any] = json.loads(path.read_text("utf-8"))
        schema = state["schema"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read ({type(error).__name__}: {error})") from error
    if schema != SCHEMA:
        raise CheckpointError(
            f"{path} has schema {schema!r}, this handeye reads {SCHEMA}: go on with the version that wrote it, or "
            f"begin a new run from its weights with --policy {checkpoint / MODEL}"
        )
    return state


def load_optimizer(checkpoint: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = load_file(checkpoint / OPTIMIZER)
    return tensors


def set_aside(folder: Path, step: int) -> None:
    """Hide checkpoints later than ``step`` from a run that goes on there; the next :func:`save` removes them.

    They belong to lines of ``metrics.jsonl`` that are written anew: found first, they would leave a gap in it.
    """
    for later in listed(folder):
        if later.name > name_of(step):
            later.rename(folder / f".{later.name}.later")


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest ``keep`` and the one with the highest ``score`` in its state.

    Raises:
        CheckpointError: one cannot be removed.
    """
    there = listed(folder)
    best = max(there, key=lambda p: (_score(p), p.name), default=None)
    try:
        for path in there[:-keep]:
            if path != best:
                doomed = folder / f".{path.name}.doomed"
                path.rename(doomed)  # so that it is never seen half removed
                shutil.rmtree(doomed)
    except OSError as error:
        raise CheckpointError(f"an old checkpoint in {folder} cannot be removed: {error}") from error


def _score(checkpoint: Path) -> float:
    """Of a damaged one: below all others."""
    try:
        return float(load_state(checkpoint).get("score", 0.0))
    except (CheckpointError, TypeError, ValueError):
        return -1.0


def model_folder(folder: Path) -> Path:
    """The model meant by a model folder, a checkpoint, or a run folder (its newest checkpoint).

    Raises:
        CheckpointError: a checkpoint is damaged or a run has none.
    """
    if (folder / "config.json").is_file() and not (folder / "checkpoints").is_dir():
        return folder
    if (folder / MARKER).is_file() or (folder / "checkpoints").is_dir():
        return find(folder) / MODEL
    return folder


def _digests(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        str(path.relative_to(folder)): {"size": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", "utf-8")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
