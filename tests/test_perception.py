"""Views: pixels go where they should, and places come back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episode import SCREEN_KINDS, Advice, Body, Frame, Screen, chunk_of, screen_action
from perception.views import GREY, Fit, Letterbox, Pad, Placement, Resize, View, ViewError
from policy.codecs import CODECS
from policy.codecs.base import POINTING
from policy.codecs.placed import Placed

SIDES = st.integers(32, 700)
VIEWS: st.SearchStrategy[View] = st.one_of(
    st.builds(Resize, SIDES, SIDES),
    st.builds(Letterbox, SIDES, SIDES),
    st.builds(Pad, st.sampled_from([16, 28, 32])),
    st.builds(Fit, st.sampled_from([16, 28, 32]), st.integers(32 * 32, 300_000)),
)


def frame_of(width: int, height: int) -> Frame:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_placements_by_hand() -> None:
    # 200x100 into 128x128: scale .64, so 128x64, with 32 rows of grey above and below.
    assert Letterbox(128, 128).place(200, 100) == Placement((200, 100), (128, 128), (0, 32), (128, 64))
    assert Pad(32).place(160, 210) == Placement((160, 210), (160, 224), (0, 0), (160, 210))
    assert Resize(64, 32).place(128, 128) == Placement((128, 128), (64, 32), (0, 0), (64, 32))
    # 160x210 in tokens of 32: 5 by 6.56 -> 5 by 7. 1280x800 under 512,000 pixels: scale .707, 28.3 by 17.7 -> 28 by 17.
    assert Fit(32, 512_000).place(160, 210).canvas == (160, 224)
    assert Fit(32, 512_000).place(1280, 800).canvas == (896, 544)


def test_places_by_hand() -> None:
    placement = Letterbox(128, 128).place(200, 100)
    # The centre of pixel (0, 0) is .5 -> .32 in the box; of pixel (199, 99) 199.5 -> 127.68 and 99.5 -> 63.68.
    assert placement.to_canvas(0, 0) == (0, 32)
    assert placement.to_canvas(199, 99) == (127, 95)
    # Canvas pixel (127, 95): 127.5 / .64 = 199.2 and 63.5 / .64 = 99.2.
    assert placement.to_frame(127, 95) == (199, 99)
    assert placement.to_frame(0, 31) is None and placement.to_frame(0, 96) is None


@settings(max_examples=200)
@given(VIEWS, SIDES, SIDES, st.data())
def test_places_come_back(view: View, width: int, height: int, data: st.DataObject) -> None:
    placement = view.place(width, height)
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    u, v = placement.to_canvas(x, y)
    assert 0 <= u < placement.canvas[0] and 0 <= v < placement.canvas[1]
    back = placement.to_frame(u, v)
    assert back is not None
    # One canvas pixel covers width / box pixels of the frame: no further than half of that, and one for rounding.
    assert abs(back[0] - x) <= width / placement.box[0] / 2 + 1
    assert abs(back[1] - y) <= height / placement.box[1] / 2 + 1
    if placement.box[0] >= width and placement.box[1] >= height:
        assert back == (x, y)


@settings(max_examples=50)
@given(VIEWS, SIDES, SIDES)
def test_images_have_the_promised_size(view: View, width: int, height: int) -> None:
    placement = view.place(width, height)
    image = placement.apply(frame_of(width, height))
    assert image.shape == (placement.canvas[1], placement.canvas[0], 3) and image.dtype == np.uint8
    if isinstance(view, Fit):
        assert placement.canvas[0] * placement.canvas[1] <= view.most
        assert placement.canvas[0] % view.unit == placement.canvas[1] % view.unit == 0


def test_pixels_land_where_places_say() -> None:
    frame = np.zeros((60, 100, 3), np.uint8)
    frame[40:44, 70:74] = (255, 0, 0)
    for view in (Resize(200, 90), Letterbox(150, 150), Pad(32), Fit(16, 100_000)):
        placement = view.place(100, 60)
        image = placement.apply(frame)
        u, v = placement.to_canvas(72, 42)
        assert image[v, u, 0] > 200 and image[v, u, 1] < 50, view
        assert (image[-1, -1] == GREY).all() == isinstance(view, Letterbox | Pad)


def test_nothing_to_do_copies_nothing() -> None:
    frame = frame_of(128, 64)
    assert Pad(32).place(128, 64).apply(frame) is frame
    assert Resize(128, 64).place(128, 64).apply(frame) is frame


def test_wrong_frames_and_sizes() -> None:
    placement = Resize(64, 64).place(128, 128)
    wrong: list[Any] = [frame_of(64, 128), frame_of(128, 128).astype(np.float32), frame_of(128, 128)[..., 0]]
    for frame in wrong:
        with pytest.raises(ViewError, match="expected a frame of 128x128"):
            placement.apply(frame)
    with pytest.raises(ViewError, match="less than one image token"):
        Fit(32, 100).place(128, 128)


@pytest.mark.parametrize("name", list(CODECS))
def test_codec_behind_a_view(name: str) -> None:
    """What the model says about the letterboxed image is done on the screen, and no other action changes."""
    codec, screen = Placed(CODECS[name], Letterbox(128, 128)), Screen(640, 320)
    for kind in SCREEN_KINDS:
        text = "abc" if kind == "type" else "enter" if kind == "key" else ""
        x, y = (300, 200) if kind in POINTING else (0, 0)
        x2, y2 = (500, 40) if kind == "drag" else (0, 0)
        action = screen_action(kind, x, y, x2, y2, text=text)
        reply = codec.parse(codec.format(Advice((action,)), screen, False), screen)
        assert reply.valid, reply.error
        got = reply.actions[0]
        assert got["kind"] == action["kind"] and got["text"] == text
        # One pixel of the image is 5 of the screen, so half of one 2.5; in compact, half a bin is 2 pixels more.
        slack = 12.5 if name == "compact" else 2.5
        assert np.abs(got["position"] - action["position"]).max() <= slack
        assert np.abs(got["end"] - action["end"]).max() <= slack
    assert codec.system(screen) == CODECS[name].system(Screen(128, 128))


@pytest.mark.parametrize("name", list(CODECS))
def test_where_a_decision_looks_is_where_the_model_sees_it(name: str) -> None:
    codec, screen = Placed(CODECS[name], Letterbox(128, 128)), Screen(640, 320)
    click = screen_action("click", 300, 200)
    said = codec.format(Advice((click,), points=((300, 200),), checked=((300, 200),)), screen, True)
    # 640 pixels are 128, and 320 are 64 with 32 of grey above: (60, 72), of which both codecs have a name.
    place = "<loc_15><loc_18>" if name == "compact" else "[469, 563]"
    assert said.count(place) == 3, said


def test_pointing_beside_the_screen_is_no_action() -> None:
    codec, screen = Placed(CODECS["compact"], Letterbox(128, 128)), Screen(640, 320)
    reply = codec.parse("click<loc_16><loc_2>", screen)
    assert not reply.valid and "grey beside the screen" in reply.error and reply.actions[0]["kind"] == 0
    assert codec.parse("clik", screen).error == CODECS["compact"].parse("clik", screen).error


def test_the_pointer_is_moved_too() -> None:
    codec, screen = Placed(CODECS["qwen"], Letterbox(128, 128)), Screen(640, 320)
    call = '<tool_call>{"name": "computer_use", "arguments": {"action": "left_click"}}</tool_call>'
    reply = codec.parse(call, screen, cursor=(302, 202))
    assert reply.valid and np.array_equal(reply.actions[0]["position"], [302, 202])


def test_bodies_pass_through() -> None:
    body = Body((-0.2, -0.2, 0.0), (0.2, 0.2, 0.3))
    codec = Placed(CODECS["compact"], Letterbox(128, 128))
    advice = Advice(tuple(chunk_of(body, (0.03, 0, 0), -1.0)))
    assert codec.format(advice, body, True) == "<a2><a0><a0>close"
    assert np.allclose(codec.parse("<a2><a0><a0>close", body).actions, advice.actions)
    assert codec.observe(np.array([0, 0, 0, 1], np.float32), body) == "hand<loc_16><loc_16><loc_0>open"
