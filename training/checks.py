"""What a world returned, held to what the trainer reads of it: here garbage becomes an error that names it.

Each function gives back the part that is read, in plain types, or raises a WorldError that says what was wrong.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box
from numpy.typing import NDArray

from episode import HAND, Advice, Embodiment, Observation, Outcome, Screen, Task, WorldError

ENDINGS = (Outcome.SUCCESS, Outcome.FAILURE, Outcome.TRUNCATED)
"""What a world may say of its episode; that it broke is not for it to say."""
EXTRAS = ("instruction", "time", "proprio")


def observation(returned: Any, embodiment: Embodiment, before: Observation | None) -> Observation:
    """An observation: frames of the cameras that the embodiment has, of the shapes that they had ``before``."""
    if not isinstance(returned, Mapping):
        raise WorldError(f"an observation is a dict, not {_named(returned)}")
    missing = [k for k in ("frames", "instruction", "time") if k not in returned]
    if missing:
        raise WorldError(f"the observation lacks {', '.join(missing)}: it has {', '.join(map(str, returned))}")
    if not isinstance(returned["instruction"], str):
        raise WorldError(f"the instruction is {_named(returned['instruction'])}, not text")
    try:
        returned["instruction"].encode()
    except UnicodeEncodeError as error:  # lone surrogates: no tokenizer takes them
        raise WorldError(f"the instruction cannot be written as UTF-8: {error}") from error
    _finite(returned["time"], "the time")
    if isinstance(embodiment, Screen):
        _frames(returned["frames"], {"screen": (embodiment.height, embodiment.width, 3)})
    else:
        if "proprio" not in returned:
            raise WorldError("the observation of a body lacks proprio")
        _finite(returned["proprio"], "the body's state")
        if len(returned["proprio"]) < HAND:
            raise WorldError(f"the body's state has {len(returned['proprio'])} entries, at least {HAND} are read")
        known = {camera: frame.shape for camera, frame in before["frames"].items()} if before else {}
        _frames(returned["frames"], {camera: known.get(camera) for camera in embodiment.cameras})
    return {"frames": dict(returned["frames"])} | {k: returned[k] for k in EXTRAS if k in returned}


def task(info: Any) -> Task:
    """``info["task"]`` of a reset."""
    found = _entry(info, "task")
    if not isinstance(found, Task):
        raise WorldError(f"info['task'] is {_named(found)}, not an episode.Task")
    return found


def subgoals(info: Any) -> dict[str, bool]:
    found = _entry(info, "subgoals")
    if not isinstance(found, Mapping) or not all(isinstance(v, bool | np.bool_) for v in found.values()):
        raise WorldError(f"info['subgoals'] is a dict of names to True or False, not {found!r:.80}")
    return {str(name): bool(held) for name, held in found.items()}


def progress(info: Any) -> float:
    return _number(_entry(info, "progress"), "the progress")


def terms(info: Any) -> dict[str, float]:
    found = _entry(info, "terms")
    if not isinstance(found, Mapping):
        raise WorldError(f"info['terms'] is a dict of names to numbers, not {_named(found)}")
    return {str(name): _number(value, f"the reward term {str(name)!r}") for name, value in found.items()}


def outcome(info: Any) -> Outcome:
    """``info["outcome"]`` of the step that ended an episode."""
    found = _entry(info, "outcome")
    if found not in ENDINGS:
        raise WorldError(f"an episode ends as {', '.join(ENDINGS)}, not as {found!r:.80}")
    return Outcome(found)


def flag(returned: Any, name: str) -> bool:
    if not isinstance(returned, bool | np.bool_):
        raise WorldError(f"{name} is True or False, not {returned!r:.80}")
    return bool(returned)


def state_key(returned: Any) -> Hashable:
    try:
        hash(returned)
    except TypeError as error:
        raise WorldError(f"a state key can be hashed; {_named(returned)} cannot: {error}") from error
    key: Hashable = returned
    return key


def privileged(returned: Any, size: int) -> NDArray[np.float32]:
    """A privileged state of ``size`` entries; a copy, as a world may write its next one into the same memory."""
    _finite(returned, "the privileged state")
    if returned.shape != (size,):
        raise WorldError(f"the privileged state has shape {list(returned.shape)}, its layout {size} names")
    copied: NDArray[np.float32] = returned.copy()
    return copied


def advice(returned: Any, space: Space[Any]) -> Advice:
    if not isinstance(returned, Advice) or not returned.actions:
        raise WorldError(f"an expert gives an episode.Advice with at least one action, not {returned!r:.80}")
    for action in returned.actions:
        # A vector may be of any float type: it is told in the codec's grid, not executed as it is.
        vector, box = isinstance(action, np.ndarray), isinstance(space, Box)
        native = action.astype(space.dtype) if vector and box else action
        if (box and not vector) or not space.contains(native):
            raise WorldError(f"an expert gives actions of the world's action_space, not {action!r:.200}")
    return returned


def _entry(info: Any, name: str) -> Any:
    if not isinstance(info, Mapping):
        raise WorldError(f"info is a dict, not {_named(info)}")
    if name not in info:
        raise WorldError(f"info lacks {name!r}: it has {', '.join(map(str, info)) or 'nothing'}")
    return info[name]


def _frames(frames: Any, shapes: Mapping[str, tuple[int, ...] | None]) -> None:
    """``shapes``: of every camera's frame; None where any height and width will do."""
    if not isinstance(frames, Mapping) or set(frames) != set(shapes):
        shown = ", ".join(map(str, frames)) if isinstance(frames, Mapping) else _named(frames)
        raise WorldError(f"the cameras are {', '.join(shapes)}, but the frames {shown}")
    for camera, shape in shapes.items():
        frame = frames[camera]
        right = isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.size > 0
        if not right or frame.shape[2] != 3 or (shape is not None and frame.shape != shape):
            wanted = "H, W, 3" if shape is None else ", ".join(map(str, shape))
            raise WorldError(f"camera {camera!r} gave {_named(frame)} instead of a frame, uint8 [{wanted}]")


def _finite(array: Any, name: str) -> None:
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim != 1 or not array.size:
        raise WorldError(f"{name} is {_named(array)}, not a vector of floats")
    if not (np.abs(array) <= np.finfo(np.float32).max).all():
        raise WorldError(f"{name} is not finite in float32: {array}")


def _number(value: Any, name: str) -> float:
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        raise WorldError(f"{name} is {_named(value)}, not a number")
    if not np.isfinite(value):
        raise WorldError(f"{name} is {value}")
    return float(value)


def _named(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
