"""Prefix trees: log-probs and gradients are those of one row a sequence, and nothing is computed twice."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from episode import frame_key
from policy.agent import dialect_of
from policy.attention import LOWEST, Branch, attending, attention
from policy.codecs.compact import Compact
from policy.context import ContextBuilder
from policy.families import Family
from policy.packing import Row, pack, shared
from policy.vlm import VLM
from tests.toy_models import frame
from training.pretrainer import Exchange, Packed
from training.samples import micro_batches

TEXT = cast(
    Family,
    SimpleNamespace(
        packs=True,
        image_token_id=5,
        image_tokens=lambda image: 16,
        tokenizer=SimpleNamespace(pad_token_id=0),
        positions=lambda ids, mask, images: (mask.cumsum(1) - 1).clamp(min=0),
    ),
)
"""A family without a model; its pictures have 16 tokens."""


def test_packed_exchanges_equal_one_row_an_exchange(qwen: Path) -> None:
    vlm = VLM.load(qwen)
    picture = (frame(5),)
    prefix = tuple(ContextBuilder(dialect_of(vlm), Compact()).compose(picture, "").ids[:-6].tolist())
    exchanges = (Exchange((9, 10, 11), (20, 21)), Exchange((12,), (22, 23, 24)), Exchange((), (25,)))
    together = pack([Packed(prefix, picture, exchanges).tree()], vlm.family)
    _, logits = vlm.answers(together, images=[picture])
    apart = [
        vlm.answers(pack([Packed(prefix, picture, (e,)).tree()], vlm.family), images=[picture])[1] for e in exchanges
    ]
    assert together.targets.tolist() == [20, 21, 22, 23, 24, 25]
    torch.testing.assert_close(logits, torch.cat(apart), atol=1e-4, rtol=1e-4)


def group_rows(vlm: VLM, copies: int = 4) -> list[Row]:
    """Replies of several lengths, equal ones among them, to three prompts of two pictures, in mixed order."""
    builder, rng = ContextBuilder(dialect_of(vlm), Compact()), np.random.default_rng(0)
    texts = ((0, "red"), (0, "Click the button."), (1, "bowl"))
    asked = [builder.compose((frame(seed),), text) for seed, text in texts]
    return [
        Row(p.ids, rng.integers(20, 30, 1 + i % 3).astype(np.int32) if i % 4 else np.array([25], np.int32), p.images)
        for i, p in enumerate(asked * copies)
    ]


def weighed(vlm: VLM, rows: list[Row], first: int = 0) -> tuple[Any, Any]:
    """Log-probs [B, R], and a loss that weighs each row in its own way."""
    logps = vlm(vlm.collate(rows)).logps
    return logps, (logps.sum(1) * torch.linspace(-1, 1, 12)[first : first + len(rows)]).sum()


def gradients(vlm: VLM) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in vlm.named_parameters() if p.grad is not None}
    vlm.zero_grad()
    return found


def assert_same_gradients(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    """To 1e-5 of the gradient's length."""
    assert ours.keys() == theirs.keys()
    flat = [torch.cat([g[name].flatten() for name in ours]) for g in (ours, theirs)]
    assert (flat[0] - flat[1]).norm() <= 1e-5 * flat[1].norm()


def assert_same_as_alone(vlm: VLM, rows: list[Row]) -> None:
    """Log-probs and gradients of rows together are those of each row by itself."""
    together, loss = weighed(vlm, rows)
    loss.backward()
    ours = gradients(vlm)
    for i, row in enumerate(rows):
        alone, loss = weighed(vlm, [row], i)
        loss.backward()
        torch.testing.assert_close(together[i, : alone.shape[1]], alone[0], atol=1e-5, rtol=0)
        assert not together[i, alone.shape[1] :].any()
    assert_same_gradients(ours, gradients(vlm))


@pytest.mark.parametrize("family", ["qwen", "llava"])
def test_packed_replies_equal_one_row_a_reply(family: str, request: pytest.FixtureRequest) -> None:
    vlm = VLM.load(request.getfixturevalue(family))
    rows = group_rows(vlm)
    groups = shared(rows, vlm.family)
    # By picture; the second family leaves each row alone.
    assert len(groups) == (2 if family == "qwen" else len(rows))
    assert sorted(i for g in groups for i in g.members) == list(range(len(rows)))
    assert_same_as_alone(vlm, rows)


def test_a_conversation_that_grows_is_computed_once(qwen: Path) -> None:
    """Two siblings, three turns each: prompts go on from prompts and replies, with a picture more a turn."""
    vlm = VLM.load(qwen)
    builder = ContextBuilder(dialect_of(vlm), Compact())
    first, rows = builder.compose((frame(0),), "Click the button."), []
    for sibling in range(2):
        ids, images = first.ids, first.images
        for turn in range(3):
            reply = np.arange(20 + sibling, 22 + sibling + turn, dtype=np.int32)
            rows.append(Row(ids, reply, images))
            seen = frame(10 * sibling + turn + 1, 32, 48 + 16 * turn)
            ids = np.concatenate([ids, reply, builder.compose((seen,), "on").ids])
            images = (*images, seen)
    (group,) = shared(rows, vlm.family)
    ends = [len(rows[i].prompt_ids) + len(rows[i].reply_ids) for i in (2, 5)]
    assert group.tree.length == sum(ends) - len(first.ids)
    assert len(group.tree.images) == 5
    assert_same_as_alone(vlm, rows)


def test_a_window_of_frames_and_a_long_system_prompt_are_shared(qwen: Path) -> None:
    vlm, rng = VLM.load(qwen), np.random.default_rng(0)
    builder = ContextBuilder(dialect_of(vlm), Compact())
    rows = []
    for i in range(6):
        window = tuple(frame(k) for k in range(i % 3 + 1))
        prompt = builder.compose(window, "bowl" * (1 + i), "Put the red cube into the bowl. " * 8)
        rows.append(Row(prompt.ids, rng.integers(20, 30, 3).astype(np.int32), prompt.images))
    (group,) = shared(rows, vlm.family)
    assert len(group.tree.images) == 3 and group.tree.length < 0.4 * sum(len(r.prompt_ids) + 3 for r in rows)
    assert_same_as_alone(vlm, rows)


def test_a_prefix_is_shared_from_some_tokens_on_and_up_to_a_length(qwen: Path) -> None:
    family = VLM.load(qwen).family

    def rows(shared: int) -> list[Row]:
        start = np.arange(20, 20 + shared, dtype=np.int32)
        return [Row(np.concatenate([start, np.full(10, 50 + i, np.int32)]), start[:2], ()) for i in range(8)]

    assert [g.members for g in shared(rows(15), family)] == [[i] for i in range(8)]
    assert [g.members for g in shared(rows(16), family)] == [list(range(8))]
    # 16 + 2 · 12 tokens; but twice the length of a row, 56 tokens, always have room.
    assert [g.members for g in shared(rows(16), family, most=30)] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert [g.members for g in shared(rows(16), family, most=64)] == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("piece", [4, 256])
def test_attention_by_branches_is_that_of_the_mask(qwen: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    """The same log-probs and gradients, whichever way is chosen, and also where long branches are cut."""
    monkeypatch.setattr("policy.packing.PIECE", piece)
    vlm, found = VLM.load(qwen), []
    for overhead in (10**9, -(10**9)):
        monkeypatch.setattr("policy.packing.OVERHEAD", overhead)
        rows = group_rows(vlm)
        assert (vlm.collate(rows).tree.branches is None) == (overhead > 0)
        logps, loss = weighed(vlm, rows)
        loss.backward()
        with torch.no_grad():
            torch.testing.assert_close(vlm(vlm.collate(rows)).logps, logps, atol=1e-5, rtol=0)
        found.append((logps.detach(), gradients(vlm)))
    (dense, ours), (branched, theirs) = found
    torch.testing.assert_close(dense, branched, atol=1e-5, rtol=0)
    assert_same_gradients(ours, theirs)


def test_attention_by_branches_in_bfloat16_is_as_near_as_that_of_the_mask() -> None:
    """What many branches share sums in float32: with 60 of them no further from the truth than twice the mask's."""
    generator = torch.Generator().manual_seed(0)
    trunk, own, count = 100, 8, 60
    q, k, v, grad = (torch.randn(1, 2, trunk + own * count, 16, generator=generator) for _ in range(4))
    path = torch.arange(trunk)
    starts = [trunk + own * i for i in range(count)]
    branches = [Branch(0, path[:0], 0, trunk), *(Branch(0, path, s, s + own) for s in starts)]
    mask = torch.full((trunk + own * count,) * 2, LOWEST)
    for branch in branches:
        mine = slice(branch.start, branch.stop)
        mask[mine, branch.path] = 0
        mask[mine, mine] = torch.full((branch.stop - branch.start,) * 2, LOWEST).triu_(1)

    def learned(dtype: torch.dtype, chosen: list[Branch] | None) -> list[torch.Tensor]:
        parts: list[Any] = [t.detach().clone().to(dtype).requires_grad_() for t in (q, k, v)]
        with attending(chosen):
            out: Any = attention(torch.nn.Module(), parts[0], parts[1], parts[2], mask[None, None], 0.25)[0]
        out.transpose(1, 2).backward(grad.to(dtype))
        return [p.grad.float() for p in parts if p.grad is not None]

    truth = learned(torch.float32, None)
    for a, b in zip(learned(torch.float32, branches), truth, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    ours, masked = learned(torch.bfloat16, branches), learned(torch.bfloat16, None)
    for a, b, t in zip(ours, masked, truth, strict=True):
        assert (a - t).norm() <= 2 * (b - t).norm()


def test_the_cheaper_way_of_attention_is_chosen(qwen: Path) -> None:
    family = VLM.load(qwen).family

    def tree(own: int, count: int, common: int = 300) -> Any:
        start = np.full(common, 30, np.int32)
        rows = [Row(start, np.full(own, 40 + i, np.int32), ()) for i in range(count)]
        (group,) = shared(rows, family)
        return pack([group.tree], family)

    assert tree(8, 8).branches is None  # 364² pairs; a branch by itself costs more than what it leaves out
    assert (
        tree(35, 10, 80).branches is None
    )  # a picture's questions in pretraining: measured, where the first is by sums
    branches = tree(100, 8).branches
    # 1,104² pairs against 256² + 144 · 400 + 7 · 100 · 400. The first row, which the others go on from, is cut at 256.
    assert branches is not None and [b.stop - b.start for b in branches] == [256, 144, *[100] * 7]
    assert [len(b.path) for b in branches] == [0, 256, *[300] * 7]


@given(st.lists(st.lists(st.integers(20, 22), min_size=2, max_size=7), min_size=1, max_size=12), st.data())
def test_every_row_finds_its_own_tokens_and_nothing_twice(sequences: list[list[int]], data: st.DataObject) -> None:
    cuts = [data.draw(st.integers(1, len(s) - 1)) for s in sequences]
    rows = [Row(np.array(s[:c], np.int32), np.array(s[c:], np.int32), ()) for s, c in zip(sequences, cuts, strict=True)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("policy.packing.LEAST", 1)
        groups = shared(rows, TEXT)
    prefixes = {tuple(s[:n]) for s in sequences for n in range(1, len(s) + 1)}
    assert sum(g.tree.length for g in groups) == len(prefixes)
    tree = pack([g.tree for g in groups], TEXT)
    at = 0
    for b, group in enumerate(groups):
        for index, numbers in zip(group.members, group.answers, strict=True):
            row = rows[index]
            assert tree.targets[[at + n for n in numbers]].tolist() == row.reply_ids.tolist()
            predictor = int(tree.columns[at + numbers[-1]])
            assert tree.rows[at + numbers[-1]] == b
            # What the last answer is predicted from is the sequence before it, in its order and at its positions.
            assert tree.branches is None
            seen = (tree.mask[b, 0, predictor] == 0).nonzero()[:, 0]
            assert tree.ids[b, seen].tolist() == sequences[index][:-1]
            assert tree.positions[b, seen].tolist() == list(range(len(seen)))
        at += len(group.tree.answers)


def test_micro_batches_that_share_frames_encode_each_once_with_the_same_gradient(
    qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm = VLM.load(qwen)
    rows, patches = group_rows(vlm), []
    vlm.model.model.visual.register_forward_hook(lambda _, args, out: patches.append(len(args[0])))
    weighed(vlm, rows)[1].backward()
    whole = gradients(vlm)
    for most, encoded in ((6, 2), (0, 6)):  # with no chunk kept open, each of the three parts encodes both again
        monkeypatch.setattr("policy.frames.OPEN", most)
        patches.clear()
        for part in vlm.family.sharing([{frame_key(i) for r in rows for i in r.images}] * 3):
            weighed(vlm, rows[4 * part : 4 * part + 4], 4 * part)[1].backward()
        assert sum(patches) == 64 * encoded
        assert_same_gradients(gradients(vlm), whole)


@pytest.mark.parametrize("packs", [True, False])
def test_micro_batches_hold_their_budget_and_everything_once(packs: bool) -> None:
    def row(length: int, shade: int) -> Row:
        picture = np.full((4, 4, 3), shade, np.uint8)
        # Pictures first, then words of the row's own.
        prompt = np.array([5] * 16 + [100 + length] * (length - 18), np.int32)
        return Row(prompt, np.array([30, 31], np.int32), (picture,))

    family = cast(Family, SimpleNamespace(**{**vars(TEXT), "packs": packs}))
    # No two pictures alike, one row twice.
    lengths = [19, 90, 21, 42, 43, 19, 200]
    batches = [sorted(b) for b in micro_batches([row(n, n) for n in lengths], 100, family)]
    if packs:
        # The two of length 19 are one. Powers of two: 2·21, as 4·43 is too much; 2·43; 90 and 200 stand alone.
        assert batches == [[0, 2, 5], [3, 4], [1], [6]]
    else:
        # 2·19, as 4·42 is too much; 2·42; and 43 with 90 would be 180.
        assert batches == [[0, 5], [2, 3], [4], [1], [6]]


def test_micro_batches_keep_rows_of_one_picture_together() -> None:
    family = cast(Family, SimpleNamespace(**{**vars(TEXT), "packs": False}))
    pictures = [np.full((4, 4, 3), shade, np.uint8) for shade in (1, 2)]
    shown = [0, 1, 0, 1, 0, 1, 1, 0]
    rows = [
        Row(np.array([5] * 16 + [30] * (2 + i), np.int32), np.array([31, 32], np.int32), (pictures[k],))
        for i, k in enumerate(shown)
    ]
    assert micro_batches(rows, 110, family) == [[0, 2, 4, 7], [1, 3, 5, 6]]
