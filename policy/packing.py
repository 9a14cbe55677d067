"""Prefix trees: what several sequences begin with is computed once, and whatever goes on from it stands behind it.

Row layout, for three sequences: ``prefix | rest₁ | rest₂ more₂ | more₃``, where the third goes on from ``rest₂``. A
tree mask lets every token see its own path from the root and nothing else; positions go on from the path's end. The
numbers are those of one row a sequence (tests/test_packing.py). Pretraining packs the questions about one picture;
reinforcement learning packs whatever its prompts and replies have in common: a group's first prompt, a long system
prompt, the frames of a window, the turns of a conversation that grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episode import Frame, frame_key
from policy.attention import LOWEST, Branch
from policy.families import Family, ModelError

Columns = NDArray[np.int64]
"""Columns of a packed row, from its first token on: one sequence."""
ROOT: Columns = np.zeros(0, np.int64)
LEAST = 16
"""Tokens from which on a prefix is worth sharing."""
MOST = 4096
"""Tokens of a packed row of several sequences, at most, unless they are long."""
DENSE = 2048
"""Tokens of a packed row up to which all pairs may be computed: they are kept for the backward pass."""
PIECE = 256
"""Tokens that attend together, at most, branch by branch: the first of them are paired with the last in vain."""
OVERHEAD = 20_000
"""Pairs of tokens that could attend in the time that a branch of its own takes besides."""


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt with its images and one reply to score."""

    prompt_ids: NDArray[np.int32]
    reply_ids: NDArray[np.int32]
    images: tuple[Frame, ...]
    temperature: float = 1.0
    privileged: NDArray[np.float32] | None = None
    """[C] for an asymmetric critic; the policy never sees it."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Packed rows as tensors; N is the number of answer tokens, in the order of rows and of their answers."""

    ids: Tensor
    """[B, L] int64."""
    mask: Tensor
    """[B, 1, L, L] float32, additive; [1, 1, 1, 1] of 0, which nobody reads, where there are ``branches``; or [B, L]
    int64, 1 where a token stands, for families that do not pack."""
    positions: Tensor
    """[3, B, L] or [B, L] int64."""
    targets: Tensor
    """[N] int64, the answer tokens."""
    rows: Tensor
    columns: Tensor
    """[N] int64: where the tokens stand that predict them."""
    images: tuple[tuple[Frame, ...], ...]
    branches: tuple[Branch, ...] | None = None
    """Where attention goes branch by branch, as that is less work than the mask: what each token's path is."""

    def to(self, device: torch.device) -> Tree:
        return replace(
            self,
            ids=self.ids.to(device),
            mask=self.mask.to(device),
            positions=self.positions.to(device),
            targets=self.targets.to(device),
            rows=self.rows.to(device),
            columns=self.columns.to(device),
            branches=self.branches and tuple(replace(b, path=b.path.to(device)) for b in self.branches),
        )


@dataclass(slots=True)
class PrefixTree:
    """One packed row that grows, branch by branch."""

    length: int = 0
    """Tokens."""
    images: list[Frame] = field(default_factory=list)
    """In the order of their tokens."""
    branches: list[tuple[Columns, NDArray[np.int64], tuple[Frame, ...]]] = field(default_factory=list)
    """What each goes on from, its tokens and its images."""
    answers: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Of each column whose token is an answer: its number among the answers, and the column that predicts it."""

    def branch(self, path: Columns, ids: Sequence[int] | NDArray[np.integer], images: Sequence[Frame] = ()) -> Columns:
        """More tokens, with their images, after the last of ``path``: the path to the last of them."""
        if not len(ids):
            return path
        start, self.length = self.length, self.length + len(ids)
        self.branches.append((path, np.asarray(ids, np.int64), tuple(images)))
        self.images += images
        return np.concatenate([path, np.arange(start, self.length)])

    def answer(self, path: Columns, count: int) -> list[int]:
        """The last ``count`` tokens of a path are answers: their numbers; the same token is the same answer."""
        whole = path.tolist()
        start = len(whole) - count
        return [
            self.answers.setdefault(column, (len(self.answers), before))[0]
            for column, before in zip(whole[start:], whole[start - 1 : -1], strict=True)
        ]


@dataclass(slots=True)
class Shared:
    """Rows that are computed together."""

    tree: PrefixTree = field(default_factory=PrefixTree)
    members: list[int] = field(default_factory=list)
    """Indices of rows."""
    answers: list[list[int]] = field(default_factory=list)
    """Of each member: which answers of the tree its reply's tokens are."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Of its images."""
        return tuple(map(frame_key, self.tree.images))

    def join(self, path: Columns, index: int, row: Row, shown: int) -> Columns:
        """One more row, which goes on from ``path``, where ``shown`` of its images are already."""
        whole = np.concatenate([row.prompt_ids, row.reply_ids])
        path = self.tree.branch(path, whole[len(path) :], row.images[shown:])
        self.members.append(index)
        self.answers.append(self.tree.answer(path, len(row.reply_ids)))
        return path


def bucket(length: int, unit: int) -> int:
    """``length`` rounded up to whole units: on a CPU every new shape costs the kernels a compilation."""
    return -(-length // unit) * unit


def common(a: NDArray[np.integer], b: NDArray[np.integer]) -> int:
    """How many entries two sequences have in common at their start."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n


def require_images(ids: NDArray[np.int32], images: Sequence[Frame], family: Family) -> None:
    """Raise a ModelError unless a prompt has as many image tokens as its images have features."""
    placed = int((ids == family.image_token_id).sum())
    features = sum(map(family.image_tokens, images))
    if placed != features:
        raise ModelError(f"the prompt has {placed} image tokens, its images have {features} features")


def symbols(ids: NDArray[np.int32], images: Sequence[Frame], family: Family) -> Columns:
    """``ids`` with every image's placeholders told apart by what it shows: equal symbols are computed alike.

    Below 0 for images, from their keys; not reversible, and equal for different frames as seldom as keys are.
    """
    require_images(ids, images, family)
    told = ids.astype(np.int64)
    if images:
        keys = [-1 - int(frame_key(image)[:15], 16) for image in images]
        told[ids == family.image_token_id] = np.repeat(keys, list(map(family.image_tokens, images)))
    return told


def shared(rows: Sequence[Row], family: Family, most: int = MOST) -> list[Shared]:
    """Rows by prefix tree; each alone where the family does not pack.

    Sorted, a sequence has most in common with the one before it: it joins that one's tree, up to ``most`` tokens or
    twice its own length, so that a long one is not computed again for each that goes on from it.
    """
    found: list[Shared] = []
    if not family.packs:
        for index, row in enumerate(rows):
            found.append(Shared())
            found[-1].join(ROOT, index, row, 0)
        return found
    told = [np.concatenate([symbols(r.prompt_ids, r.images, family), r.reply_ids]) for r in rows]
    path = before = ROOT
    for index in sorted(range(len(rows)), key=lambda i: tuple(told[i].tolist())):
        row, same = rows[index], common(before, told[index])
        rest = len(told[index]) - same
        room = max(most, 2 * len(told[index]))
        if same < LEAST or (rest and found[-1].tree.length + rest > room):
            found.append(Shared())
            same = 0
        path = found[-1].join(path[:same], index, row, images_in(told[index][:same], row.images, family))
        before = told[index]
    return found


def images_in(begin: NDArray[np.integer], images: Sequence[Frame], family: Family) -> int:
    """How many of the images stand in the first tokens, or symbols, of a sequence; none of them is cut."""
    ends = np.cumsum([family.image_tokens(image) for image in images])
    return int((ends <= ((begin < 0) | (begin == family.image_token_id)).sum()).sum())


def pack(trees: Sequence[PrefixTree], family: Family) -> Tree:
    """Packed rows as tensors, padded on the right; families that do not pack take trees of one path."""
    length = bucket(max(tree.length for tree in trees), 16)
    ids = np.full((len(trees), length), family.tokenizer.pad_token_id, np.int64)
    stands = np.zeros_like(ids)
    branches = [(b, *branch) for b, tree in enumerate(trees) for branch in tree.branches]
    own = _own_positions([(tokens, images) for _, _, tokens, images in branches], family)
    positions = np.zeros((*own[0].shape[:-1], len(trees), length), np.int64)
    ends = [0] * len(trees)
    for (b, path, tokens, _), mine in zip(branches, own, strict=True):
        at = slice(ends[b], ends[b] + len(tokens))
        ends[b] = at.stop
        ids[b, at], stands[b, at] = tokens, 1
        positions[..., b, at] = mine + (positions[..., b, path].max() + 1 if len(path) else 0)
    answers = [
        np.array([(b, column, before) for column, (_, before) in t.answers.items()]) for b, t in enumerate(trees)
    ]
    rows, columns, before = torch.from_numpy(np.concatenate(answers).T.copy()).unbind(0)
    ids_t, mask, apart = torch.from_numpy(ids), torch.from_numpy(stands), None
    if family.packs:
        apart = _pieces(trees)
        pairs = sum((len(p.path) + p.stop - p.start) * (p.stop - p.start) for p in apart)
        if length > DENSE or pairs + OVERHEAD * len(apart) < len(trees) * length**2:
            mask = torch.zeros(1, 1, 1, 1)
        else:
            mask, apart = _tree_mask(trees, length), None
    return Tree(
        ids=ids_t,
        mask=mask,
        positions=torch.from_numpy(positions),
        targets=ids_t[rows, columns],
        rows=rows,
        columns=before,
        images=tuple(tuple(tree.images) for tree in trees),
        branches=apart,
    )


def _pieces(trees: Sequence[PrefixTree]) -> tuple[Branch, ...]:
    """Every branch, the long ones cut."""
    found = []
    for b, tree in enumerate(trees):
        end = 0
        for path, tokens, _ in tree.branches:
            start, end = end, end + len(tokens)
            for at in range(start, end, PIECE):
                before = np.concatenate([path, np.arange(start, at)])
                found.append(Branch(b, torch.from_numpy(before), at, min(at + PIECE, end)))
    return tuple(found)


def _tree_mask(trees: Sequence[PrefixTree], length: int) -> Tensor:
    """[B, 1, L, L] float32: 0 where a token sees another, LOWEST elsewhere."""
    # Padding sees itself, so that no row of the softmax is empty.
    sees = np.eye(length, dtype=np.bool_)[None].repeat(len(trees), 0)
    for b, tree in enumerate(trees):
        end = 0
        for path, tokens, _ in tree.branches:
            start, end = end, end + len(tokens)
            sees[b, start:end, path] = True
            sees[b, start:end, start:end] = np.tri(len(tokens), dtype=np.bool_)
    return torch.zeros(sees.shape).masked_fill_(torch.from_numpy(~sees), LOWEST)[:, None]


def _own_positions(
    parts: Sequence[tuple[NDArray[np.int64], tuple[Frame, ...]]], family: Family
) -> list[NDArray[np.int64]]:
    """Positions of each part by itself, [..., its length]: they only move on where something stands before it."""
    longest = max(len(tokens) for tokens, _ in parts)
    ids, mask = np.zeros((2, len(parts), longest), np.int64)
    for i, (tokens, _) in enumerate(parts):
        ids[i, : len(tokens)], mask[i, : len(tokens)] = tokens, 1
    found = family.positions(torch.from_numpy(ids), torch.from_numpy(mask), [images for _, images in parts]).numpy()
    return [found[..., i, : len(tokens)] for i, (tokens, _) in enumerate(parts)]
