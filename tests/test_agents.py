"""Agents: the same requests to all of them, through the codec's grid, the same draws for the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from benchmarks.peers.model import byte_tokenizer
from episode import (
    Advice,
    Body,
    ControlStep,
    Decision,
    Embodiment,
    Screen,
    chunk_of,
    frame_key,
    screen_action,
)
from perception.views import Letterbox
from policy.agent import (
    Agent,
    AgentError,
    ExpertAgent,
    NoopAgent,
    RandomAgent,
    Request,
    VLMAgent,
    dialect_of,
    held_grip,
    last_cursor,
)
from policy.codecs import CODECS
from policy.codecs.compact import PLACES
from policy.codecs.placed import Placed
from policy.context import ContextBuilder, Prompt
from policy.engine import Sampling
from policy.tiny import TinyShape, build_tiny
from policy.vlm import VLM
from training.worlds import make, resolve

SCREEN = Screen(128, 128)
BODY = Body((-0.2, -0.2, 0.0), (0.2, 0.2, 0.3))
COMPACT, QWEN = CODECS["compact"], CODECS["qwen"]


class FakeWorld:
    """An expert and an action space."""

    def __init__(self, embodiment: Embodiment, advice: Advice | None = None) -> None:
        self.advice = advice
        if isinstance(embodiment, Body):
            self.action_space: Any = gym.spaces.Box(-0.03, 0.03, (4,), np.float32)
        else:
            self.action_space = gym.spaces.Dict(
                {
                    "kind": gym.spaces.Discrete(10),
                    "position": gym.spaces.Box(0, 127, (2,), np.int32),
                    "end": gym.spaces.Box(0, 127, (2,), np.int32),
                    "scroll": gym.spaces.Box(-10, 10, (1,), np.int32),
                    "text": gym.spaces.Text(8, min_length=0),
                }
            )

    def expert(self) -> Advice:
        assert self.advice is not None
        return self.advice


def request(embodiment: Embodiment, world: Any = None, seed: int = 0, history: Sequence[Decision] = ()) -> Request:
    rng = np.random.default_rng(0)
    if isinstance(embodiment, Screen):
        frames = {"screen": rng.integers(0, 256, (128, 128, 3), np.uint8)}
        observation: dict[str, Any] = {"frames": frames, "instruction": 'click "ok"'}
    else:
        frames = {name: rng.integers(0, 256, (64, 64, 3), np.uint8) for name in embodiment.cameras}
        proprio = np.array([0, 0, 0.1, 1, 0], np.float32)
        observation = {"frames": frames, "instruction": "reach it", "proprio": proprio}
    return Request(observation | {"time": np.zeros(1, np.float32)}, embodiment, history, {}, seed, world)


def decision(*actions: Any) -> Decision:
    return Decision({}, [], "", "", True, "", [ControlStep(a, {}, 0.0, 0.0) for a in actions], len(actions), {})


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    folder = tmp_path_factory.mktemp("tiny")
    shape = TinyShape(vision_depth=1, vision_hidden=32, vision_heads=2, layers=1, hidden=32, heads=2, feed_forward=64)
    build_tiny(
        folder, ["click type drag scroll think reach it hand open half shut holding close at"], seed=0, shape=shape
    )
    return VLM.load(Path(folder))


def test_expert_goes_through_the_grid() -> None:
    """The expert's (0, 0) lies in bin 0, whose centre is pixel 2; 31 mm become 2 bins of 15 mm."""
    agent: Agent = ExpertAgent(COMPACT, thought="words")
    click = FakeWorld(SCREEN, Advice((screen_action("click", 0, 0),), thought="there"))
    move = FakeWorld(BODY, Advice(tuple(chunk_of(BODY, (0.031, 0, 0), -1.0)), points=((0, 0, 0),)))
    first, second = agent.act([request(SCREEN, click), request(BODY, move)])
    assert first.generations == second.generations == []
    assert np.array_equal(first.reply.actions[0]["position"], [2, 2]) and first.reply.thought == "there"
    assert np.allclose(np.sum(second.reply.actions, axis=0)[:3], [0.03, 0, 0])
    assert second.reply.actions[0][3] == -1 and second.reply.thought.startswith("at (")
    assert ExpertAgent(COMPACT).act([request(SCREEN, click)])[0].reply.thought == ""


def test_expert_needs_a_world_that_has_one() -> None:
    with pytest.raises(AgentError, match="no scripted expert"):
        ExpertAgent(COMPACT).act([request(SCREEN)])
    with pytest.raises(AgentError, match="action space"):
        RandomAgent().act([request(SCREEN)])


def test_expert_to_learn_from(vlm: VLM) -> None:
    """With a context, what the expert says is recorded as a model's reply would be."""
    context = ContextBuilder(dialect_of(vlm), COMPACT)
    world = FakeWorld(SCREEN, Advice((screen_action("type", text="a b"),)))
    asked = request(SCREEN, world)
    (turn,) = ExpertAgent(COMPACT, context=context).act([asked])
    (generation,) = turn.generations
    assert generation.logps is None and generation.text == 'type"a b"'
    tokens = vlm.tokenizer.convert_ids_to_tokens(generation.reply_ids.tolist())
    assert tokens == ["type", '"', "a", " ", "b", '"', "<|im_end|>"]
    assert generation.images == (frame_key(asked.observation["frames"]["screen"]),)
    assert np.array_equal(generation.prompt_ids, context.build(asked.observation, (), {}, SCREEN).ids)


def test_every_compact_reply_fits(vlm: VLM) -> None:
    """The longest actions, with a long thought: all within ``max_tokens`` of the tiny tokenizer."""
    context = ContextBuilder(dialect_of(vlm), COMPACT)
    thought = "a long story about what is seen and why"
    longest = [
        screen_action("click", 1, 2),
        screen_action("drag", 1, 2, 3, 4),
        screen_action("scroll", 1, 2, scroll=-10),
        screen_action("type", text="Q7" * 12),
        screen_action("type", text='"' * 12),
    ]
    for action in longest:
        reply = COMPACT.format(Advice((action,), thought), SCREEN, True)
        assert len(context.reply_ids(reply)) <= COMPACT.max_tokens, reply
        assert ('think"a long story' in reply) == (not action["text"])
        reading = COMPACT.format(Advice((action,), points=((1, 2),), reads="a long row of a list"), SCREEN, True)
        assert len(context.reply_ids(reading)) <= COMPACT.max_tokens, reading
        advice = Advice((action,), points=((1, 2),) * 3, checked=((1, 2),) * 5)
        reply = COMPACT.format(advice, SCREEN, True)
        assert len(context.reply_ids(reply)) <= COMPACT.max_tokens, reply
        assert reply.startswith("at<loc") == (not action["text"])
    for places in (1, PLACES):
        advice = Advice(tuple(chunk_of(BODY, (0.1, 0.1, 0.1), 1.0)), points=((0, 0, 0),) * places)
        assert len(context.reply_ids(COMPACT.format(advice, BODY, True))) == 6 + 3 * places <= COMPACT.max_tokens


def test_random_agent_is_a_function_of_the_seed() -> None:
    screen, body = FakeWorld(SCREEN), FakeWorld(BODY)
    requests = [request(SCREEN, screen, seed=s) for s in (1, 2, 1)] + [
        request(BODY, body, seed=2**63 + s) for s in (0, 0)
    ]
    state = screen.action_space.np_random.bit_generator.state
    turns = RandomAgent().act(requests)
    assert screen.action_space.np_random.bit_generator.state == state, "the world's own space was seeded"
    again = RandomAgent().act(requests[::-1])[::-1]
    for turn, same in zip(turns, again, strict=True):
        assert turn.reply.action == same.reply.action and turn.generations == []
    assert all(screen.action_space.contains(turn.reply.actions[0]) for turn in turns[:3])
    assert turns[0].reply.actions[0]["text"] == turns[2].reply.actions[0]["text"]
    assert len(turns[3].reply.actions) == BODY.chunk and body.action_space.contains(turns[3].reply.actions[1])
    assert not np.array_equal(turns[3].reply.actions[0], turns[3].reply.actions[1])


def test_noop_keeps_the_gripper() -> None:
    shut = [decision(*chunk_of(BODY, (0, 0, 0), -1.0))]
    first, second, third = NoopAgent().act([request(SCREEN), request(BODY), request(BODY, history=shut)])
    assert first.reply.actions[0]["kind"] == 0
    assert second.reply.actions[0].tolist() == [0, 0, 0, 1] and third.reply.actions[0].tolist() == [0, 0, 0, -1]


def test_what_the_history_holds() -> None:
    told = [decision(screen_action("wait"))]
    assert held_grip(request(SCREEN)) == 1.0 and held_grip(request(SCREEN, history=told)) == 1.0
    begun = request(BODY)
    assert held_grip(begun) == 1.0
    begun.observation["proprio"][3] = 0.0  # a push begins with a shut hand
    assert held_grip(begun) == -1.0
    assert last_cursor([]) is None
    click, typed = decision(screen_action("click", 3, 4)), decision(screen_action("type", text="a"))
    assert last_cursor([click, typed]) == (3, 4)
    assert last_cursor([click, decision(screen_action("drag", 1, 2, 5, 6))]) == (5, 6)
    assert last_cursor([click, decision(screen_action("noop", 9, 9)), decision(screen_action("noop"))]) == (9, 9)
    assert last_cursor([decision(*chunk_of(BODY, (0, 0, 0), 1.0))]) is None


def test_model_agent(vlm: VLM) -> None:
    """Mixed worlds in one batch; what a row says depends on its own seed, not on its neighbours."""
    agent = VLMAgent(vlm, COMPACT, ContextBuilder(dialect_of(vlm), COMPACT), Sampling(1.0, 6))
    requests = [request(SCREEN, seed=5), request(BODY, seed=6), request(SCREEN, seed=7)]
    turns = agent.act(requests)
    assert len(turns) == 3 and turns[0].frames == {}
    for asked, turn in zip(requests, turns, strict=True):
        (generation,) = turn.generations
        read = COMPACT.parse(generation.text, asked.embodiment)
        assert (turn.reply.valid, turn.reply.action, turn.reply.error) == (read.valid, read.action, read.error)
        assert generation.images == tuple(frame_key(f) for f in asked.observation["frames"].values())
        assert generation.logps is not None and generation.logps.shape == generation.reply_ids.shape
        assert np.isfinite(generation.logps).all() and 1 <= len(generation.reply_ids) <= 6
    alone = agent.act(requests[1:2])
    assert np.array_equal(alone[0].generations[0].reply_ids, turns[1].generations[0].reply_ids)
    assert agent.act([]) == []


def test_model_agent_behind_a_view(vlm: VLM) -> None:
    """The images that a view makes come back with the turn, so that the record holds what the model saw."""
    view = Letterbox(64, 64)
    codec = Placed(COMPACT, view)
    agent = VLMAgent(vlm, codec, ContextBuilder(dialect_of(vlm), codec, view=view), Sampling(1.0, 4))
    (turn,) = agent.act([request(SCREEN)])
    assert list(turn.frames) == list(turn.generations[0].images)
    assert next(iter(turn.frames.values())).shape == (64, 64, 3)


def test_pretraining_and_acting_write_the_same_prompt(vlm: VLM) -> None:
    """The chat of the tiny model around a turn's text, spelled out."""
    context = ContextBuilder(dialect_of(vlm), COMPACT)
    prompt = context.build(request(BODY).observation, (), {}, BODY)
    image = ["<|vision_start|>", *["<|image_pad|>"] * 16, "<|vision_end|>"]
    text = ["reach", "it", "hand", "<loc_16>", "<loc_16>", "<loc_10>", "open"]
    expected = ["<|im_start|>", "user", "\n", *image, *image, *text]
    expected += ["<|im_end|>", "\n", "<|im_start|>", "assistant", "\n"]
    assert vlm.tokenizer.convert_ids_to_tokens(prompt.ids.tolist()) == expected


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """As of Llava: pieces that carry their space, an image token that is not called special, no end of turn."""
    pieces = ["<unk>", "</s>", "\N{LOWER ONE EIGHTH BLOCK}", *map(chr, range(33, 127))]
    tokenizer = Tokenizer(models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>"
    )
    fast.add_tokens(["<image>"])
    fast.chat_template = (
        "{% for m in messages %}{{ m.role }}: {% if m.content is string %}{{ m.content }}{% else %}"
        "{% for c in m.content %}{% if c.type == 'image' %}<image>\n{% else %}{{ c.text }}{% endif %}{% endfor %}"
        "{% endif %}{% endfor %} assistant:"
    )
    return fast


def context_of(tokenizer: Any, image: str, codec: str) -> ContextBuilder:
    config = SimpleNamespace(image_token_id=tokenizer.convert_tokens_to_ids(image))
    family = SimpleNamespace(image_tokens=lambda frame: 1)
    vlm: Any = SimpleNamespace(tokenizer=tokenizer, family=family, model=SimpleNamespace(config=config))
    return ContextBuilder(dialect_of(vlm), CODECS[codec], last_actions=1)


TOKENIZERS = pytest.mark.parametrize(
    ("tokenizer", "image", "codec"),
    [
        (AutoTokenizer.from_pretrained("assets/tiny-vlm"), "<|image_pad|>", "compact"),
        (byte_tokenizer(), "<|image_pad|>", "qwen"),
        (metaspace_tokenizer(), "<image>", "qwen"),
    ],
    ids=["tiny", "bytes", "metaspace"],
)


@TOKENIZERS
def test_text_of_worlds_and_policies_becomes_no_special_token(tokenizer: Any, image: str, codec: str) -> None:
    context = context_of(tokenizer, image, codec)
    asked = request(SCREEN)
    special = {tokenizer.convert_tokens_to_ids(token): token for token in context.dialect.special}
    assert image in context.dialect.special and tokenizer.eos_token in context.dialect.special

    def control(ids: Any) -> list[str]:
        return [special[i] for i in ids.tolist() if i in special]

    def built(instruction: str, typed: str) -> Prompt:
        past = replace(decision(screen_action("type", text=typed)), frames={"screen": ""})
        return context.build(asked.observation | {"instruction": instruction}, [past], {}, SCREEN)

    plain = built("click it", "so")
    for token in context.dialect.special:
        for text in (token, f'type "{token}" now', token * 3, f"{token[:-1]}{token}{token[1:]}", f"a{token}"):
            prompt = built(text, token)
            # Where the text has them, the tags of the call around it are spelled out too; the system prompt has them.
            tags = control(plain.ids)
            if token in QWEN.format(Advice((screen_action("wait"),)), SCREEN, False):
                del tags[len(tags) - 1 - tags[::-1].index(token)]
            assert control(prompt.ids) == tags, text
            assert text in prompt.text and token in prompt.text.replace(text, "", 1)
            assert not control(context.reply_ids(text)[:-1])
        # Every letter is still there: the tiny tokenizer drops spaces.
        said = tokenizer.decode(context.reply_ids(f'type "{token}" now').tolist())
        said = said.replace(" ", "").replace("\N{LOWER ONE EIGHTH BLOCK}", "")
        assert said == f'type"{token}"now' + tokenizer.eos_token


@TOKENIZERS
def test_ordinary_prompts_are_encoded_in_one_piece(tokenizer: Any, image: str, codec: str) -> None:
    """Prompts of every task are what the tokenizer makes of the whole text, last action and state of the body too."""
    context = context_of(tokenizer, image, codec)
    for task in resolve("all"):
        world = make(task, "train")
        try:
            observation, _ = world.reset(seed=0)
            did = world.expert().actions
        finally:
            world.close()
        past = replace(decision(*did), frames={name: "" for name in observation["frames"]})
        prompt = context.build(observation, [past], {}, world.embodiment)
        assert observation["instruction"] in prompt.text
        assert prompt.ids.tolist() == tokenizer.encode(prompt.text, add_special_tokens=False), task
