"""What sharing saves of a training step's model work, as ratios against the same work done row by row.

Episodes are collected once with the shipped base (groups of eight from one start); then the update's forward and
backward passes over all their turns, and the generation of all their replies, are timed on them: with everything
shared, with every row on its own, and with every row on its own and transformers' own attention, norms and cache in
place of ours (the plain path). ``python -m benchmarks.step``. The last kind is a step of the default run: its
episodes, its tower, embeddings and head left as they are, so that updates take the features that the rollout computed,
and with the passes of the base that it is held to.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LP_NUM_THREADS", "1")

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from transformers.cache_utils import DynamicLayer

from episode import Trajectory, frame_key
from policy.agent import VLMAgent, context_of
from policy.codecs import codec_named
from policy.context import Prompt
from policy.engine import Engine, Sampling
from policy.packing import Row
from policy.vlm import VLM
from training.config import preset
from training.curriculum import plan
from training.rollout import EpisodeSpec, collect
from training.samples import micro_batches, row_of
from training.worlds import resolve

KINDS = {
    "one turn": ("gui/click-button-v0",),
    "several turns": ("gui/login-form-v0", "sims/put-in-bowl-v0"),
    "default step": (),
}
"""Tasks by kind; none is those of the default run, drawn as it draws them."""
Alone = Literal["nothing", "prompts", "frames", "caches"]
"""How much is not as ours, each with what stands before it: prompts of its own for each row, frames of its own for each
row, transformers' cache of keys and values."""


@dataclass(frozen=True)
class Measured:
    """One comparison. ``seconds`` are ours, CPU; ``ratio`` is the baseline's over ours, median over the turns."""

    what: str
    baseline: str
    rows: int
    prompts: int
    frames: int
    """Distinct ones; likewise the prompts."""
    seconds: float
    ratio: float
    lowest: float
    highest: float
    shares: dict[str, float]
    """Of our time: of the passes forward alone, the tower's, those over prompts and those over single tokens."""


NUMBERS = itertools.count()
"""Of frames that are equal to none, nor to any of another measurement: features are remembered by these keys."""


@contextmanager
def alone(models: Sequence[VLM], what: Alone) -> Iterator[None]:
    """Within, ``what`` is not as ours: no row is packed, no frame is equal to any other, caches are transformers'."""

    def unique(_: Any) -> str:
        return str(next(NUMBERS))

    with ExitStack() as changed:
        if what != "nothing":
            for vlm in models:
                changed.enter_context(mock.patch.object(vlm.family, "packs", False))
            changed.enter_context(mock.patch("policy.engine.frame_key", unique))
        if what in ("frames", "caches"):
            changed.enter_context(mock.patch("policy.packing.frame_key", unique))
            changed.enter_context(mock.patch("policy.families.frame_key", unique))
        if what == "caches":
            changed.enter_context(mock.patch("policy.cache.Roomy", DynamicLayer))
        yield


class Clock:
    """CPU seconds of forward passes, by what is computed."""

    def __init__(self, vlm: VLM) -> None:
        self.spent: dict[str, float] = {}
        inner: Any = vlm.model
        self._watch(inner.model.visual, lambda _: "vision")
        self._watch(
            inner.model.language_model,
            lambda given: "decode" if given["inputs_embeds"].shape[1] == 1 else "prompts",
        )

    def _watch(self, module: Any, name: Callable[[dict[str, Any]], str]) -> None:
        inner = module.forward

        def timed(*args: Any, **given: Any) -> Any:
            start = time.process_time()
            result = inner(*args, **given)
            key = name(given)
            self.spent[key] = self.spent.get(key, 0.0) + time.process_time() - start
            return result

        module.forward = timed


def update(vlm: VLM, base: VLM | None = None, *, rows: Sequence[Row], minibatches: int = 1) -> None:
    """Forward and backward, and forward with ``base`` where there is one.

    The rows of a mini-batch are drawn as a run draws them: in several, what rows share is in fewer hands.
    """
    for part in np.array_split(np.random.default_rng(0).permutation(len(rows)), minibatches):
        vlm.zero_grad()
        chosen = [rows[i] for i in part]
        batches = micro_batches(chosen, preset("grpo").token_budget, vlm.family)
        shown = [{frame_key(image) for i in indices for image in chosen[i].images} for indices in batches]
        for number in vlm.family.sharing(shown):
            batch = [chosen[i] for i in batches[number]]
            scores = vlm(vlm.collate(batch))
            if base is not None:
                with torch.no_grad():
                    base(base.collate(batch))
            scores.logps.sum().backward()


def generate(vlm: VLM, turns: Sequence[Sequence[Prompt]], sampling: Sampling) -> None:
    """All replies of one generation of episodes, turn by turn."""
    vlm.forget()
    for number, prompts in enumerate(turns):
        Engine(vlm).generate(prompts, sampling, [number * 10_000 + i for i in range(len(prompts))])


def compare(
    what: str,
    vlm: VLM,
    clock: Clock,
    rows: Sequence[Row],
    work: Callable[..., None],
    turns: int,
    baselines: dict[str, tuple[VLM, Alone]],
    bases: Mapping[VLM, VLM] | None = None,
) -> Iterator[Measured]:
    """Ours and each baseline by turns, after one that does not count.

    ``bases``: what each model is held to, which ``work`` is given then.
    """
    ways: dict[str, tuple[VLM, Alone]] = {"ours": (vlm, "nothing"), **baselines}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    shares: dict[str, float] = {}
    for turn in range(turns + 1):
        for name, (model, how) in ways.items():
            clock.spent = {}
            start = time.process_time()
            models = [model] if bases is None else [model, bases[model]]
            with alone(models, how):
                work(*models)
            if turn == 0:  # kernels are compiled for new shapes: once a run, whose steps are many
                continue
            spent[name].append(time.process_time() - start)
            if name == "ours":
                shares = {k: round(v / spent[name][-1], 3) for k, v in sorted(clock.spent.items())}
    frames = {frame_key(image) for row in rows for image in row.images}
    prompts = {(row.prompt_ids.tobytes(), *map(frame_key, row.images)) for row in rows}
    for name in baselines:
        ratios = sorted(b / o for b, o in zip(spent[name], spent["ours"], strict=True))
        yield Measured(
            what,
            name,
            len(rows),
            len(prompts),
            len(frames),
            round(median(spent["ours"]), 3),
            round(median(ratios), 2),
            round(ratios[0], 2),
            round(ratios[-1], 2),
            shares,
        )


def turns_of(episodes: Sequence[Trajectory]) -> list[list[Prompt]]:
    """Prompts of the episodes' first turns, of their second ones, and so on."""
    longest = max(len(e.decisions) for e in episodes)
    generations = [
        [(e, e.decisions[t].generations[-1]) for e in episodes if t < len(e.decisions)] for t in range(longest)
    ]
    return [
        [Prompt(g.prompt_ids, tuple(e.frames[key] for key in g.images), "") for e, g in turn] for turn in generations
    ]


def main(groups: int = 2, turns: int = 3, policy: str = "base", out: Path = Path("benchmarks/out/step.json")) -> None:
    """Measure the model's share of a step.

    Args:
        groups: of eight episodes, of each task.
        turns: how often ours and its baselines take turns.
        policy: who plays.
        out: where the figures go, as JSON.
    """
    torch.set_num_threads(1)
    config = preset("grpo")
    vlm = VLM.load(policy, bf16=config.bf16)
    with mock.patch("policy.vlm.speed_up"):  # transformers' own attention and norms
        plain, plain_base = (VLM.load(policy, bf16=config.bf16) for _ in range(2))
    bases = {vlm: VLM.load(policy, bf16=config.bf16), plain: plain_base}
    for base in bases.values():
        base.requires_grad_(False)
    codec = codec_named(config.codec)
    context = context_of(vlm, codec, config.frames, config.last_actions)
    sampling = Sampling(config.temperature, codec.max_tokens)
    clock = Clock(vlm)
    measured: list[Measured] = []
    for kind, tasks in KINDS.items():
        if tasks:
            specs = [
                EpisodeSpec(task, seed, episode=len(tasks) * 8 * seed + 8 * t + i, group=len(tasks) * seed + t)
                for seed in range(groups)
                for t, task in enumerate(tasks)
                for i in range(8)
            ]
        else:
            specs = plan(config, resolve(config.tasks), 0)
            for model in (vlm, plain):
                model.freeze_vision()
                model.freeze_embeddings()
                bases[model].family.take_tower(model.family)  # which takes none that learns
        episodes = collect(VLMAgent(vlm, codec, context, sampling), specs, batch=config.batch)
        rows = [row_of(e, d, i) for e in episodes for d in e.decisions for i in range(len(d.generations))]
        for model in (vlm, plain):
            model.train()
        measured += compare(
            f"packed update, group 8, {kind}",
            vlm,
            clock,
            rows,
            partial(update, rows=rows, minibatches=1 if tasks else config.minibatches),
            turns,
            {
                "one row a reply": (vlm, "frames"),
                "one row a reply, frames shared": (vlm, "prompts"),
                "plain path": (plain, "caches"),
            },
            None if tasks else bases,
        )
        for model in (vlm, plain):
            model.eval()
        prompts = turns_of(episodes)
        measured += compare(
            f"generation, group 8, {kind}",
            vlm,
            clock,
            rows,
            partial(generate, turns=prompts, sampling=sampling),
            turns,
            {"one prefill a reply": (vlm, "frames"), "plain path": (plain, "caches")},
        )
    table = Table(
        "what", "baseline", "rows", "prompts", "frames", "CPU s", "ratio", "lowest to highest", "of ours", box=None
    )
    for m in measured:
        shares = ", ".join(f"{k} {v:.0%}" for k, v in m.shares.items())
        spread = f"{m.lowest:g} to {m.highest:g}"
        table.add_row(
            m.what,
            m.baseline,
            str(m.rows),
            str(m.prompts),
            str(m.frames),
            f"{m.seconds:g}",
            f"{m.ratio:g}",
            spread,
            shares,
        )
    Console(width=190).print(table)
    machine = {
        "platform": platform.platform(),
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
        "bf16": vlm.bf16,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"machine": machine, "rows": [asdict(m) for m in measured]}, indent=1) + "\n")
    print(out)


if __name__ == "__main__":
    tyro.cli(main)
