"""Codecs: inverses on their own grid, and no text that breaks them."""

from __future__ import annotations

import json
import random
import string
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episode import (
    SCREEN_KINDS,
    Advice,
    Body,
    Embodiment,
    Screen,
    ScreenKind,
    WorldError,
    chunk_of,
    screen_action,
)
from policy.codecs import CODECS, Codec, CodecError, codec_named
from policy.codecs.base import MAX_NOTCHES
from policy.codecs.compact import location_of_pixel, pixel_of_location
from policy.codecs.qwen import grid_of_pixel, pixel_of_grid

SCREEN = Screen(128, 128)
BODY = Body(low=(-0.2, -0.2, 0.0), high=(0.2, 0.2, 0.3))
COMPACT, QWEN = CODECS["compact"], CODECS["qwen"]
EMBODIMENTS: list[Embodiment] = [SCREEN, Screen(1280, 800), BODY]
BOTH = pytest.mark.parametrize("codec", list(CODECS.values()), ids=list(CODECS))

SCREENS = st.builds(Screen, st.integers(128, 1280), st.integers(128, 800))
TYPED = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=24).filter(
    lambda text: len(json.dumps(text)) <= 26
)


def call(arguments: Any, name: str = "computer_use", thought: str = "") -> str:
    return f"{thought}<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
    return np.allclose(a, b, atol=1e-7)


@st.composite
def screen_advice(draw: st.DrawFn, screen: Screen, grid: Any) -> Advice:
    """An action on a codec's grid; ``grid(draw, side)`` draws a pixel of it."""
    kind: ScreenKind = draw(st.sampled_from(SCREEN_KINDS))
    values: dict[str, Any] = {}
    if kind in ("click", "double_click", "right_click", "drag", "scroll"):
        values |= {"x": grid(draw, screen.width), "y": grid(draw, screen.height)}
    if kind == "drag":
        values |= {"x2": grid(draw, screen.width), "y2": grid(draw, screen.height)}
    if kind == "scroll":
        values["scroll"] = draw(st.integers(-MAX_NOTCHES, MAX_NOTCHES))
    if kind == "type":
        values["text"] = draw(TYPED)
    if kind == "key":
        values["text"] = draw(st.sampled_from(["enter", "tab", "ctrl+a", "ctrl++", "+", "A", "escape"]))
    places = st.lists(
        st.tuples(*(st.builds(grid, st.just(draw), st.just(side)) for side in (screen.width, screen.height)))
    )
    return Advice(
        (screen_action(kind, **values),),
        draw(st.sampled_from(["", "click the button", 'a "b" <c>'])),
        tuple(draw(places)),
        tuple(draw(places)),
    )


def on_compact_grid(draw: st.DrawFn, side: int) -> int:
    return pixel_of_location(draw(st.integers(0, 31)), side)


def on_qwen_grid(draw: st.DrawFn, side: int) -> int:
    return pixel_of_grid(grid_of_pixel(draw(st.integers(0, side - 1)), side), side)


@BOTH
@settings(max_examples=300)
@given(data=st.data())
def test_screen_round_trip(codec: Codec, data: st.DataObject) -> None:
    screen = data.draw(SCREENS)
    advice = data.draw(screen_advice(screen, on_compact_grid if codec is COMPACT else on_qwen_grid))
    for thought in (False, True):
        text = codec.format(advice, screen, thought)
        reply = codec.parse(text, screen)
        assert reply.valid and reply.error == "", (text, reply.error)
        assert same(reply.actions[0], advice.actions[0]), text
        assert codec.format(Advice(reply.actions), screen, False) == codec.format(advice, screen, False)
        # compact leaves out what the reply has no room for.
        said = thought and bool(advice.thought or advice.points or advice.checked)
        assert not reply.thought or said
        assert reply.thought or not said or codec is COMPACT


@BOTH
@settings(max_examples=200)
@given(data=st.data())
def test_body_round_trip(codec: Codec, data: st.DataObject) -> None:
    unit, most = (0.015, 10) if codec is COMPACT else (0.001, 150)
    delta = [data.draw(st.integers(-most, most)) * unit for _ in range(3)]
    grip = data.draw(st.sampled_from([-1.0, 1.0]))
    advice = Advice(tuple(chunk_of(BODY, delta, grip)), points=((0.05, -0.1, 0.02),))
    for thought in (False, True):
        reply = codec.parse(codec.format(advice, BODY, thought), BODY)
        assert reply.valid and len(reply.actions) == BODY.chunk
        assert same(np.array(reply.actions), np.array(advice.actions))
        assert bool(reply.thought) == thought


@BOTH
@settings(max_examples=100)
@given(data=st.data())
def test_off_the_grid_the_nearest_is_taken(codec: Codec, data: st.DataObject) -> None:
    """A pixel moves by at most half a bin (compact) or, beyond 1000 pixels, to the next one (qwen)."""
    screen = data.draw(SCREENS)
    x, y = data.draw(st.integers(0, screen.width - 1)), data.draw(st.integers(0, screen.height - 1))
    reply = codec.parse(codec.format(Advice((screen_action("click", x, y),)), screen, False), screen)
    slack = screen.width / 64 + 1 if codec is COMPACT else (0 if screen.width <= 1000 else 1)
    assert abs(int(reply.actions[0]["position"][0]) - x) <= slack
    delta = [data.draw(st.floats(-0.15, 0.15)) for _ in range(3)]
    moved = codec.parse(codec.format(Advice(tuple(chunk_of(BODY, delta, 1.0))), BODY, False), BODY)
    error = np.abs(np.sum(moved.actions, axis=0)[:3] - np.array(delta)).max()
    assert error <= (0.0075 if codec is COMPACT else 0.0005) + 1e-6


def test_grids_by_hand() -> None:
    # 128 pixels in 32 bins: 4 pixels a bin, the centre of bin 3 is pixel 14.
    assert [pixel_of_location(b, 128) for b in (0, 3, 31)] == [2, 14, 126]
    assert [location_of_pixel(p, 128) for p in (0, 3, 4, 127)] == [0, 0, 1, 31]
    # min(W - 1, x * W // 1000) at W = 128: 500 -> 64, 999 -> 127, 1000 -> 127.
    assert [pixel_of_grid(g, 128) for g in (0, 500, 999, 1000)] == [0, 64, 127, 127]
    assert all(pixel_of_grid(grid_of_pixel(p, w), w) == p for w in (128, 333, 1000) for p in range(w))


def test_what_compact_says() -> None:
    def say(kind: ScreenKind, **values: Any) -> str:
        return COMPACT.format(Advice((screen_action(kind, **values),)), SCREEN, False)

    assert say("click", x=14, y=38) == "click<loc_3><loc_9>"
    assert say("double_click", x=0, y=127) == "double<loc_0><loc_31>"
    assert say("right_click", x=0, y=127) == "right<loc_0><loc_31>"
    assert say("drag", x=14, y=38, x2=81, y2=38) == "drag<loc_3><loc_9><loc_20><loc_9>"
    assert say("scroll", x=14, y=38, scroll=-3) == "scroll<loc_3><loc_9><a-3>"
    assert say("type", text='a"b') == 'type"a\\"b"'
    assert say("key", text="enter") == 'key"enter"'
    assert [say("wait"), say("done"), say("noop")] == ["wait", "done", "noop"]
    # Steps of 0.03 m, 5 a chunk: a bin is 1.5 cm; x = -0.2 + 0.4 * (20.5 / 32) lies in bin 20.
    advice = Advice(tuple(chunk_of(BODY, (0.031, -0.015, 0.0), -1.0)), points=((0.056, 0.0, 0.0),))
    assert COMPACT.format(advice, BODY, False) == "<a2><a-1><a0>close"
    assert COMPACT.format(advice, BODY, True) == "at<loc_20><loc_16><loc_0><a2><a-1><a0>close"
    assert COMPACT.parse("at<loc_20><loc_16><loc_0><a2><a-1><a0>close", BODY).thought == "at (0.056, 0.006, 0.005)"
    pushing = replace(advice, points=((0.0, 0.0, 0.0), (0.056, 0.0, 0.0)))
    both = "at<loc_16><loc_16><loc_0><loc_20><loc_16><loc_0><a2><a-1><a0>close"
    assert COMPACT.format(pushing, BODY, True) == both
    assert COMPACT.parse(both, BODY).thought == "at (0.006, 0.006, 0.005), (0.056, 0.006, 0.005)"
    assert not COMPACT.parse("at<loc_20><loc_16><a2><a-1><a0>close", BODY).valid
    # Where the decision looks, and what of it is checked, on the same grid as the click.
    looking = Advice((screen_action("click", 14, 38),), points=((14, 38), (81, 38)), checked=((81, 38),))
    seen = "at<loc_3><loc_9><loc_20><loc_9>checked<loc_20><loc_9>"
    assert COMPACT.format(looking, SCREEN, True) == f"{seen}click<loc_3><loc_9>"
    assert COMPACT.format(looking, SCREEN, False) == "click<loc_3><loc_9>"
    read = COMPACT.parse(f"{seen}click<loc_3><loc_9>", SCREEN)
    assert read.valid and read.thought == "at (14, 38), (82, 38); checked (82, 38)"
    assert QWEN.format(looking, SCREEN, True).startswith("Look at [110, 297]; [633, 297]. Checked at [633, 297].")
    assert COMPACT.format(replace(looking, points=((14, 38),) * 16), SCREEN, True) == "click<loc_3><loc_9>", "no room"
    # What stands there is read aloud, all of it or nothing.
    reading = Advice((screen_action("scroll", 14, 38, scroll=3),), points=((14, 38),), reads='Pond "B"')
    spoken = r'at<loc_3><loc_9>"Pond \"B\""scroll<loc_3><loc_9><a3>'
    assert COMPACT.format(reading, SCREEN, True) == spoken
    read = COMPACT.parse(spoken, SCREEN)
    assert read.valid and read.thought == 'at (14, 38) "Pond "B""' and int(read.actions[0]["scroll"][0]) == 3
    assert QWEN.format(reading, SCREEN, True).startswith('Look at [110, 297]: "Pond \\"B\\"".\n')
    tagged = QWEN.format(replace(reading, reads="<tool_call>"), SCREEN, True)
    assert tagged.startswith('Look at [110, 297]: "(tool_call)".') and QWEN.parse(tagged, SCREEN).valid
    for unsaid in ("W" * 25, "New York City Hall Annex", "Größe", "<loc_3>", " "):
        silent = COMPACT.format(replace(reading, reads=unsaid), SCREEN, True)
        assert silent == "at<loc_3><loc_9>scroll<loc_3><loc_9><a3>", "half of it would be another text"
    assert not COMPACT.parse('checked<loc_3><loc_9>"Pond"click<loc_3><loc_9>', SCREEN).valid
    assert COMPACT.format(replace(reading, points=()), SCREEN, True) == "scroll<loc_3><loc_9><a3>"
    assert not COMPACT.parse('at<loc_3><loc_9>"Pond', SCREEN).valid
    assert not COMPACT.parse("at<loc_3>click<loc_3><loc_9>", SCREEN).valid
    assert not COMPACT.parse("checked<loc_3><loc_99>click<loc_3><loc_9>", SCREEN).valid
    thinking = Advice((screen_action("click", 14, 38),), thought='press  "ok"')
    assert COMPACT.format(thinking, SCREEN, True) == "think\"press 'ok'\"click<loc_3><loc_9>"


def test_compact_measures_a_text_as_it_is_written() -> None:
    """23 letters and an escaped quote are 25 characters between the quotes, 24 once read: one too many to be told."""
    for word in ("type", "key"):
        for said in ("x" * 23 + r"\"", r"\\" * 13, "x" * 25):
            check_invalid(COMPACT, f'{word}"{said}"', SCREEN, "at most 24")
        for said in ("x" * 22 + r"\"", r"\\" * 12, r"\x" * 24):
            reply = COMPACT.parse(f'{word}"{said}"', SCREEN)
            assert reply.valid and COMPACT.parse(COMPACT.format(Advice(reply.actions), SCREEN, False), SCREEN).valid


@pytest.mark.parametrize(
    "keys", [["+"], ["+", "+"], ["+", "a"], ["a", "+", "b"], ["ctrl", "+"], ["++"], ["a+"], ["+a"], ["shift", "+", "+"]]
)
def test_qwen_reads_the_keys_that_it_writes(keys: list[str]) -> None:
    reply = QWEN.parse(call({"action": "key", "keys": keys}), SCREEN)
    again = QWEN.parse(QWEN.format(Advice(reply.actions), SCREEN, False), SCREEN)
    assert reply.valid and again.valid and same(reply.actions[0], again.actions[0])


def test_body_state() -> None:
    state = np.array([0.0, -0.2, 0.31, 0.5, 1.0], np.float32)
    assert COMPACT.observe(state, BODY) == "hand<loc_16><loc_0><loc_31>half holding"
    assert QWEN.observe(state, BODY) == "Hand at [0, -200, 310] mm, gripper half, holding."
    assert COMPACT.observe(state * 0, BODY) == "hand<loc_16><loc_16><loc_0>shut"
    for codec in CODECS.values():
        assert codec.observe(None, BODY) == codec.observe(state, SCREEN) == ""
        with pytest.raises(WorldError, match="finite"):
            codec.observe(np.full(5, np.nan, np.float32), BODY)


@pytest.mark.parametrize(
    ("arguments", "kind", "expected"),
    [
        ({"action": "left_click", "coordinate": [500, 1000]}, "click", {"position": [64, 127]}),
        ({"action": "right_click", "coordinate": [0, 0]}, "right_click", {"position": [0, 0]}),
        ({"action": "double_click", "coordinate": [499.6, 10]}, "double_click", {"position": [63, 1]}),
        ({"action": "left_click"}, "click", {"position": [7, 9]}),
        ({"action": "mouse_move", "coordinate": [500, 500]}, "noop", {"position": [64, 64]}),
        ({"action": "left_click_drag", "coordinate": [500, 500]}, "drag", {"position": [7, 9], "end": [64, 64]}),
        (
            {"action": "left_click_drag", "start_coordinate": [0, 0], "coordinate": [500, 500]},
            "drag",
            {"end": [64, 64]},
        ),
        ({"action": "scroll", "coordinate": [500, 500], "pixels": -300}, "scroll", {"scroll": [3]}),
        ({"action": "scroll", "pixels": 5}, "scroll", {"scroll": [-1], "position": [7, 9]}),
        ({"action": "scroll", "pixels": -(10**400)}, "scroll", {"scroll": [10]}),
        ({"action": "type", "text": "a b"}, "type", {"text": "a b"}),
        ({"action": "key", "keys": ["Return"]}, "key", {"text": "enter"}),
        ({"action": "key", "keys": ["Control", "a"]}, "key", {"text": "ctrl+a"}),
        ({"action": "wait", "time": 2}, "wait", {}),
        ({"action": "terminate", "status": "failure"}, "done", {}),
        ({"action": "answer", "text": "42"}, "done", {"text": "42"}),
    ],
)
def test_qwen_vocabulary(arguments: dict[str, Any], kind: str, expected: dict[str, Any]) -> None:
    reply = QWEN.parse(call(arguments, thought="I see it.\n"), SCREEN, cursor=(7, 9))
    assert reply.valid, reply.error
    assert SCREEN_KINDS[reply.actions[0]["kind"]] == kind and reply.thought == "I see it."
    assert all(np.array_equal(reply.actions[0][name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("text", "embodiment", "says"),
    [
        ("", SCREEN, "starts with no action"),
        ("clik<loc_1><loc_2>", SCREEN, "did you mean click"),
        ("click<loc_1>", SCREEN, "expected click<loc_..><loc_..>"),
        ("click<loc_1><loc_32>", SCREEN, "location 32 is outside of 0..31"),
        ("click<loc_1><loc_2>done", SCREEN, "nothing else"),
        ("scroll<loc_1><loc_2><a11>", SCREEN, "scroll 11 is outside"),
        ('type"abc', SCREEN, 'expected type"..."'),
        ('type"' + "x" * 25 + '"', SCREEN, "at most 24"),
        ('type"\x00"', SCREEN, "no key for"),
        ('think"x', SCREEN, "closing quote"),
        ("<a1><a1>open", BODY, "expected [at"),
        ("<a1><a1><a11>open", BODY, "displacement 11 is outside of -10..10"),
        ("at<loc_1><loc_2><loc_99><a1><a1><a1>open", BODY, "location 99"),
        ("click<loc_1><loc_2>", BODY, "expected [at"),
    ],
)
def test_compact_misread(text: str, embodiment: Embodiment, says: str) -> None:
    check_invalid(COMPACT, text, embodiment, says)


@pytest.mark.parametrize(
    ("text", "embodiment", "says"),
    [
        ("I would click it.", SCREEN, "expected <tool_call>"),
        ("<tool_call>{}", SCREEN, "closed by </tool_call>"),
        ("<tool_call>{}</tool_call>", SCREEN, '"arguments"'),
        ("<tool_call>[1]</tool_call>", SCREEN, '"arguments"'),
        ("<tool_call>{'name': 1}</tool_call>", SCREEN, "no JSON"),
        ("<tool_call>" + "[" * 100_000 + "</tool_call>", SCREEN, "no JSON"),
        (call({"action": "wait"}) + call({"action": "wait"}), SCREEN, "nothing after"),
        (call({"action": "wait"}, "computer"), SCREEN, "computer_use"),
        (call({"action": "wait"}, "robot"), SCREEN, "computer_use"),
        (call({"action": "left_clik", "coordinate": [1, 2]}), SCREEN, "did you mean left_click"),
        (call({"action": "triple_click", "coordinate": [1, 2]}), SCREEN, "does not know"),
        (call({"action": ["wait"]}), SCREEN, "a list"),
        (call({"action": "left_click"}), SCREEN, "[x, y]"),
        (call({"action": "left_click", "coordinate": [1001, 2]}), SCREEN, "1001, outside of 0..1000"),
        (call({"action": "left_click", "coordinate": [1, -1]}), SCREEN, "outside of 0..1000"),
        (call({"action": "left_click", "coordinate": [10**4000, 2]}), SCREEN, "a huge number"),
        (call({"action": "left_click", "coordinate": ["1", 2]}), SCREEN, "must hold numbers"),
        (call({"action": "left_click", "coordinate": [True, 2]}), SCREEN, "must hold numbers"),
        (call({"action": "left_click", "coordinate": [float("nan"), 2]}), SCREEN, "NaN is no number"),
        (call({"action": "left_click", "coordinate": None}), SCREEN, "[x, y]"),
        (call({"action": "left_click_drag", "coordinate": [1, 2]}), SCREEN, "start_coordinate"),
        (call({"action": "scroll"}), SCREEN, "'pixels'"),
        (call({"action": "type"}), SCREEN, "'text' must be a string"),
        (call({"action": "type", "text": "\ud800"}), SCREEN, "no key for '\\ud800'"),
        (call({"action": "type", "text": "Grüße"}), SCREEN, "no key for '\\xfc'"),
        (call({"action": "type", "text": "x" * 257}), SCREEN, "at most 256"),
        (call({"action": "key", "keys": []}), SCREEN, "a list of names"),
        (call({"action": "terminate"}), SCREEN, "status"),
        (call({"delta": [1, 2, 151], "gripper": "open"}, "robot"), BODY, "151, outside of -150..150"),
        (call({"delta": [1, 2], "gripper": "open"}, "robot"), BODY, "[dx, dy, dz]"),
        (call({"delta": [1, 2, 3], "gripper": "shut"}, "robot"), BODY, '"open" or "close"'),
        (call({"action": "wait"}), BODY, "'robot'"),
    ],
)
def test_qwen_misread(text: str, embodiment: Embodiment, says: str) -> None:
    check_invalid(QWEN, text, embodiment, says)


def check_invalid(codec: Codec, text: str, embodiment: Embodiment, says: str) -> None:
    reply = codec.parse(text, embodiment, grip=-1.0)
    assert not reply.valid and says in reply.error, reply.error
    assert len(reply.error) < 400
    if isinstance(embodiment, Screen):
        assert same(reply.actions[0], screen_action("noop"))
    else:
        assert same(np.array(reply.actions), np.array(chunk_of(embodiment, (0, 0, 0), -1.0)))


def test_random_text_never_raises() -> None:
    """Pieces of both grammars, shuffled and cut, and noise: 100,000 texts a codec."""
    draw = random.Random(0)
    pieces = [
        *("click", "double", "right", "drag", "scroll", "type", "key", "wait", "done", "noop", "think", "at", "open"),
        *("close", '"', '"', "\\", "<loc_3>", "<loc_31>", "<loc_999999999>", "<a-3>", "<a10>", "<a99>", " ", "\n", "é"),
        *("<tool_call>", "</tool_call>", '{"name": "computer_use", "arguments": {', '{"name": "robot", "arguments": {'),
        *('"action": "left_click"', '"action": "scroll"', '"coordinate": [', '"pixels": ', '"delta": [', '"gripper":'),
        *(
            ", ",
            "]",
            "}",
            "}}",
            "1",
            "-1",
            "1e999",
            "9" * 5000,
            "null",
            "true",
            "[",
            "{",
            "Infinity",
            "\ud800",
            "🙂",
            "\x00",
        ),
    ]
    whole = [
        call({"action": "left_click", "coordinate": [1, 2]}),
        call({"delta": [1, 2, 3], "gripper": "open"}, "robot"),
        "drag<loc_3><loc_9><loc_20><loc_9>",
        'think"so"type"abc"',
        r'type"aaaaaaaaaaa\\\\\"\"\\\"x"',
        "at<loc_4><loc_5><loc_1><a2><a-1><a0>close",
    ]
    space = gym.spaces.Dict(
        {
            "kind": gym.spaces.Discrete(len(SCREEN_KINDS)),
            "position": gym.spaces.Box(0, 127, (2,), np.int32),
            "end": gym.spaces.Box(0, 127, (2,), np.int32),
            "scroll": gym.spaces.Box(-MAX_NOTCHES, MAX_NOTCHES, (1,), np.int32),
            "text": gym.spaces.Text(256, min_length=0, charset=string.printable[:95]),
        }
    )
    valid = 0
    for i in range(100_000):
        if i % 2:
            text = "".join(draw.choices(pieces, k=draw.randrange(12)))
        else:
            text = draw.choice(whole)
            for _ in range(draw.randrange(4)):
                at = draw.randrange(len(text) + 1)
                text = (
                    text[:at]
                    + draw.choice(["", chr(draw.randrange(0x11000)), "9", '"'])
                    + text[at + draw.randrange(3) :]
                )
        for codec in CODECS.values():
            reply = codec.parse(text, EMBODIMENTS[i % 3])
            assert reply.valid == (reply.error == "") and len(reply.error) < 400
            assert i % 3 or not reply.valid or space.contains(reply.actions[0]), (text, reply)
            if reply.valid:  # told as the last action, so it must be possible to say
                codec.format(Advice(reply.actions), EMBODIMENTS[i % 3], False)
            valid += reply.valid
    assert valid > 1000


@settings(max_examples=300)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists), st.data())
def test_any_value_anywhere_in_a_call(value: Any, data: st.DataObject) -> None:
    arguments: dict[str, Any] = data.draw(
        st.sampled_from(
            [
                {"action": "left_click_drag", "coordinate": [1, 2], "start_coordinate": [3, 4]},
                {"action": "scroll", "coordinate": [1, 2], "pixels": 3},
                {"action": "type", "text": "a"},
                {"action": "key", "keys": ["a"]},
                {"action": "wait", "time": 1},
                {"action": "terminate", "status": "success"},
                {"delta": [1, 2, 3], "gripper": "open"},
            ]
        )
    )
    name = data.draw(st.sampled_from(sorted(arguments)))
    for embodiment in EMBODIMENTS:
        reply = QWEN.parse(
            call(arguments | {name: value}, "robot" if embodiment is BODY else "computer_use"), embodiment
        )
        assert reply.valid == (reply.error == "")


@BOTH
def test_what_cannot_be_said(codec: Codec) -> None:
    with pytest.raises(CodecError, match="outside of the screen"):
        codec.format(Advice((screen_action("click", 128, 0),)), SCREEN, False)
    with pytest.raises(CodecError, match="characters"):
        codec.format(Advice((screen_action("type", text="x" * 300),)), SCREEN, False)
    with pytest.raises(CodecError, match="1 action a decision"):
        codec.format(Advice((screen_action("wait"), screen_action("wait"))), SCREEN, False)


def test_system_prompts_follow_the_action_space() -> None:
    assert COMPACT.system(SCREEN) == COMPACT.system(BODY) == ""
    for embodiment, name in ((SCREEN, "computer_use"), (BODY, "robot")):
        prompt = QWEN.system(embodiment)
        tool = json.loads(prompt.split("<tools>\n")[1].split("\n</tools>")[0])
        assert tool["type"] == "function" and tool["function"]["name"] == name
    assert "-150 to 150" in QWEN.system(BODY)


def test_unknown_codec() -> None:
    assert codec_named("qwen") is QWEN
    with pytest.raises(CodecError, match="did you mean qwen"):
        codec_named("qwn")
