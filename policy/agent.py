"""Agents: requests in, turns out, always in batches.

A model's agent and the scripted ones (expert, random, doing nothing) answer the same requests, so that rollout,
evaluation and films need not know which one plays. Scripted agents have no log-probs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np

from episode import (
    SCREEN_KINDS,
    Decision,
    Embodiment,
    Frame,
    Generation,
    HandeyeError,
    Observation,
    Screen,
    Scripted,
    frame_key,
)
from policy.codecs import Codec, Reply
from policy.codecs.base import POINTING, Thought, still, understood, written
from policy.context import ContextBuilder, Dialect, Message, Prompt
from policy.engine import Engine, Sampling
from policy.vlm import VLM


class AgentError(HandeyeError):
    """An agent was asked for something that it cannot do in this world."""


@dataclass(frozen=True)
class Request:
    """One episode asks for its next decision."""

    observation: Observation
    embodiment: Embodiment
    history: Sequence[Decision] = ()
    frames: Mapping[str, Frame] = field(default_factory=dict)
    """Frames of the episode so far by key."""
    seed: int = 0
    """Keys every draw of this decision."""
    world: Any | None = None
    """For scripted agents alone; a learned one never looks at it."""


@dataclass(frozen=True)
class Turn:
    """An agent's answer."""

    generations: list[Generation]
    reply: Reply
    frames: Mapping[str, Frame] = field(default_factory=dict)
    """Images of the generations by key, where they are not the episode's own frames: belongs into the record."""


class Agent(Protocol):
    def act(self, requests: Sequence[Request]) -> list[Turn]:
        """One turn a request, in their order."""


class VLMAgent:
    """A vision-language model that acts: context, generation, codec."""

    def __init__(self, vlm: VLM, codec: Codec, context: ContextBuilder, sampling: Sampling) -> None:
        self.codec = codec
        self.context = context
        self.sampling = sampling
        self.engine = Engine(vlm)

    def act(self, requests: Sequence[Request]) -> list[Turn]:
        prompts = [self.context.build(r.observation, r.history, r.frames, r.embodiment) for r in requests]
        keep = any(self.context.repeats(r.embodiment) for r in requests)
        generations = self.engine.generate(prompts, self.sampling, [r.seed for r in requests], keep)
        return [
            Turn([generation], read(self.codec, generation.text, request), _views(self.context, prompt))
            for request, prompt, generation in zip(requests, prompts, generations, strict=True)
        ]


class ExpertAgent:
    """The world's scripted expert, through a codec: what it does is what a model could have said.

    With ``context`` its turns hold generations as a model's do (prompt, reply, no log-probs), to learn from.
    """

    def __init__(self, codec: Codec, thought: Thought = "none", context: ContextBuilder | None = None) -> None:
        self.codec = codec
        self.thought = thought
        self.context = context

    def act(self, requests: Sequence[Request]) -> list[Turn]:
        return [self._turn(request) for request in requests]

    def _turn(self, request: Request) -> Turn:
        if not isinstance(request.world, Scripted):
            raise AgentError("this world has no scripted expert: play it with a model, `random` or `noop`")
        text = written(self.codec, request.world.expert(), request.embodiment, self.thought)
        reply = read(self.codec, text, request)
        if self.context is None:
            return Turn([], reply)
        prompt = self.context.build(request.observation, request.history, request.frames, request.embodiment)
        images = tuple(frame_key(image) for image in prompt.images)
        ids = self.context.reply_ids(text, f"{reply.thought} {reply.action}")
        return Turn([Generation(prompt.ids, ids, images, text)], reply, _views(self.context, prompt))


class RandomAgent:
    """Uniform members of the world's native action space, drawn from the request's seed alone."""

    def __init__(self) -> None:
        self._spaces: dict[Embodiment, Any] = {}

    def act(self, requests: Sequence[Request]) -> list[Turn]:
        return [self._turn(request) for request in requests]

    def _turn(self, request: Request) -> Turn:
        if request.world is None:
            raise AgentError("the random agent draws from the world's action space, but no world came with the request")
        # A copy: seeding the world's own space would reach into the world.
        if request.embodiment not in self._spaces:
            self._spaces[request.embodiment] = deepcopy(request.world.action_space)
        space = self._spaces[request.embodiment]
        space.seed(request.seed)
        count = 1 if isinstance(request.embodiment, Screen) else request.embodiment.chunk
        return Turn([], understood([space.sample() for _ in range(count)], ""))


class NoopAgent:
    """Does nothing, and keeps the gripper as it is."""

    def act(self, requests: Sequence[Request]) -> list[Turn]:
        return [Turn([], understood(still(r.embodiment, held_grip(r)), "")) for r in requests]


def context_of(
    vlm: VLM, codec: Codec, frames: int = 1, last_actions: int = 0, conversation: bool = False
) -> ContextBuilder:
    """The context of a loaded model, within the positions that it knows."""
    positions = getattr(vlm.model.config.get_text_config(), "max_position_embeddings", None)
    limit = None if positions is None else int(positions) - codec.max_tokens
    return ContextBuilder(dialect_of(vlm), codec, frames, None, last_actions, limit, conversation=conversation)


def dialect_of(vlm: VLM) -> Dialect:
    """How a loaded model writes its prompts."""
    tokenizer = vlm.tokenizer
    image_token_id = int(vlm.model.config.image_token_id)
    # Not every tokenizer calls its image token special.
    special = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special}
    special |= {*tokenizer.all_special_tokens, cast(str, tokenizer.convert_ids_to_tokens(image_token_id))}

    def render(messages: list[Message]) -> str:
        return cast(str, tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def encode(text: str) -> Sequence[int]:
        return cast(list[int], tokenizer.encode(text, add_special_tokens=False))

    return Dialect(
        render,
        encode,
        vlm.family.image_tokens,
        image_token_id,
        int(cast(int, tokenizer.eos_token_id)),
        tuple(sorted(special)),
    )


def _views(context: ContextBuilder, prompt: Prompt) -> dict[str, Frame]:
    """Images that a view made of the episode's frames, by key."""
    return {} if context.view is None else {frame_key(image): image for image in prompt.images}


def read(codec: Codec, text: str, request: Request) -> Reply:
    """``text`` as a reply to ``request``; what it leaves open is taken from the request's history."""
    return codec.parse(text, request.embodiment, grip=held_grip(request), cursor=last_cursor(request.history))


def held_grip(request: Request) -> float:
    """What the gripper was last told; at the start of an episode what it is, open (1) or shut (-1)."""
    if request.history and request.history[-1].steps:
        action = request.history[-1].steps[-1].action
        return 1.0 if isinstance(action, dict) else float(action[3])
    proprio = request.observation.get("proprio")
    return -1.0 if proprio is not None and proprio[3] < 0.5 else 1.0


def last_cursor(history: Sequence[Decision]) -> tuple[int, int] | None:
    """The pixel where the pointer was left, None where it has not been anywhere yet."""
    for decision in reversed(history):
        for step in reversed(decision.steps):
            action = step.action
            if not isinstance(action, dict):
                return None
            kind = SCREEN_KINDS[int(action["kind"])]
            # A no-op that names a place is a pointer that was moved there.
            if kind in POINTING or (kind == "noop" and np.any(action["position"])):
                x, y = action["end"] if kind == "drag" else action["position"]
                return int(x), int(y)
    return None
