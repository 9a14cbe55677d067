"""Turns that go on from the turn before: the same words and log-probs as when everything is computed afresh."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from episode import Generation
from policy.agent import dialect_of
from policy.codecs.compact import Compact
from policy.context import ContextBuilder, Prompt
from policy.engine import Engine, Sampling
from policy.families import ModelError
from policy.packing import Row
from policy.vlm import VLM
from tests.toy_models import frame


def first_turns(vlm: VLM, count: int) -> list[Prompt]:
    """Two starts, one of them longer."""
    builder = ContextBuilder(dialect_of(vlm), Compact())
    texts = ("red", "Click the button. Put the red cube into the bowl.")
    return [builder.compose((frame(i % 2),), texts[i % 2]) for i in range(count)]


def next_turns(vlm: VLM, asked: list[Prompt], said: list[Generation], turn: int) -> list[Prompt]:
    """Each goes on from what it said, and sees another picture, of another size now and then."""
    builder, found = ContextBuilder(dialect_of(vlm), Compact()), []
    for i, (prompt, generation) in enumerate(zip(asked, said, strict=True)):
        seen = frame(100 * turn + i, 32 if i % 3 else 64)
        more = builder.compose((seen,), "bowl").ids
        found.append(
            Prompt(np.concatenate([prompt.ids, generation.reply_ids, more]), (*prompt.images, seen), prompt.text)
        )
    return found


def assert_same(ours: list[Generation], theirs: list[Generation]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.reply_ids, b.reply_ids)
        assert a.logps is not None and b.logps is not None
        np.testing.assert_allclose(a.logps, b.logps, atol=1e-5)


class Computed:
    """Tokens that pass through the language model, padding included, by call."""

    def __init__(self, vlm: VLM) -> None:
        self.tokens: list[int] = []
        vlm.model.model.language_model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _: object, args: object, given: dict[str, torch.Tensor]) -> None:
        self.tokens.append(given["inputs_embeds"].shape[0] * given["inputs_embeds"].shape[1])


def test_a_conversation_says_the_same_and_computes_what_is_new_alone(qwen: Path) -> None:
    vlm = VLM.load(qwen)
    vlm.end_ids = (*vlm.end_ids, *range(20, 60))  # replies end at several lengths, and leave the batch
    sampling, engine = Sampling(max_tokens=10), Engine(vlm)
    computed = Computed(vlm)
    asked = first_turns(vlm, 20)
    for turn in range(3):
        seeds = [100 * turn + i for i in range(len(asked))]
        plain = Engine(vlm).generate(asked, sampling, seeds)
        afresh = computed.tokens[0]
        computed.tokens.clear()
        said = engine.generate(asked, sampling, seeds, keep=True)
        assert len({len(g.reply_ids) for g in said}) > 3
        assert_same(said, plain)
        assert computed.tokens[0] == afresh if turn == 0 else computed.tokens[0] < afresh * (0.9, 0.75, 0.6)[turn]
        computed.tokens.clear()
        asked = next_turns(vlm, asked, said, turn + 1)


def test_those_that_begin_join_those_that_go_on(qwen: Path) -> None:
    """As where an episode has ended and the next one took its place."""
    vlm = VLM.load(qwen)
    sampling, engine = Sampling(max_tokens=6), Engine(vlm)
    asked = first_turns(vlm, 12)
    said = engine.generate(asked, sampling, list(range(12)), keep=True)
    mixed = next_turns(vlm, asked, said, 1)
    mixed[3:6] = first_turns(vlm, 3)
    seeds = list(range(50, 62))
    assert_same(engine.generate(mixed, sampling, seeds, keep=True), Engine(vlm).generate(mixed, sampling, seeds))


def test_what_begins_alike_is_gone_on_from_whoever_said_it(qwen: Path) -> None:
    """A long system prompt: later turns of other episodes compute their own part alone."""
    vlm = VLM.load(qwen)
    builder, engine, computed = ContextBuilder(dialect_of(vlm), Compact()), Engine(vlm), Computed(vlm)
    system = "Put the red cube into the bowl. " * 10
    turns = [[builder.compose((frame(10 * t + i),), "red", system) for i in range(3)] for t in range(2)]
    engine.generate(turns[0], Sampling(max_tokens=2), [0, 1, 2], keep=True)
    before = computed.tokens[0]
    computed.tokens.clear()
    said = engine.generate(turns[1], Sampling(max_tokens=2), [3, 4, 5], keep=True)
    assert computed.tokens[0] < before / 2
    assert_same(said, Engine(vlm).generate(turns[1], Sampling(max_tokens=2), [3, 4, 5]))


@pytest.mark.parametrize("how", ["weights", "forget"])
def test_nothing_is_gone_on_from_where_it_no_longer_holds(qwen: Path, how: str) -> None:
    vlm = VLM.load(qwen)
    sampling, engine = Sampling(max_tokens=4), Engine(vlm)
    asked = first_turns(vlm, 4)
    asked = next_turns(vlm, asked, engine.generate(asked, sampling, [0, 1, 2, 3], keep=True), 1)
    if how == "weights":
        with torch.no_grad():
            next(vlm.model.model.language_model.parameters()).mul_(1.5)
    else:
        vlm.forget()
    computed = Computed(vlm)
    said = engine.generate(asked, sampling, [4, 5, 6, 7], keep=True)
    assert_same(said, Engine(vlm).generate(asked, sampling, [4, 5, 6, 7]))
    assert computed.tokens[0] >= 4 * max(len(p.ids) for p in asked)


def test_what_was_computed_is_freed_when_somebody_scores(qwen: Path) -> None:
    vlm = VLM.load(qwen)
    engine, (asked,) = Engine(vlm), first_turns(vlm, 1)
    (said,) = engine.generate([asked], Sampling(max_tokens=4), [0], keep=True)
    assert engine.recall._said
    vlm(vlm.collate([Row(asked.ids, said.reply_ids, asked.images)]))
    assert not engine.recall._said


def test_images_that_are_not_there_are_named(qwen: Path) -> None:
    vlm = VLM.load(qwen)
    (asked,) = first_turns(vlm, 1)
    for keep in (False, True):
        with pytest.raises(ModelError, match="its images have 32 features"):
            Engine(vlm).generate([replace(asked, images=asked.images * 2)], Sampling(max_tokens=2), [0], keep)


def test_a_family_that_does_not_pack_computes_everything_each_time(llava: Path) -> None:
    vlm = VLM.load(llava)
    sampling, engine = Sampling(max_tokens=4), Engine(vlm)
    builder = ContextBuilder(dialect_of(vlm), Compact())
    asked = [builder.compose((frame(0),), "red")]
    for seed in range(2):
        said = engine.generate(asked, sampling, [seed], keep=True)
        assert_same(said, Engine(vlm).generate(asked, sampling, [seed]))
        more = builder.compose((frame(1),), "bowl")
        asked = [Prompt(np.concatenate([asked[0].ids, said[0].reply_ids, more.ids]), (*asked[0].images, frame(1)), "")]
