"""Contexts: image tokens equal image features, nothing seen now is cut, nothing silently left out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from episode import (
    Body,
    ControlStep,
    Decision,
    Frame,
    Generation,
    Observation,
    Screen,
    chunk_of,
    frame_key,
    screen_action,
)
from gui_env.spaces import action_space as screen_space
from perception.views import Letterbox, Pad
from policy.codecs import CODECS
from policy.context import ContextBuilder, ContextError, Dialect, Message, Prompt, turn_text

SCREEN = Screen(128, 96)
BODY = Body((-0.2, -0.2, 0.0), (0.2, 0.2, 0.3))
IMAGE, END = 1, 2


def render(messages: list[Message]) -> str:
    """A chat template like Qwen's, with ``[¤]`` for an image and its brackets."""
    parts = []
    for message in messages:
        parts.append(f"<{message['role']}>")
        parts += ["[¤]" if c["type"] == "image" else c["text"] for c in message["content"]]
        parts.append("</>")
    return "".join(parts) + "<assistant>"


def encode(text: str) -> Sequence[int]:
    pieces = ([ord(c) for c in piece] for piece in text.split("[¤]"))
    return list(reduce(lambda before, after: [*before, ord("["), IMAGE, ord("]"), *after], pieces))


def image_tokens(frame: Frame) -> int:
    return int(frame.size) // 3072


DIALECT = Dialect(render, encode, image_tokens, IMAGE, END, ("[¤]",))


def builder(codec: str = "compact", **options: Any) -> ContextBuilder:
    return ContextBuilder(DIALECT, CODECS[codec], **options)


def frame_of(shade: int, width: int = 128, height: int = 96) -> Frame:
    return np.full((height, width, 3), shade, np.uint8)


def on_screen(shade: int) -> Observation:
    return {"frames": {"screen": frame_of(shade)}, "instruction": "click ok", "time": np.zeros(1, np.float32)}


def at_table(shade: int) -> Observation:
    return {
        "frames": {"front": frame_of(shade + 1, 64, 64), "top": frame_of(shade, 64, 64)},
        "instruction": "reach it",
        "proprio": np.array([0, 0, 0, 1, 0], np.float32),
        "time": np.zeros(1, np.float32),
    }


def episode(observations: Sequence[Observation], actions: Sequence[Any]) -> tuple[list[Decision], dict[str, Frame]]:
    """The record of decisions that took ``actions``, one each; None is an invalid reply."""
    history, frames = [], {}
    for observation, action in zip(observations, actions, strict=True):
        keys = {camera: frame_key(frame) for camera, frame in observation["frames"].items()}
        frames.update({keys[camera]: frame for camera, frame in observation["frames"].items()})
        taken = [screen_action("noop")] if action is None else action
        steps = [ControlStep(a, {}, 0.0, 0.0) for a in taken]
        history.append(Decision(keys, [], "", "", action is not None, "", steps, len(steps), {}))
    return history, frames


def shades(images: Sequence[Frame]) -> list[int]:
    return [int(image[0, 0, 0]) for image in images]


def test_screen_prompt() -> None:
    prompt = builder().build(on_screen(7), (), {}, SCREEN)
    assert prompt.text == "<user>[¤]click ok</><assistant>"
    assert shades(prompt.images) == [7]
    # 128 * 96 / 1024 = 12 image tokens, in the place of one.
    assert prompt.ids.dtype == np.int32 and int((prompt.ids == IMAGE).sum()) == 12
    assert "".join(chr(i) for i in prompt.ids if i != IMAGE) == "<user>[]click ok</><assistant>"
    assert (prompt.ids[7:19] == IMAGE).all()


def test_body_prompt_follows_the_body_s_order_of_cameras() -> None:
    prompt = builder().build(at_table(7), (), {}, BODY)
    assert prompt.text == "<user>[¤][¤]reach it hand<loc_16><loc_16><loc_0>open</><assistant>"
    assert shades(prompt.images) == [7, 8]
    assert shades(builder(cameras=("front",)).build(at_table(7), (), {}, BODY).images) == [8]
    assert shades(builder(cameras=("front",)).build(on_screen(7), (), {}, SCREEN).images) == [7]


def test_system_prompt_comes_first_and_follows_the_embodiment() -> None:
    context = builder("qwen")
    for observation, embodiment, tool in ((on_screen(7), SCREEN, "computer_use"), (at_table(7), BODY, '"robot"')):
        text = context.build(observation, (), {}, embodiment).text
        assert text.startswith("<system>") and tool in text.split("</>")[0] and text.split("</>")[1][:9] == "<user>[¤]"


def test_last_frames_oldest_first() -> None:
    history, frames = episode([at_table(10), at_table(20), at_table(30)], [chunk_of(BODY, (0, 0, 0), 1)] * 3)
    prompt = builder(frames=3).build(at_table(40), history, frames, BODY)
    assert shades(prompt.images) == [20, 21, 30, 31, 40, 41]
    assert int((prompt.ids == IMAGE).sum()) == 6 * 4
    assert shades(builder(frames=3).build(at_table(40), history[:1], frames, BODY).images) == [10, 11, 40, 41]
    assert shades(builder(frames=1).build(at_table(40), history, {}, BODY).images) == [40, 41]


def closing(text: str) -> Sequence[int]:
    """``encode``, and a reply's end is one token."""
    found: list[int] = []
    for number, piece in enumerate(text.split("</>")):
        found += ([END] if number else []) + list(encode(piece))
    return found


def spoken(prompt: Prompt, *reply: int) -> Generation:
    keys = tuple(frame_key(image) for image in prompt.images)
    return Generation(prompt.ids, np.array(reply, np.int32), keys, "")


def talk(shades_seen: Sequence[int], replies: Sequence[Sequence[int]], **options: Any) -> list[Prompt]:
    """Prompts of an episode's turns, the last of which has no reply yet."""
    dialect = Dialect(render, closing, image_tokens, IMAGE, END, ("[¤]",))
    context = ContextBuilder(dialect, CODECS["compact"], conversation=True, **options)
    seen = [on_screen(shade) for shade in shades_seen]
    history, frames = episode(seen[:-1], [[screen_action("wait")]] * len(replies))
    prompts = []
    for turn, observation in enumerate(seen):
        prompts.append(context.build(observation, history[:turn], frames, SCREEN))
        if turn < len(replies):
            history[turn].generations.append(spoken(prompts[-1], *replies[turn]))
    return prompts


def test_a_conversation_goes_on_with_its_replies_as_they_were_sampled() -> None:
    # The second reply was cut off before its end.
    first, second, third = talk([7, 8, 9], [[ord("h"), ord("i"), END], [ord("y"), ord("o")]])
    assert first.text == "<user>[¤]click ok</><assistant>" and shades(third.images) == [7, 8, 9]
    said = np.concatenate([first.ids, [ord("h"), ord("i"), END]])
    assert (second.ids[: len(said)] == said).all()
    rest = "".join({IMAGE: "", END: "$"}.get(i, chr(i)) for i in second.ids[len(said) :])
    assert rest == "<user>[]$<assistant>"  # what the first turn said of the task is there to be read
    said = np.concatenate([second.ids, [ord("y"), ord("o"), END]])
    assert (third.ids[: len(said)] == said).all() and int((third.ids == IMAGE).sum()) == 3 * 12


def test_a_conversation_tells_what_an_action_came_to() -> None:
    context = ContextBuilder(
        Dialect(render, closing, image_tokens, IMAGE, END, ("[¤]",)), CODECS["compact"], conversation=True
    )
    for action, shade, told in (([screen_action("wait")], 7, "unchanged"), (None, 7, "invalid"), (None, 8, "invalid")):
        history, frames = episode([on_screen(7)], [action])
        history[0].generations.append(spoken(context.build(on_screen(7), (), {}, SCREEN), END))
        assert context.build(on_screen(shade), history, frames, SCREEN).text.endswith(f"[¤]{told}</><assistant>")
    at = at_table(7)
    history, frames = episode([at], [chunk_of(BODY, (0, 0, 0), 1)])
    history[0].generations.append(spoken(context.build(at, (), {}, BODY), END))
    text = context.build(at_table(9), history, frames, BODY).text
    assert text.endswith("[¤][¤]hand<loc_16><loc_16><loc_0>open</><assistant>")


def test_a_conversation_that_is_too_long_begins_afresh() -> None:
    prompts = talk([7, 8, 9, 10], [[END]] * 3, limit=90, last_actions=1)
    assert [len(p.images) for p in prompts] == [1, 2, 1, 2]
    assert prompts[2].text == "<user>[¤]click ok last wait</><assistant>"


def test_no_conversation_without_an_end_of_replies() -> None:
    history, frames = episode([on_screen(7)], [[screen_action("wait")]])
    context = builder(conversation=True)
    # An expert's turn without a record of words: it begins afresh.
    assert context.build(on_screen(8), history, frames, SCREEN).text == "<user>[¤]click ok</><assistant>"
    history[0].generations.append(spoken(context.build(on_screen(7), (), {}, SCREEN), END))
    with pytest.raises(ContextError, match="--conversation False"):
        context.build(on_screen(8), history, frames, SCREEN)


def test_last_actions_in_the_codec_s_words() -> None:
    actions = [[screen_action("click", 14, 38)], None, [screen_action("type", text="bob")]]
    history, frames = episode([on_screen(1)] * 3, actions)
    text = builder(last_actions=2).build(on_screen(2), history, frames, SCREEN).text
    assert text == '<user>[¤]click ok last invalid; type"bob"</><assistant>'
    text = builder(last_actions=5).build(on_screen(2), history, frames, SCREEN).text
    assert 'last click<loc_3><loc_12>; invalid; type"bob"' in text
    assert turn_text("click ok", "", ()) == "click ok"


def test_an_action_that_left_every_frame_as_it_was_is_told_so() -> None:
    history, frames = episode([on_screen(1)], [[screen_action("click", 14, 38)]])
    told = builder(last_actions=1)
    text = told.build(on_screen(1), history, frames, SCREEN).text
    assert text.endswith("last click<loc_3><loc_12> unchanged</><assistant>")
    assert "unchanged" not in told.build(on_screen(2), history, frames, SCREEN).text
    assert "unchanged" not in builder().build(on_screen(1), history, frames, SCREEN).text
    history, frames = episode([at_table(10)], [chunk_of(BODY, (0, 0, 0), 1)])
    moved = at_table(10)
    moved["frames"]["top"] = frame_of(9, 64, 64)  # one camera of two
    assert told.build(at_table(10), history, frames, BODY).text.endswith("unchanged</><assistant>")
    assert "unchanged" not in told.build(moved, history, frames, BODY).text


def test_limit_drops_old_frames_with_their_tokens_then_old_actions_then_refuses() -> None:
    history, frames = episode([on_screen(1), on_screen(2)], [[screen_action("wait")], [screen_action("done")]])
    whole = builder(frames=3, last_actions=2).build(on_screen(3), history, frames, SCREEN)

    def lengths(limit: int) -> tuple[list[int], str, int]:
        prompt = builder(frames=3, last_actions=2, limit=limit).build(on_screen(3), history, frames, SCREEN)
        assert int((prompt.ids == IMAGE).sum()) == 12 * len(prompt.images)
        return shades(prompt.images), prompt.text.split("click ok")[1].split("<")[0], len(prompt.ids)

    size = len(whole.ids)
    assert lengths(size) == ([1, 2, 3], " last wait; done", size)
    # A frame less is 12 image tokens and its brackets less: 14.
    assert lengths(size - 1) == ([2, 3], " last wait; done", size - 14)
    assert lengths(size - 28) == ([3], " last wait; done", size - 28)
    assert lengths(size - 29) == ([3], " last done", size - 34)
    with pytest.raises(ContextError, match="nothing is left to drop"):
        lengths(30)


def test_a_template_without_a_placeholder_an_image_is_refused() -> None:
    twice = Dialect(lambda messages: "[¤]" + render(messages), encode, image_tokens, IMAGE, END, ("[¤]",))
    with pytest.raises(ContextError, match="2 image placeholders for 1 images"):
        ContextBuilder(twice, CODECS["compact"]).build(on_screen(1), (), {}, SCREEN)


def test_a_placeholder_in_the_text_stays_text() -> None:
    history, frames = episode([on_screen(1)], [[screen_action("type", text="[")]])
    for said in ("[¤]", "click [¤][¤]", "[[¤]]"):
        prompt = builder(last_actions=1).build(on_screen(1) | {"instruction": said}, history, frames, SCREEN)
        spelled = "".join(chr(i) for i in prompt.ids if i != IMAGE)
        assert spelled == f'<user>[]{said} last type"[" unchanged</><assistant>'
        assert int((prompt.ids == IMAGE).sum()) == 12
        assert builder().reply_ids(said).tolist() == [*map(ord, said), END]


@pytest.mark.parametrize("codec", CODECS)
def test_every_action_of_the_action_space_can_be_told(codec: str) -> None:
    """A random agent types up to 256 characters; `compact` has words for 24."""
    spaces = (
        (SCREEN, screen_space(SCREEN.width, SCREEN.height), on_screen(1)),
        (BODY, gym.spaces.Box(-0.03, 0.03, (4,), np.float32), at_table(1)),
    )
    for embodiment, space, seen in spaces:
        space.seed(0)
        for _ in range(200):
            history, frames = episode([seen], [[space.sample()]])
            builder(codec, last_actions=1).build(seen, history, frames, embodiment)
    history, frames = episode([on_screen(1)], [[screen_action("type", text="x" * 25)]])
    text = builder(last_actions=1).build(on_screen(2), history, frames, SCREEN).text
    assert text == "<user>[¤]click ok last other</><assistant>"


def test_a_template_that_drops_the_text_is_refused() -> None:
    silent = Dialect(lambda messages: "[¤]", encode, image_tokens, IMAGE, END, ("[¤]",))
    with pytest.raises(ContextError, match="leaves out the text"):
        ContextBuilder(silent, CODECS["compact"]).build(on_screen(1), (), {}, SCREEN)


def test_wrong_frames_cameras_and_options() -> None:
    observation = on_screen(1)
    for frame in (frame_of(1, 64, 64), frame_of(1).astype(np.float32), frame_of(1)[..., 0]):
        with pytest.raises(ContextError, match=r"128x96|uint8 \[H, W, 3\]"):
            builder().build(observation | {"frames": {"screen": frame}}, (), {}, SCREEN)
    with pytest.raises(ContextError, match="did you mean front"):
        builder(cameras=("frnt",)).build(at_table(1), (), {}, BODY)
    with pytest.raises(ContextError, match="frames must be at least 1"):
        builder(frames=0)


def test_frames_through_a_view() -> None:
    prompt = builder(view=Pad(64)).build(on_screen(7), (), {}, SCREEN)
    assert prompt.images[0].shape == (128, 128, 3) and int((prompt.ids == IMAGE).sum()) == 16
    history, frames = episode([on_screen(1)], [[screen_action("wait")]])
    prompt = builder(view=Letterbox(64, 64), frames=2).build(on_screen(7), history, frames, SCREEN)
    assert [image.shape for image in prompt.images] == [(64, 64, 3)] * 2


def test_questions_share_the_prefix_of_the_frames() -> None:
    context = builder()
    frame = frame_of(9)
    first, second = context.compose([frame], "Where is it?"), context.compose([frame], "Read it")
    assert np.array_equal(first.ids[:20], second.ids[:20]) and first.images[0] is second.images[0] is frame


def test_replies_to_learn_end_with_the_end_token() -> None:
    assert builder().reply_ids("done").tolist() == [*map(ord, "done"), END]
