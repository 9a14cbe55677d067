"""One point of growth: episodes of given sizes, played and learned from, and what that costs.

Episodes are clicks on a screen that every click changes, with a fixed number of turns and of tokens a reply, so that
siblings have their first prompt alone in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers.utils.logging import disable_progress_bar

from benchmarks.peers.ours_grpo import ClickBox, Lengths, open_model
from benchmarks.roofline import needed, products_of, rates, timed
from benchmarks.step import update
from episode import Observation, Screen, Split, Trajectory
from policy.agent import Agent, Request, Turn, VLMAgent, context_of
from policy.engine import Sampling
from policy.tiny import SMALLEST, TinyShape, build_tiny
from training import memory, worlds
from training.algorithms import ALGORITHMS
from training.config import GRPO
from training.rewards import RewardWeights, score
from training.rollout import EpisodeSpec, collect
from training.samples import Sample, samples_of
from training.update import Learner

TASK = "bench/growth-v0"
MODELS = {
    "smallest": SMALLEST,
    "2M": TinyShape(),
    "7M": TinyShape(vision_hidden=192, vision_heads=6, layers=6, hidden=256, feed_forward=640),
    "34M": TinyShape(6, 320, 10, layers=8, hidden=512, heads=8, feed_forward=1280),
    "100M": TinyShape(8, 512, 16, layers=10, hidden=768, heads=12, feed_forward=2048),
}
"""Random weights, by how many; ``base`` is the shipped model."""


@dataclass(frozen=True)
class Point:
    """What a round plays and learns from."""

    model: str = "base"
    groups: int = 1
    group_size: int = 4
    turns: int = 4
    frames: int = 1
    conversation: bool = False
    side: int = 128
    """Pixels of the square screen, at least 128."""
    reply: int = 16
    """Tokens of every reply."""
    learns: bool = True
    """Whether what was played is learned from."""


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, lowest, highest."""
    return median(values), min(values), max(values)


class Clicks(ClickBox):
    """The peers' world at another size: its picture scaled, its clicks where they were."""

    side: ClassVar[int] = 128

    def __init__(self, split: Split = "train") -> None:
        super().__init__(split)
        self.embodiment = Screen(self.side, self.side)

    def observe(self) -> Observation:
        seen = super().observe()
        small = seen["frames"]["screen"]
        at = np.arange(self.side) * len(small) // self.side
        return {**seen, "frames": {"screen": small[at][:, at]}}


class Timed:
    """An agent and the CPU seconds of each of its calls: one a turn, as all episodes are equally long."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.seconds: list[float] = []

    def act(self, requests: Sequence[Request]) -> list[Turn]:
        spent, turns = timed(partial(self.agent.act, requests))
        self.seconds.append(spent)
        return turns


class Player:
    """A model that plays a point's episodes, always new ones, and learns from them."""

    def __init__(self, point: Point, bf16: bool) -> None:
        torch.set_num_threads(1)
        disable_progress_bar()  # type: ignore[no-untyped-call]
        worlds.TASKS[TASK] = Clicks
        worlds.all_tasks()  # loads physics, which is no point's memory
        with TemporaryDirectory() as folder:
            if point.model in MODELS:
                build_tiny(folder, (), shape=MODELS[point.model])
            self.vlm = open_model(folder if point.model in MODELS else point.model, bf16)
        self.point = point
        # All of the model learns: what a preset leaves alone, a run freezes, and a learner that it is given does not.
        self.config = replace(GRPO, kl=0.0, bf16=bf16, minibatches=1, steps=10**6, learning_rate=1e-5)
        codec = Lengths(point.reply)
        context = context_of(self.vlm, codec, point.frames, self.config.last_actions, point.conversation)
        self.agent = Timed(VLMAgent(self.vlm, codec, context, Sampling(1.0, codec.max_tokens)))
        self.learner = Learner(self.vlm, self.config, codec.max_tokens)
        self.parameters = sum(p.numel() for p in self.vlm.parameters())
        memory.trim()
        self.before = psutil.Process().memory_info().rss
        self.rounds = 0

    def play(self) -> list[Trajectory]:
        Clicks.side, Clicks.horizon = self.point.side, self.point.turns
        groups, size = self.point.groups, self.point.group_size
        self.agent.seconds = []
        self.rounds += 1
        specs = [
            EpisodeSpec(TASK, seed, episode=seed * size + i, group=seed)
            for seed in range(groups * self.rounds, groups * (self.rounds + 1))
            for i in range(size)
        ]
        episodes = collect(self.agent, specs, batch=len(specs))
        assert len(self.agent.seconds) == self.point.turns
        return episodes

    def samples(self, episodes: Sequence[Trajectory]) -> list[Sample]:
        algorithm = ALGORITHMS[self.config.algorithm]
        for episode in episodes:
            score(episode, RewardWeights(**self.config.reward))
        algorithm.credit(episodes, self.config)
        found = samples_of(episodes, algorithm.critic)
        assert len(found) == len(episodes) * self.point.turns, "not every turn is learned from"
        return found

    def learn(self, samples: Sequence[Sample]) -> None:
        assert self.learner.update(samples, self.rounds)["updates"] == 1

    def round(self) -> tuple[dict[str, float], list[Trajectory]]:
        """What playing and learning once cost, and what was played."""
        whole, episodes = timed(self.play)
        generation, spent = sum(self.agent.seconds), 0.0
        if self.point.learns:
            spent, _ = timed(lambda: self.learn(self.samples(episodes)))
        memory.trim()
        working = (memory.peak() - self.before) / 2**20
        return {"generation": generation, "update": spent, "memory": working, "stepping": whole - generation}, episodes


@cache
def warm(point: Point, bf16: bool) -> Player:
    """A player that has played and learned once, kept in this process."""
    player = Player(point, bf16)
    player.round()
    return player


def one_round(point: Point, bf16: bool) -> dict[str, Any]:
    """Sizes of a point, and of one round more: CPU seconds, and working memory in MB (2²⁰ bytes) so far."""
    player = warm(point, bf16)
    costs, episodes = player.round()
    seen = [len(g.images) for e in episodes for d in e.decisions for g in d.generations]
    return {
        **asdict(point),
        "parameters": player.parameters,
        "pixels": point.side**2,
        "seen": round(float(np.mean(seen)), 3),
        "worlds": point.groups * point.group_size,
        "costs": costs,
        "by turn": player.agent.seconds,
    }


def roofline(point: Point, rounds: int, bf16: bool) -> dict[str, Any]:
    """FLOPs and CPU seconds of an update, and of its passes forward and backward alone, beside rates of products."""
    player = Player(point, bf16)
    samples = player.samples(player.play())
    rows = [sample.row for sample in samples]
    passes, whole = partial(update, player.vlm, rows=rows), partial(player.learn, samples)
    with FlopCounterMode(display=False) as computed:  # of fused attention on a CPU, as in float32, it knows nothing
        passes()
    shapes, dtype = products_of(player.vlm, passes), torch.bfloat16 if player.vlm.bf16 else torch.float32
    whole()
    seconds = [(timed(whole)[0], timed(passes)[0]) for _ in range(rounds)]
    useful, reached = needed(player.vlm, rows), rates(shapes, dtype)
    by = {name: spread(values) for name, values in zip(("update", "passes"), zip(*seconds, strict=True), strict=True)}
    return {
        "parameters": player.parameters,
        "rows": len(rows),
        "dtype": str(dtype).removeprefix("torch."),
        "needed": useful,
        "computed": computed.get_total_flops(),
        "seconds": by,
        "rates": reached,
        "shares": {f"{n}, {r}": useful / by[n][0] / reached[r] for n in by for r in reached},
    }
