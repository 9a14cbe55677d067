"""Ours, rollout: the embedded engine writes one reply for each of 16 prompts times a group of 8, a round."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path

import tyro

from benchmarks.peers.meter import Meter
from benchmarks.peers.ours_grpo import Lengths, open_model
from benchmarks.peers.scene import INSTRUCTION, frame
from policy.agent import dialect_of
from policy.context import ContextBuilder
from policy.engine import Engine, Sampling


@dataclass(frozen=True)
class Options:
    model: Path
    prompts: int = 16
    group_size: int = 8
    reply: int = 32
    """Tokens of every reply."""


def main(options: Options) -> None:
    meter = Meter()
    vlm = open_model(options.model)
    context, engine = ContextBuilder(dialect_of(vlm), Lengths(options.reply)), Engine(vlm)
    sampling, rounds, rows = Sampling(1.0, options.reply), count(), options.prompts * options.group_size

    def generate() -> float:
        # New frames every round: what is remembered of the last ones must not help.
        number = next(rounds)
        prompts = [context.compose([frame(1000 * number + i)], INSTRUCTION) for i in range(options.prompts)]
        grouped = [prompt for prompt in prompts for _ in range(options.group_size)]
        found = engine.generate(grouped, sampling, [rows * number + i for i in range(rows)])
        tokens = sum(len(generation.reply_ids) for generation in found)
        assert tokens == rows * options.reply, "a reply is shorter than the peer's"
        return tokens

    generate()
    prompt = len(context.compose([frame(0)], INSTRUCTION).ids)
    meter.ready(("torch", "transformers"), prompt=prompt, reply=options.reply, rows=rows)
    meter.serve(generate)


if __name__ == "__main__":
    main(tyro.cli(Options))
