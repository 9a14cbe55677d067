"""Checkpoints that are whole or not there: written aside, synced, marked, renamed. safetensors and JSON only.

``checkpoints/step-000020/`` holds ``model/`` (opens with ``AutoModelForImageTextToText.from_pretrained``; a value head
lies beside the weights), ``optimizer.safetensors``, one such file for every judge, ``state.json`` and, written last,
``complete.json`` with the size and sha256 of every other file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from episode import HandeyeError
from training.config import Config

T = TypeVar("T")

SCHEMA = 1
"""Of ``state.json``. A version that changes its meaning counts up, and reads the older ones or says why not."""
MARKER = "complete.json"
STATE = "state.json"
MODEL = "model"
OPTIMIZER = "optimizer"


class CheckpointError(HandeyeError):
    """A checkpoint could not be written or read."""


class NoCheckpoint(CheckpointError):
    """A folder holds none."""


def name_of(step: int) -> str:
    return f"step-{step:06d}"


def _file(name: str) -> str:
    return f"{name}.safetensors"


def save(
    folder: Path,
    step: int,
    state: dict[str, Any],
    save_model: Callable[[Path], None],
    tensors: Mapping[str, dict[str, Tensor]],
) -> Path:
    """Write ``folder/step-…``; until the last rename nothing under that name changes.

    Args:
        folder: of all checkpoints.
        step: training steps done.
        state: JSON.
        save_model: writes the policy into a folder.
        tensors: whatever else was learned: file ``NAME.safetensors`` by name, :data:`OPTIMIZER` among them.

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
        for name, named in tensors.items():
            save_file(named, aside / _file(name))
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
    except Exception as error:
        # Whatever goes wrong, tokenizers raises a plain Exception.
        if not isinstance(error, OSError | SafetensorError) and type(error) is not Exception:
            raise
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
    if lost := {STATE, _file(OPTIMIZER)} - {*files}:
        return f"{MARKER} does not name {min(lost)}"
    return ""


def find(resume: Path, option: str = "--resume") -> Path:
    """The checkpoint meant by a run folder (its newest) or by a checkpoint's own folder, after it was checked.

    Args:
        resume: the folder.
        option: of the command line to which it was given.

    Raises:
        NoCheckpoint: there is none.
        CheckpointError: it is damaged; the newest good one is then named.
    """
    resume = Path(os.path.abspath(resume))  # its run lies above it, also where it is the current folder
    run = (resume / "checkpoints").is_dir() or (resume / "config.json").is_file()
    own = (resume / MARKER).is_file() or (resume.name.startswith("step-") and not run)
    folder = resume.parent if own else resume / "checkpoints"
    there = listed(folder)
    if not resume.is_dir() or not there:
        raise NoCheckpoint(f"{resume} holds no checkpoint; give a run folder or one of its checkpoints/step-…")
    chosen = resume if own else there[-1]
    _require_whole(chosen, option)
    return chosen


def _require_whole(checkpoint: Path, option: str) -> None:
    """Raise a CheckpointError if it is damaged; what may be given to ``option`` instead is then named."""
    if wrong := damage(checkpoint):
        there = listed(checkpoint.parent)
        good = next((p for p in reversed(there) if p != checkpoint and not damage(p)), None)
        offer = f"the newest good one is {good}: {option} {good}" if good else "no other is good"
        raise CheckpointError(f"checkpoint {checkpoint} is damaged: {wrong}; {offer}")


def vouch(model: Path) -> None:
    """Check a model's folder where it lies in a checkpoint; of any other nothing is known.

    Raises:
        CheckpointError: the checkpoint is damaged; the newest good one is then named.
    """
    checkpoint = model.resolve().parent
    if (checkpoint / MARKER).is_file():
        _require_whole(checkpoint, "--policy")


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
        raise CheckpointError(f"{path} has schema {schema!r}, this handeye reads {SCHEMA}: {_instead(checkpoint)}")
    return state


def load_config(checkpoint: Path) -> Config:
    """The config of the run that wrote a checkpoint.

    Raises:
        CheckpointError: its state holds none that can be read.
        ConfigError: a setting in it cannot be.
    """
    try:
        return Config.from_json(load_state(checkpoint)["config"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{checkpoint / STATE} holds no config ({type(error).__name__}: {error}); {_instead(checkpoint)}"
        ) from error


def part(checkpoint: Path, state: dict[str, Any], key: str, kind: type[T]) -> T:
    """What a checkpoint's state holds under ``key``, as :func:`restored` makes it."""
    if key not in state:
        raise CheckpointError(f"{checkpoint / STATE} lacks {key}; {_instead(checkpoint)}")
    return restored(kind, state[key], f"{key} in {checkpoint / STATE}", _instead(checkpoint))


def restored(kind: type[T], data: Any, where: str, mend: str = "go on with the version that wrote it") -> T:
    """A number or a dataclass from JSON.

    Raises:
        CheckpointError: it is of another type, or not all its fields are there, or others are, or of other types.
    """
    if not is_dataclass(kind):
        if not _fits(data, kind):
            raise CheckpointError(f"{where} is {data!r:.80} instead of a {kind.__name__}; {mend}")
        return cast(T, data)
    hints = get_type_hints(kind)
    if not isinstance(data, dict):
        raise CheckpointError(f"{where} is {data!r:.80} instead of an object; {mend}")
    if other := sorted(hints.keys() ^ data.keys()):
        raise CheckpointError(f"{where} {'lacks' if other[0] in hints else 'has an unknown'} {other[0]}; {mend}")
    if wrong := next((name for name, hint in hints.items() if not _fits(data[name], hint)), None):
        raise CheckpointError(f"{where} has {wrong} = {data[wrong]!r:.80}, which is of another type; {mend}")
    return kind(**data)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of a type."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind is Any:
        return True
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    if kind is list:
        return isinstance(value, list) and all(_fits(v, inner[0]) for v in value)
    if kind is dict:
        return isinstance(value, dict) and all(_fits(v, inner[1]) for v in value.values())
    return isinstance(value, kind)


def _instead(checkpoint: Path) -> str:
    """What helps where a state cannot be gone on with."""
    return (
        f"go on with the version that wrote it, or begin a new run from its weights with --policy {checkpoint / MODEL}"
    )


def load_tensors(checkpoint: Path, name: str = OPTIMIZER) -> dict[str, Tensor]:
    """What :func:`save` was given under ``name``.

    Raises:
        CheckpointError: it was given nothing of that name, or it cannot be read.
    """
    path = checkpoint / _file(name)
    if not path.is_file():
        raise CheckpointError(
            f"{checkpoint} holds no {path.name}: it was written with another --algorithm. Resume without that option, "
            f"or begin a new run from its weights with --policy {checkpoint / MODEL}"
        )
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; --resume an earlier checkpoint") from error
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
    if (folder / "checkpoints").is_dir() or ((folder / MARKER).is_file() and not (folder / "config.json").is_file()):
        return find(folder, "--policy") / MODEL
    vouch(folder)
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
