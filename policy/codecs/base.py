"""What a codec is: the text of a reply into native actions, and back.

Grids (location bins, 0–1000) belong to the codecs; worlds only ever see pixels and metres. A codec keeps no state: what
a reply may lean on (the gripper as it is, the pointer where it was left) is handed to ``parse``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from episode import (
    HAND,
    MAX_TEXT,
    SCREEN_KINDS,
    Action,
    Advice,
    Body,
    Embodiment,
    HandeyeError,
    Screen,
    ScreenKind,
    WorldError,
    chunk_of,
    screen_action,
)

MAX_NOTCHES = 10
"""Furthest that one scroll turns, in notches."""
POINTING: frozenset[ScreenKind] = frozenset({"click", "double_click", "right_click", "drag", "scroll"})
"""Screen actions that happen at a place."""


class CodecError(HandeyeError):
    """An action that a codec cannot say: a bug of whoever made the action, or a codec too narrow for the world."""


class Misread(HandeyeError):
    """Raised inside a codec while it reads a reply; ``parse`` turns it into an invalid :class:`Reply`."""


@dataclass(frozen=True)
class Reply:
    """A reply as it was understood."""

    actions: tuple[Action, ...]
    """Native actions of one decision: one on a screen, ``body.chunk`` on a body. The no-op where ``valid`` is False."""
    action: str
    """What ``actions`` do, for people."""
    thought: str
    """What was said before the action."""
    valid: bool
    error: str
    """What was expected instead; empty where ``valid``."""


class Codec(Protocol):
    """``parse(format(advice))`` gives the advice's actions back wherever they lie on the codec's grid.

    ``format`` has words for whatever ``parse`` found valid: it is told as the last action.
    """

    name: str
    max_tokens: int
    """Enough for any reply that ``format`` writes."""

    def system(self, embodiment: Embodiment) -> str:
        """The system prompt, generated from the action space; may be empty."""

    def format(self, advice: Advice, embodiment: Embodiment, thought: bool) -> str:
        """The reply that asks for ``advice.actions``, snapped to the grid; :class:`CodecError` where none can."""

    def parse(
        self, text: str, embodiment: Embodiment, *, grip: float = 1.0, cursor: tuple[int, int] | None = None
    ) -> Reply:
        """Read a reply; never raises. ``grip`` is held on by a no-op; ``cursor`` is where the pointer was left."""

    def observe(self, proprio: NDArray[np.float32] | None, embodiment: Embodiment) -> str:
        """The state of the body as text for the prompt; empty on screens."""


Thought = Literal["none", "place", "words"]
"""What an expert writes before its action: nothing; where it looks, if it has to, and where it is heading; or a
sentence (on a body, that and the places)."""


def written(codec: Codec, advice: Advice, embodiment: Embodiment, thought: Thought) -> str:
    """An expert's advice as a model would say it."""
    spoken = advice if thought == "words" else replace(advice, thought="")
    return codec.format(spoken, embodiment, thought != "none")


def no_action(error: str, embodiment: Embodiment, grip: float = 1.0) -> Reply:
    """The invalid reply: the world takes a no-op, a body stays where it is and holds its gripper."""
    return Reply(still(embodiment, grip), "noop", "", False, error)


def still(embodiment: Embodiment, grip: float = 1.0) -> tuple[Action, ...]:
    """One decision of doing nothing."""
    if isinstance(embodiment, Screen):
        return (screen_action("noop"),)
    return tuple(chunk_of(embodiment, (0.0, 0.0, 0.0), grip))


def understood(actions: Sequence[Action], thought: str) -> Reply:
    return Reply(tuple(actions), describe(actions), thought, True, "")


def describe(actions: Sequence[Action]) -> str:
    """One decision's native actions in a few words for people: ``click (14, 18)``, ``move +15 -30 +0 mm, open``."""
    if not isinstance(actions[0], dict):
        dx, dy, dz = 1000 * displacement(actions)
        return f"move {dx:+.0f} {dy:+.0f} {dz:+.0f} mm, {'open' if actions[-1][3] >= 0 else 'close'}"
    return "; ".join(_describe_screen(action) for action in actions)


def _describe_screen(action: dict[str, Any]) -> str:
    kind = SCREEN_KINDS[int(action["kind"])]
    (x, y), (x2, y2) = action["position"], action["end"]
    words = kind.replace("_", " ")
    if kind == "drag":
        return f"{words} ({x}, {y}) to ({x2}, {y2})"
    if kind == "scroll":
        return f"{words} {int(action['scroll'][0]):+d} at ({x}, {y})"
    if kind in POINTING:
        return f"{words} ({x}, {y})"
    return f'{words} "{action["text"]}"' if action["text"] else words


def displacement(actions: Sequence[Action]) -> NDArray[np.float64]:
    """Sum of a chunk's displacements, metres, shape [3]."""
    total: NDArray[np.float64] = np.asarray(actions, np.float64)[:, :3].sum(axis=0)
    return total


def only_screen_action(advice: Advice) -> dict[str, Any]:
    """The advice's one screen action."""
    if len(advice.actions) != 1:
        raise CodecError(f"a screen takes 1 action a decision, but the advice holds {len(advice.actions)}")
    action: dict[str, Any] = advice.actions[0]
    return action


def check_pixel(position: NDArray[np.int32], screen: Screen) -> tuple[int, int]:
    """``position`` as integers, or :class:`CodecError` where no such pixel is on the screen."""
    x, y = position
    if not (0 <= x < screen.width and 0 <= y < screen.height):
        raise CodecError(f"({x}, {y}) is outside of the screen of {screen.width}x{screen.height} pixels")
    return int(x), int(y)


def check_text(text: str, limit: int = MAX_TEXT) -> str:
    """``text`` where it is a member of the screens' action space: printable ASCII, at most ``limit`` characters."""
    if len(text) > limit:
        raise Misread(f"text of {len(text)} characters: at most {limit} can be typed in one action")
    if bad := next((c for c in text if not " " <= c <= "~"), None):
        raise Misread(f"the keyboard has no key for {bad!a}: type printable ASCII; line ends and tabs are keys")
    return text


def hand_state(proprio: NDArray[np.float32]) -> tuple[NDArray[np.float64], str, bool]:
    """Position (metres), opening as a word (``open``, ``half``, ``shut``), and whether something is held.

    ``proprio`` is x, y, z in metres, the opening in [0, 1] and, where the body can feel it, 1 for holding.
    """
    if len(proprio) < HAND or not np.isfinite(proprio).all():
        raise WorldError(f"proprio must be finite [x, y, z, opening, ...], got {proprio}")
    opening = float(proprio[3])
    word = "open" if opening > 2 / 3 else "half" if opening > 1 / 3 else "shut"
    return np.asarray(proprio[:3], np.float64), word, len(proprio) > HAND and bool(proprio[HAND] > 0.5)


def excerpt(text: str, length: int = 60) -> str:
    """``text`` quoted for an error message, short and in ASCII whatever it holds."""
    return ascii(text if len(text) <= length else text[: length - 3] + "...")


def body_limits(body: Body) -> float:
    """Furthest displacement of one decision along an axis, metres."""
    return body.chunk * body.max_step
