"""Ours, training: one collection and one update of GRPO a round, through the trainer's own pieces.

    python -m benchmarks.peers.ours_grpo --model DIR --turns 4 --groups 2 --prompt 676 --growth 120 --reply 50

The world ends every episode after a fixed number of turns and the end token is banned, so that every turn is as long as
the peer's: its first prompt, its reply, and what the peer's context grows by a turn, where the history is visible.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np
import tyro
from numpy.typing import NDArray

from benchmarks.peers.meter import Meter
from benchmarks.peers.scene import INSTRUCTION, SIDE, box, frame
from episode import (
    Advice,
    Decision,
    Embodiment,
    Generation,
    Observation,
    Outcome,
    Screen,
    Split,
    State,
    Task,
    frame_key,
    screen_action,
)
from policy.agent import VLMAgent, dialect_of
from policy.codecs.base import Reply, understood
from policy.context import ContextBuilder, Prompt
from policy.engine import Sampling
from policy.vlm import VLM
from training import worlds
from training.algorithms import ALGORITHMS
from training.config import GRPO
from training.pool import WorldPool
from training.rewards import RewardWeights, score
from training.rollout import EpisodeSpec, collect
from training.samples import samples_of
from training.update import Learner

TASK = "bench/click-box-v0"


class ClickBox(gym.Env[Any, Any]):
    """Clicks on a screen, for a fixed number of turns. Paid by nearness, so that no two episodes are worth the same."""

    horizon: ClassVar[int] = 1
    """Turns of every episode."""

    def __init__(self, split: Split = "train") -> None:
        self.split: Split = split
        self.embodiment = Screen(SIDE, SIDE)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        self.restore({"seed": seed or 0, "clicks": []})
        task = Task(TASK, INSTRUCTION, (), self.seed, self.split)
        return self.observe(), {"task": task, "subgoals": {}, "progress": 0.0}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        x, y = (int(v) for v in action["position"])
        self.clicks.append((x, y))
        ended = len(self.clicks) >= self.horizon
        left, top = box(self.seed)
        reward = 1 - (abs(x - left - 16) + abs(y - top - 16)) / (2 * SIDE)
        info = {
            "terms": {"task": reward, "subgoal": 0.0},
            "subgoals": {},
            "progress": 0.0,
            "outcome": Outcome.TRUNCATED if ended else None,
        }
        return self.observe(), reward, False, ended, info

    def observe(self) -> Observation:
        time = np.array([len(self.clicks)], np.float32)
        return {"frames": {"screen": frame(self.seed, self.clicks)}, "instruction": INSTRUCTION, "time": time}

    def snapshot(self) -> State:
        return {"seed": self.seed, "clicks": list(self.clicks)}

    def restore(self, state: State) -> Observation:
        self.seed, self.clicks = int(state["seed"]), list(state["clicks"])
        return self.observe()


class Lengths:
    """A codec of given lengths: any text is a click somewhere."""

    name = "lengths"

    def __init__(self, reply: int) -> None:
        self.max_tokens = reply
        self.system_length = self.state_length = 0
        self.told_length = 1
        """Of the last action."""

    def system(self, embodiment: Embodiment) -> str:
        return "." * self.system_length

    def format(self, advice: Advice, embodiment: Embodiment, thought: bool) -> str:
        return "." * self.told_length

    def parse(
        self, text: str, embodiment: Embodiment, *, grip: float = 1.0, cursor: tuple[int, int] | None = None
    ) -> Reply:
        x, y = hashlib.blake2b(text.encode(), digest_size=2).digest()
        return understood([screen_action("click", x % SIDE, y % SIDE)], "")

    def observe(self, proprio: NDArray[np.float32] | None, embodiment: Embodiment) -> str:
        return "." * self.state_length


@dataclass(frozen=True)
class Options:
    model: Path
    prompt: int
    """Tokens of the first turn's prompt, at the least."""
    reply: int
    """Tokens of every reply."""
    growth: int = 0
    """Tokens by which the peer's context grows a turn."""
    turns: int = 1
    groups: int = 8
    group_size: int = 8
    context: Literal["all", "default", "shipped"] = "all"
    """What a turn sees: everything that went before, as in the peer; what our trainer shows by default, with a system
    prompt as long as the peer's; or the same without that prompt, which our codec for small models does not need."""


def open_model(folder: str | Path, bf16: bool = False) -> VLM:
    """The model of both sides (in float32), with the end token banned: replies are as long as they may be."""
    vlm = VLM.load(folder, bf16=bf16)
    vlm.bans[list(vlm.end_ids)] = True
    return vlm.eval()


def context_of(vlm: VLM, options: Options) -> tuple[Lengths, ContextBuilder]:
    """Codec and context whose first prompt has as many tokens as the peer's, and a conversation grows as the peer's."""
    codec, conversation = Lengths(options.reply), options.context == "all"
    context = ContextBuilder(
        dialect_of(vlm), codec, GRPO.frames, last_actions=GRPO.last_actions, conversation=conversation
    )
    screen, seen = Screen(SIDE, SIDE), frame(0)

    def prompt(history: Sequence[Decision] = ()) -> Prompt:
        now = {"frames": {"screen": frame(len(history))}, "instruction": INSTRUCTION}
        return context.build(now, history, {frame_key(seen): seen}, screen)

    if conversation and options.turns > 1:
        said = prompt()
        reply = np.zeros(options.reply, np.int32)
        before = Decision({}, [Generation(said.ids, reply, (frame_key(seen),), "")], "", "", True, "", [], 0, {})
        codec.state_length = 1
        codec.state_length += max(0, options.growth - len(prompt([before]).ids) + len(said.ids))
    elif options.growth:
        # A frame with its two brackets, and "; " between actions.
        codec.told_length = max(1, options.growth - context.dialect.image_tokens(seen) - 4)
    if options.context != "shipped" and len(prompt().ids) < options.prompt:
        codec.system_length = 1
        codec.system_length += options.prompt - len(prompt().ids)
    return codec, context


def trainer(options: Options) -> tuple[Any, dict[str, Any]]:
    """A function that takes one training step and gives its trained turns, and a dict that it fills with lengths."""
    vlm = open_model(options.model)
    codec, context = context_of(vlm, options)
    agent = VLMAgent(vlm, codec, context, Sampling(1.0, codec.max_tokens))
    config = replace(GRPO, preset="bench", bf16=False, kl=0.0, minibatches=1, warmup=1, steps=10**6, learning_rate=1e-5)
    learner, algorithm = Learner(vlm, config, codec.max_tokens), ALGORITHMS[config.algorithm]
    ClickBox.horizon = options.turns
    worlds.TASKS[TASK] = ClickBox
    pool, weights, steps = WorldPool(), RewardWeights(**config.reward), count()
    setting: dict[str, Any] = {}

    def step() -> float:
        number, size = next(steps), options.group_size
        specs = [
            EpisodeSpec(TASK, seed=1000 * number + g, episode=(number * options.groups + g) * size + i, group=g)
            for g in range(options.groups)
            for i in range(size)
        ]
        episodes = collect(agent, specs, batch=config.batch, run_seed=config.seed, pool=pool)
        for episode in episodes:
            score(episode, weights)
        algorithm.credit(episodes, config)
        samples = samples_of(episodes, algorithm.critic)
        figures = learner.update(samples, number)
        assert figures["dropped"] == 0 and len(samples) == len(specs) * options.turns, "not every turn was trained"
        assert all(len(s.row.reply_ids) == options.reply for s in samples), "a reply has another length than the peer's"
        setting["prompts"] = mean_lengths([[len(d.generations[0].prompt_ids) for d in e.decisions] for e in episodes])
        return len(samples)

    return step, setting


def mean_lengths(lengths: Sequence[Sequence[int]]) -> list[int]:
    """Tokens of the prompts by turn, mean over the episodes."""
    return [int(x) for x in np.rint(np.mean(lengths, 0))]


def main(options: Options) -> None:
    meter = Meter()
    step, setting = trainer(options)
    step()
    meter.ready(("torch", "transformers"), **setting, reply=options.reply)
    meter.serve(step)


if __name__ == "__main__":
    main(tyro.cli(Options))
