"""Trajectories on disk: a folder with ``episode.json`` and each distinct frame once as a PNG. Nothing is pickled."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from episode import (
    SCHEMA_VERSION,
    ControlStep,
    Decision,
    Generation,
    HandeyeError,
    Outcome,
    SubGoal,
    Task,
    Trajectory,
)
from training import files

EPISODE = "episode.json"
FRAMES = "frames"
LONGEST_NAME = 100
"""Characters of a folder's name that a task's id may fill."""


UNREADABLE = (
    *(KeyError, TypeError, ValueError, AttributeError, IndexError, OSError, RecursionError),
    *(SyntaxError, Image.DecompressionBombError),  # what Pillow says of a broken PNG, and of one that is far too large
)
"""What reading an episode that somebody changed may raise."""


class RecordError(HandeyeError):
    """A folder that holds no episode of ours."""


def save(trajectory: Trajectory, folder: Path) -> Path:
    """Write ``trajectory`` to ``folder``; every number comes back bit for bit.

    Raises:
        RecordError: it cannot be written (a full disk, say).
    """
    data = _encode(trajectory) | {"frames": list(trajectory.frames)}
    # A lone surrogate is legal in a Python string and in JSON's escapes, but not in UTF-8: escapes it is.
    text = json.dumps(data, separators=(",", ":")) + "\n"
    try:
        (folder / FRAMES).mkdir(parents=True, exist_ok=True)
        for key, frame in trajectory.frames.items():
            with files.fresh(_frame_path(folder, key)) as file:
                Image.fromarray(frame).save(file, "PNG", compress_level=1)
        with files.fresh(folder / EPISODE) as file:
            file.write(text.encode())
    except OSError as error:
        raise RecordError(f"episode {folder} cannot be written: {error}. Free some space, then --resume") from error
    return folder


def folder_name(task_id: str) -> str:
    """A task's id as the name of one folder, whatever the id holds."""
    name = re.sub(r"[^\w.-]", "_", task_id, flags=re.ASCII).lstrip(".")
    if name and len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}-{hashlib.blake2b(task_id.encode('utf-8', 'replace'), digest_size=4).hexdigest()}"


def _frame_path(folder: Path, key: str) -> Path:
    """Where a frame lies: below ``folder``, whatever a record says its key is."""
    path = folder / FRAMES / f"{key}.png"
    if not path.resolve().is_relative_to(folder.resolve()):
        raise RecordError(f"a frame of {folder} is called {key!r:.80}, which leads out of it")
    return path


def load(folder: Path) -> Trajectory:
    """Read what :func:`save` wrote.

    Raises:
        RecordError: the folder holds no episode, or one of a schema that this version does not know.
    """
    path = folder / EPISODE
    if not path.is_file():
        raise RecordError(f"{folder} holds no {EPISODE}; give a folder below a run's episodes/")
    try:
        data = json.loads(path.read_text("utf-8"))
        if data["schema"] != SCHEMA_VERSION:
            raise RecordError(f"{path} has schema {data['schema']}; this version reads {SCHEMA_VERSION}")
        frames = {key: np.asarray(Image.open(_frame_path(folder, key), formats=("PNG",))) for key in data["frames"]}
        return _trajectory(data, frames)
    except UNREADABLE as error:
        raise RecordError(f"{path} cannot be read as an episode: {type(error).__name__}: {error}") from error


def find(folder: Path) -> list[Path]:
    """Every episode's folder below ``folder``, in order of name."""
    return sorted(path.parent for path in folder.rglob(EPISODE))


def _trajectory(data: dict[str, Any], frames: dict[str, Any]) -> Trajectory:
    task = _decode(data["task"])
    goals = tuple(SubGoal(g["name"], g["weight"], tuple(g["after"])) for g in task["subgoals"])
    return Trajectory(
        task=Task(**(task | {"subgoals": goals})),
        outcome=Outcome(data["outcome"]),
        decisions=[_decision(d) for d in data["decisions"]],
        frames=frames,
        episode=data["episode"],
        group=data["group"],
        final_frames=data["final_frames"],
        error=data["error"],
        attempts=data.get("attempts", 1),  # episodes of an earlier version do not say
        schema=data["schema"],
    )


def _decision(data: dict[str, Any]) -> Decision:
    plain = _decode(data)
    plain["generations"] = [Generation(**(g | {"images": tuple(g["images"])})) for g in plain["generations"]]
    plain["steps"] = [ControlStep(**step) for step in plain["steps"]]
    return Decision(**plain)


def _encode(value: Any) -> Any:
    """JSON: dataclasses as dicts, arrays and tuples and bytes tagged, so that a state key comes back hashable."""
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    if isinstance(value, np.ndarray):
        return {"$array": value.tolist(), "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, tuple):
        return {"$tuple": [_encode(v) for v in value]}
    if isinstance(value, frozenset):
        return {"$set": [_encode(v) for v in sorted(value, key=repr)]}
    if isinstance(value, list):
        return [_encode(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _encode(v) for k, v in value.items()}
    if isinstance(value, Trajectory):
        return {f.name: _encode(getattr(value, f.name)) for f in fields(value) if f.name != "frames"}
    if isinstance(value, Task | SubGoal | Decision | Generation | ControlStep):
        return {f.name: _encode(getattr(value, f.name)) for f in fields(value)}
    raise RecordError(f"an episode cannot hold a {type(value).__name__}: {value!r:.80}")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        dtype = np.dtype(value["dtype"])
        if dtype.kind not in "biuf":
            raise RecordError(f"an episode holds arrays of numbers, not of {dtype}")
        return np.array(value["$array"], dtype).reshape(value["shape"])
    if "$bytes" in value:
        return bytes.fromhex(value["$bytes"])
    if "$tuple" in value:
        return tuple(_decode(v) for v in value["$tuple"])
    if "$set" in value:
        return frozenset(_decode(v) for v in value["$set"])
    return {k: _decode(v) for k, v in value.items()}
