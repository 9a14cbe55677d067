"""Texts that no codec expects, and actions that every codec must be able to say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from benchmarks.faults.drill import Outcome, Setting
from episode import MAX_TEXT, SCREEN_KINDS, Action, Advice, Body, Embodiment, Screen, chunk_of, screen_action, stream
from policy.codecs import CODECS, Codec
from policy.codecs.base import MAX_NOTCHES, describe

EMBODIMENTS: tuple[Embodiment, ...] = (Screen(128, 128), Screen(640, 480), Body((-0.3, -0.3, 0.0), (0.3, 0.3, 0.4)))
KEYS = ("enter", "tab", "escape", "ctrl+a", "a", "+", "ctrl++")
WRITTEN = {"compact": 12, "qwen": MAX_TEXT}
"""Characters that an action types, at most: ``compact`` is for short words, also where each must be escaped."""
MOVES = {"compact": (10, 0.015), "qwen": (150, 0.001)}
"""Steps of each codec's grid to either side of no displacement, and metres of one: 0.15 m is the furthest."""
Draw = np.random.Generator


def fuzzed(setting: Setting) -> Outcome:
    """Both halves, for every codec."""
    told, wrong = list[str](), list[str]()
    for name, codec in CODECS.items():
        texts = same = 0
        draw = stream(setting.seed, "texts", name)
        for text, embodiment in _texts(codec, draw, setting.count(1_000_000)):
            try:
                reply = codec.parse(text, embodiment, grip=1.0, cursor=(3, 4) if texts % 2 else None)
                texts += _native(reply.actions, embodiment)
                if not _native(reply.actions, embodiment) or bool(reply.error) == reply.valid:
                    wrong.append(f"{name}: {text!a:.80} gave {reply}")
                if reply.valid:  # it will be told as the last action
                    codec.format(Advice(reply.actions), embodiment, False)
            except Exception as error:
                wrong.append(f"{name}: {text!a:.80} raised {type(error).__name__}: {error}")
        for _ in range(setting.count(100_000)):
            embodiment = EMBODIMENTS[draw.integers(len(EMBODIMENTS))]
            asked = _action(draw, embodiment, name)
            reply = codec.parse(codec.format(Advice(asked), embodiment, False), embodiment)
            alike = reply.valid and len(reply.actions) == len(asked) and all(map(_equal, asked, reply.actions))
            same += alike
            if not alike:
                wrong.append(f"{name}: {describe(asked)} came back as {reply.action} {reply.error}")
        told.append(f"{name}: {texts:,} texts, {same:,} actions the same")
    return Outcome("; ".join(told) + f"; {len(wrong)} wrong" + "".join(f"; {w}" for w in wrong[:3]), not wrong)


def _texts(codec: Codec, draw: Draw, count: int) -> Iterator[tuple[str, Embodiment]]:
    kinds: Mapping[str, Callable[[str], str]] = {
        "bytes": lambda _: draw.bytes(int(draw.integers(80))).decode("latin-1"),
        "unicode": lambda _: "".join(chr(c) for c in draw.integers(0x110000, size=int(draw.integers(30)))),
        "near": lambda good: _mutated(good, draw),
        "spliced": lambda good: good[: draw.integers(len(good) + 1)] + good[draw.integers(len(good) + 1) :],
        "huge": lambda good: _with_number(good, draw),
        "nested": lambda _: _nested(draw),
        "quoted": lambda _: _quoted(draw),
    }
    names = list(kinds)
    for i in range(count):
        embodiment = EMBODIMENTS[i % len(EMBODIMENTS)]
        good = codec.format(Advice(_action(draw, embodiment, codec.name), "so"), embodiment, bool(i % 2))
        yield kinds[names[draw.integers(len(names))]](good), embodiment


def _mutated(text: str, draw: Draw) -> str:
    characters = list(text)
    for _ in range(1 + int(draw.integers(3))):
        at = int(draw.integers(len(characters) + 1))
        characters[at : at + int(draw.integers(3))] = chr(int(draw.integers(32, 127))) * int(draw.integers(3))
    return "".join(characters)


def _with_number(text: str, draw: Draw) -> str:
    long = "9" * int(1 + draw.integers(6000))
    numbers = (long, "-" + long, "1e999", "-1e308", "NaN", "-Infinity", "1_0", "\N{ARABIC-INDIC DIGIT THREE}", "0x10")
    digits = [i for i, c in enumerate(text) if c.isdigit()] or [0]
    at = digits[draw.integers(len(digits))]
    return text[:at] + numbers[draw.integers(len(numbers))] + text[at + 1 :]


def _nested(draw: Draw) -> str:
    depth = int(draw.integers(3000))
    inner = ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth)[draw.integers(3)]
    calls = (
        f'{{"name": "computer_use", "arguments": {inner}}}',
        f'{{"name": {inner}, "arguments": {{"action": "left_click", "coordinate": {inner}}}}}',
        f'{{"name": "computer_use", "arguments": {{"action": "left_click", "coordinate": {inner}}}}}',
        json.dumps({"name": "robot", "arguments": {"delta": [[1], {}, None], "gripper": [inner]}}),
    )
    texts = (*(f"<tool_call>{call}</tool_call>" for call in calls), f'think"{inner}"type"{inner}"')
    return texts[draw.integers(len(texts))]


def _quoted(draw: Draw) -> str:
    """Texts to type of about the longest that there are, much of them escapes."""
    inner = "".join(draw.choice(["a", "b", '\\"', "\\\\", "\\c"], size=int(draw.integers(9, 30))))
    call = (
        f'{{"name": "computer_use", "arguments": {{"action": "type", "text": "{inner * int(draw.integers(1, 16))}"}}}}'
    )
    return (f'type"{inner}"', f'key"{inner}"', f"<tool_call>{call}</tool_call>")[draw.integers(3)]


def _action(draw: Draw, embodiment: Embodiment, name: str) -> tuple[Action, ...]:
    """A random valid decision on the grid of the codec of that name."""
    if isinstance(embodiment, Body):
        most, unit = MOVES[name]
        delta = [int(n) * unit for n in draw.integers(-most, most + 1, size=3)]
        return tuple(chunk_of(embodiment, delta, float(draw.choice([-1.0, 1.0]))))
    kind = SCREEN_KINDS[draw.integers(len(SCREEN_KINDS))]
    (x, x2), (y, y2) = (_pixels(draw, side, name) for side in (embodiment.width, embodiment.height))
    match kind:
        case "drag":
            return (screen_action(kind, x, y, x2, y2),)
        case "scroll":
            return (screen_action(kind, x, y, scroll=int(draw.integers(-MAX_NOTCHES, MAX_NOTCHES + 1))),)
        case "click" | "double_click" | "right_click":
            return (screen_action(kind, x, y),)
        case "type":
            letters = draw.integers(32, 127, size=int(draw.integers(WRITTEN[name] + 1)))
            return (screen_action(kind, text="".join(map(chr, letters))),)
        case "key":
            return (screen_action(kind, text=KEYS[draw.integers(len(KEYS))]),)
    return (screen_action(kind),)


def _pixels(draw: Draw, side: int, name: str) -> list[int]:
    """Two places along a side: centres of 32 bins, or any, as ``qwen`` has a number for each of up to 1000 pixels."""
    if name == "compact":
        return [(2 * int(n) + 1) * side // 64 for n in draw.integers(32, size=2)]
    return [int(n) for n in draw.integers(side, size=2)]


def _native(actions: tuple[Action, ...], embodiment: Embodiment) -> bool:
    """Whether a world of this embodiment takes the actions."""
    if isinstance(embodiment, Body):
        moves = np.asarray(actions)
        near = np.abs(moves[:, :3]) <= embodiment.max_step + 1e-6
        return moves.shape == (embodiment.chunk, 4) and bool(near.all()) and bool((np.abs(moves[:, 3]) <= 1).all())
    (action,) = actions
    size = np.array([embodiment.width, embodiment.height])
    placed = all(((action[name] >= 0) & (action[name] < size)).all() for name in ("position", "end"))
    typed = action["text"].isascii() and action["text"].isprintable() and len(action["text"]) <= MAX_TEXT
    return placed and typed and abs(int(action["scroll"][0])) <= MAX_NOTCHES


def _equal(one: Action, other: Action) -> bool:
    if not isinstance(one, dict):
        return bool(np.array_equal(one, other))
    return all(np.array_equal(one[name], other[name]) for name in one)
