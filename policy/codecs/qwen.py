"""``qwen``: tool calls as Qwen's vision-language models are trained to write them, the default for real models.

    <tool_call>
    {"name": "computer_use", "arguments": {"action": "left_click", "coordinate": [500, 250]}}
    </tool_call>

Coordinates are relative, 0..1000 on both axes; they are executed as ``min(W - 1, x * W // 1000)``. ``robot`` is a
function of the same shape for bodies, in millimetres. A thought is plain text before the call.

Departures from the models' own vocabulary: one call a reply; ``left_click_drag`` may name its start
(``start_coordinate``), otherwise it starts where the pointer was left, which ``parse`` must be told; a pointing action
without ``coordinate`` happens there too; ``middle_click``, ``triple_click`` and ``hscroll`` have no native counterpart
and are no valid reply; ``mouse_move`` is a no-op that remembers its place; ``terminate`` and ``answer`` both end the
episode, whose own check decides about success.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episode import SCREEN_KINDS, Action, Advice, Body, Embodiment, Screen, ScreenKind, chunk_of, nearest, screen_action
from policy.codecs.base import (
    MAX_NOTCHES,
    CodecError,
    Misread,
    Reply,
    body_limits,
    check_pixel,
    check_text,
    displacement,
    excerpt,
    hand_state,
    no_action,
    only_screen_action,
    understood,
)

GRID = 1000
_HUGE = 10**9
"""Numbers are cut there before they become floats: an integer of a thousand digits is legal JSON."""
NOTCH = 100
"""Pixels of Qwen's ``scroll`` that make one notch."""
_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_CLICKS: dict[str, ScreenKind] = {
    "left_click": "click",
    "double_click": "double_click",
    "right_click": "right_click",
    "mouse_move": "noop",
}
_CLICK_NAMES = {kind: name for name, kind in _CLICKS.items()}
_ACTIONS = (*_CLICKS, "left_click_drag", "scroll", "type", "key", "wait", "terminate", "answer")
_KEY_NAMES = {"return": "enter", "esc": "escape", "del": "delete", "control": "ctrl", "arrowup": "up"} | {
    f"arrow{side}": side for side in ("down", "left", "right")
}


class Qwen:
    """The ``qwen`` codec; see the module's text."""

    name = "qwen"
    # The longest text that a screen types, the call around it, and a thought of a few sentences.
    max_tokens = 512

    def system(self, embodiment: Embodiment) -> str:
        tool = _screen_tool() if isinstance(embodiment, Screen) else _robot_tool(embodiment)
        shape = json.dumps({"name": tool["function"]["name"], "arguments": {"<argument>": "<value>"}})
        return (
            "You see frames and act on them to do what the user asks.\n\n"
            "# Tools\n\nYou act by calling a function. Its signature stands within <tools></tools> XML tags:\n"
            f"<tools>\n{json.dumps(tool)}\n</tools>\n\n"
            "Say briefly what you are about to do, then make exactly one call, as a JSON object within "
            f"{_OPEN}{_CLOSE} XML tags:\n{_OPEN}\n{shape}\n{_CLOSE}"
        )

    def format(self, advice: Advice, embodiment: Embodiment, thought: bool) -> str:
        if isinstance(embodiment, Screen):
            name, arguments = "computer_use", _screen_arguments(advice, embodiment)
        else:
            name, arguments = "robot", _robot_arguments(advice, embodiment)
        call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
        said = _say(advice, embodiment) if thought else ""
        return f"{said}\n{_OPEN}\n{call}\n{_CLOSE}" if said else f"{_OPEN}\n{call}\n{_CLOSE}"

    def parse(
        self, text: str, embodiment: Embodiment, *, grip: float = 1.0, cursor: tuple[int, int] | None = None
    ) -> Reply:
        try:
            name, arguments, thought = _read_call(text)
            expected = "computer_use" if isinstance(embodiment, Screen) else "robot"
            if name != expected:
                raise Misread(f"expected the function {expected!r}, got {_shown(name)}")
            if isinstance(embodiment, Screen):
                return understood([_read_screen(arguments, embodiment, cursor)], thought)
            return understood(_read_robot(arguments, embodiment), thought)
        except Misread as error:
            return no_action(str(error), embodiment, grip)

    def observe(self, proprio: NDArray[np.float32] | None, embodiment: Embodiment) -> str:
        if proprio is None or isinstance(embodiment, Screen):
            return ""
        position, opening, holding = hand_state(proprio)
        return f"Hand at {_millimetres(position)} mm, gripper {opening}{', holding' if holding else ''}."


def grid_of_pixel(x: int, side: int) -> int:
    """The grid value 0..1000 that is executed as pixel ``x``; on sides over 1000 pixels, as the next one at hand."""
    return min(GRID, -(-x * GRID // side))


def pixel_of_grid(x: float, side: int) -> int:
    """The pixel where 0..1000 inclusive is executed: the models' own documents disagree on 999 and 1000."""
    return min(side - 1, int(x * side // GRID))


# --- saying


def _say(advice: Advice, embodiment: Embodiment) -> str:
    """The thought as one line, and the places it is about; tags of a call in it would read as one."""
    said = _untagged(advice.thought).split()
    if isinstance(embodiment, Screen):
        for word, points, text in (("Look", advice.points, advice.reads), ("Checked", advice.checked, "")):
            if points:
                reads = f": {json.dumps(_untagged(text), ensure_ascii=False)}" if text.strip() else ""
                said.append(f"{word} at {'; '.join(str(_grid_point(point, embodiment)) for point in points)}{reads}.")
    elif advice.points:
        said.append(f"Target at {'; '.join(str(_millimetres(point)) for point in advice.points)} mm.")
    return " ".join(said)


def _untagged(text: str) -> str:
    return text.replace("<", "(").replace(">", ")")


def _millimetres(point: Sequence[float] | NDArray[np.float64]) -> list[int]:
    return [round(1000 * float(value)) for value in point]


def _screen_arguments(advice: Advice, screen: Screen) -> dict[str, Any]:
    action = only_screen_action(advice)
    kind = SCREEN_KINDS[int(action["kind"])]
    coordinate = _grid_point(action["position"], screen)
    text = str(action["text"])
    match kind:
        case "drag":
            end = _grid_point(action["end"], screen)
            return {"action": "left_click_drag", "start_coordinate": coordinate, "coordinate": end}
        case "scroll":
            notches = int(np.clip(int(action["scroll"][0]), -MAX_NOTCHES, MAX_NOTCHES))
            return {"action": "scroll", "coordinate": coordinate, "pixels": -notches * NOTCH}
        case "type" | "key":
            try:
                check_text(text)
            except Misread as error:
                raise CodecError(f"qwen cannot say {kind} {excerpt(text)}: {error}") from None
            return {"action": "type", "text": text} if kind == "type" else {"action": "key", "keys": _split_keys(text)}
        case "wait":
            return {"action": "wait", "time": 1}
        case "done":
            return {"action": "answer", "text": text} if text else {"action": "terminate", "status": "success"}
    return {"action": _CLICK_NAMES[kind], "coordinate": coordinate}


def _split_keys(text: str) -> list[str]:
    keys = re.findall(r"(\+|[^+]+)(?:\+|$)", text)  # A "+" is a key where a name should stand.
    return keys if "+".join(keys) == text else [text]


def _grid_point(position: Any, screen: Screen) -> list[int]:
    x, y = check_pixel(position, screen)
    return [grid_of_pixel(x, screen.width), grid_of_pixel(y, screen.height)]


def _robot_arguments(advice: Advice, body: Body) -> dict[str, Any]:
    limit = body_limits(body)
    delta = displacement(advice.actions).clip(-limit, limit)
    return {"delta": _millimetres(delta), "gripper": "open" if advice.actions[-1][3] >= 0 else "close"}


# --- reading


def _read_call(text: str) -> tuple[object, dict[str, Any], str]:
    """Name, arguments and thought of the one call in a reply."""
    thought, opened, rest = text.partition(_OPEN)
    if not opened:
        raise Misread(f'expected {_OPEN}{{"name": ..., "arguments": {{...}}}}{_CLOSE}, got {excerpt(text)}')
    body, closed, after = rest.partition(_CLOSE)
    if not closed or after.strip():
        raise Misread(f"expected one call, closed by {_CLOSE}, and nothing after it; got {excerpt(rest[-60:])}")
    try:
        call = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Misread(f"the call is no JSON object ({excerpt(str(error), 80)}): {excerpt(body.strip())}") from None
    if not isinstance(call, dict) or not isinstance(call.get("arguments"), dict):
        raise Misread(f'the call must be {{"name": ..., "arguments": {{...}}}}, got {excerpt(body.strip())}')
    return call.get("name"), call["arguments"], thought.strip()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _read_screen(arguments: dict[str, Any], screen: Screen, cursor: tuple[int, int] | None) -> Action:
    action = arguments.get("action")
    if not isinstance(action, str) or action not in _ACTIONS:
        near = nearest(action[:32] if isinstance(action, str) else "", _ACTIONS)
        raise Misread(f"'action' is {_shown(action)}, which this screen does not know; {near}")
    match action:
        case "left_click_drag":
            x, y = _point(arguments, "start_coordinate", screen, cursor)
            x2, y2 = _point(arguments, "coordinate", screen, None)
            return screen_action("drag", x, y, x2, y2)
        case "scroll":
            middle = (screen.width // 2, screen.height // 2)
            x, y = _point(arguments, "coordinate", screen, cursor or middle)
            return screen_action("scroll", x, y, scroll=_notches(arguments.get("pixels")))
        case "type":
            return screen_action("type", text=_string(arguments, "text"))
        case "key":
            return screen_action("key", text=_keys(arguments.get("keys")))
        case "wait":
            _number(arguments.get("time", 1), "time", 0, math.inf)
            return screen_action("wait")
        case "terminate":
            if arguments.get("status") not in ("success", "failure"):
                raise Misread('terminate needs "status": "success" or "failure"')
            return screen_action("done")
        case "answer":
            return screen_action("done", text=_string(arguments, "text"))
    x, y = _point(arguments, "coordinate", screen, cursor)
    return screen_action(_CLICKS[action], x, y)


def _read_robot(arguments: dict[str, Any], body: Body) -> list[NDArray[np.float32]]:
    limit = round(1000 * body_limits(body))
    delta, gripper = arguments.get("delta"), arguments.get("gripper")
    if not isinstance(delta, list) or len(delta) != 3:
        raise Misread('robot needs "delta": [dx, dy, dz] in millimetres')
    metres = [_number(value, "delta", -limit, limit) / 1000 for value in delta]
    if gripper not in ("open", "close"):
        raise Misread('robot needs "gripper": "open" or "close"')
    return chunk_of(body, metres, 1.0 if gripper == "open" else -1.0)


def _number(value: object, name: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Misread(f"'{name}' must hold numbers, got {_shown(value)}")
    if not low <= value <= high:
        raise Misread(f"'{name}' is {_shown(value)}, outside of {low:g}..{high:g}")
    return float(max(-_HUGE, min(_HUGE, value)))


def _shown(value: object) -> str:
    """A value out of a reply for an error message, however long, huge or deeply nested it is."""
    if isinstance(value, str):
        return excerpt(value)
    if isinstance(value, int | float):
        return f"{value:g}" if -_HUGE <= value <= _HUGE or isinstance(value, float) else "a huge number"
    return "missing" if value is None else "a list" if isinstance(value, list) else "an object"


def _point(arguments: dict[str, Any], name: str, screen: Screen, otherwise: tuple[int, int] | None) -> tuple[int, int]:
    """A coordinate in pixels; ``otherwise`` where the call leaves it out."""
    if name not in arguments and otherwise is not None:
        return otherwise
    value = arguments.get(name)
    if not isinstance(value, list) or len(value) != 2:
        raise Misread(f"'{name}' must be [x, y], each from 0 to {GRID} on the screen")
    x, y = (_number(v, name, 0, GRID) for v in value)
    return pixel_of_grid(x, screen.width), pixel_of_grid(y, screen.height)


def _notches(pixels: object) -> int:
    """Qwen's pixels (positive is up) as native notches (positive is down), at least one and at most MAX_NOTCHES.

    Further than that is no error: a list that is at its end stops as well.
    """
    up = _number(pixels, "pixels", -math.inf, math.inf)
    size = min(MAX_NOTCHES, max(1, round(abs(up) / NOTCH))) if up else 0
    return -size if up > 0 else size


def _string(arguments: dict[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str):
        raise Misread(f"'{name}' must be a string")
    return check_text(value)


def _keys(keys: object) -> str:
    """``["ctrl", "a"]`` as the native ``ctrl+a``, with names that differ only in spelling made one."""
    if isinstance(keys, str):
        keys = [keys]
    if not isinstance(keys, list) or not keys or not all(isinstance(key, str) and key for key in keys):
        raise Misread('key needs "keys": a list of names, such as ["enter"] or ["ctrl", "a"]')
    return check_text("+".join(_KEY_NAMES.get(key.lower(), key.lower()) if len(key) > 1 else key for key in keys))


# --- the tools' signatures


def _tool(name: str, description: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _screen_tool() -> dict[str, Any]:
    return _tool(
        "computer_use",
        f"Use a mouse and a keyboard on the screen in the image. The screen's resolution is {GRID}x{GRID}: coordinates "
        "run from the top left corner, whatever the image's size. Click the middle of things.",
        {
            "action": {
                "type": "string",
                "enum": list(_ACTIONS),
                "description": "What to do. left_click, right_click, double_click: click at coordinate. mouse_move: "
                "move the pointer to coordinate. left_click_drag: drag from start_coordinate (else from the pointer) "
                "to coordinate. scroll: turn the wheel by pixels at coordinate. type: type text into what has the "
                "focus. key: press keys together. wait: let time pass. terminate: end the task with status. answer: "
                "end the task with text.",
            },
            "coordinate": {"type": "array", "description": f"[x, y], each from 0 to {GRID}."},
            "start_coordinate": {"type": "array", "description": "[x, y] where left_click_drag starts."},
            "pixels": {
                "type": "number",
                "description": f"How far to scroll: positive is up, negative is down; {NOTCH} is one notch of the "
                f"wheel, {MAX_NOTCHES * NOTCH} the most.",
            },
            "text": {"type": "string", "description": "For type and answer."},
            "keys": {"type": "array", "description": 'For key: names such as ["enter"] or ["ctrl", "a"].'},
            "time": {"type": "number", "description": "Seconds, for wait."},
            "status": {"type": "string", "enum": ["success", "failure"], "description": "For terminate."},
        },
        ["action"],
    )


def _robot_tool(body: Body) -> dict[str, Any]:
    limit = round(1000 * body_limits(body))
    low, high = _millimetres(body.low), _millimetres(body.high)
    return _tool(
        "robot",
        f"Move the hand of the robot in the images. Its reach is from {low} to {high} (x, y, z in millimetres, z up).",
        {
            "delta": {
                "type": "array",
                "description": f"[dx, dy, dz] by which the hand moves, whole millimetres from -{limit} to {limit}.",
            },
            "gripper": {"type": "string", "enum": ["open", "close"], "description": "What the gripper does meanwhile."},
        },
        ["delta", "gripper"],
    )
