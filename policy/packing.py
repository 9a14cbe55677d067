"""Prefix trees: one row computes a prefix once and has everything that was said after it packed behind it.

Row layout: ``prefix | question₁ answer₁ | question₂ answer₂ | ...``. A tree mask lets every token see the prefix and
what comes before it in its own exchange, never a neighbour; positions restart after the prefix for each exchange. The
numbers are those of one row an exchange (tests/test_vlm.py). Pretraining packs the questions about one picture;
reinforcement learning packs the replies to one prompt, as siblings of a group that did the same see the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episode import Frame, frame_key
from policy.attention import LOWEST
from policy.families import Family

ROOM = 512
"""Tokens behind one prefix, at most (or one exchange): the cost of a row's mask grows with the square."""


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
class Exchange:
    """A question, which may be empty, and its answer as token ids."""

    question: tuple[int, ...]
    answer: tuple[int, ...]
    weight: float = 1.0
    """Of each of its answer's tokens in a pretraining loss."""


@dataclass(frozen=True, slots=True)
class Packed:
    """One row: a prefix with its images, and the exchanges behind it."""

    prefix: tuple[int, ...]
    images: tuple[Frame, ...]
    exchanges: tuple[Exchange, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """Packed rows as tensors; N is the number of answer tokens, in the order of rows and exchanges."""

    ids: Tensor
    """[B, L] int64."""
    mask: Tensor
    """[B, 1, L, L] float32, additive; or [B, L] int64, 1 where a token stands, for families that do not pack."""
    positions: Tensor
    """[3, B, L] or [B, L] int64."""
    targets: Tensor
    """[N] int64, the answer tokens."""
    rows: Tensor
    columns: Tensor
    """[N] int64: where the tokens stand that predict them."""
    images: tuple[tuple[Frame, ...], ...]

    def to(self, device: torch.device) -> Tree:
        return replace(
            self,
            ids=self.ids.to(device),
            mask=self.mask.to(device),
            positions=self.positions.to(device),
            targets=self.targets.to(device),
            rows=self.rows.to(device),
            columns=self.columns.to(device),
        )


@dataclass(slots=True)
class Siblings:
    """Rows with one prompt and the same images: what is computed together."""

    prefix: tuple[int, ...]
    images: tuple[Frame, ...]
    keys: tuple[str, ...]
    """Of the images."""
    members: list[int] = field(default_factory=list)
    """Indices of rows."""
    replies: dict[tuple[int, ...], int] = field(default_factory=dict)
    """Distinct replies, numbered."""
    said: list[int] = field(default_factory=list)
    """The number of each member's reply."""
    behind: int = 0
    """Tokens of the distinct replies."""

    @property
    def length(self) -> int:
        """Tokens of the packed row."""
        return len(self.prefix) + self.behind

    def takes(self, reply: tuple[int, ...]) -> bool:
        return not self.replies or reply in self.replies or self.behind + len(reply) <= ROOM

    def add(self, index: int, reply: tuple[int, ...]) -> None:
        if reply not in self.replies:
            self.replies[reply] = len(self.replies)
            self.behind += len(reply)
        self.members.append(index)
        self.said.append(self.replies[reply])

    def packed(self) -> Packed:
        return Packed(self.prefix, self.images, tuple(Exchange((), reply) for reply in self.replies))


def bucket(length: int, unit: int) -> int:
    """``length`` rounded up to whole units: on a CPU every new shape costs the kernels a compilation."""
    return -(-length // unit) * unit


def siblings(rows: Sequence[Row], packs: bool) -> list[Siblings]:
    """Rows by prompt and images, in the order of their first member; each alone where the family does not pack."""
    found: list[Siblings] = []
    latest: dict[tuple[object, ...], Siblings] = {}
    for index, row in enumerate(rows):
        keys, reply = tuple(map(frame_key, row.images)), tuple(row.reply_ids.tolist())
        same = (row.prompt_ids.tobytes(), keys) if packs else (index,)
        if same not in latest or not latest[same].takes(reply):
            latest[same] = Siblings(tuple(row.prompt_ids.tolist()), row.images, keys)
            found.append(latest[same])
        latest[same].add(index, reply)
    return found


def pack(rows: Sequence[Packed], family: Family) -> Tree:
    """Packed rows as tensors, padded on the right; families that do not pack take one exchange a row."""
    length = bucket(max(len(r.prefix) + sum(len(e.question) + len(e.answer) for e in r.exchanges) for r in rows), 16)
    ids = np.full((len(rows), length), family.tokenizer.pad_token_id, np.int64)
    segment = np.full((len(rows), length), -1, np.int64)
    offset = np.zeros((len(rows), length), np.int64)
    answers: list[NDArray[np.int64]] = []
    for b, row in enumerate(rows):
        prefix = at = len(row.prefix)
        ids[b, :at], segment[b, :at] = row.prefix, 0
        for number, exchange in enumerate(row.exchanges, 1):
            question, both = len(exchange.question), exchange.question + exchange.answer
            stop = at + len(both)
            ids[b, at:stop], segment[b, at:stop], offset[b, at:stop] = both, number, np.arange(len(both))
            columns = np.arange(at + question, stop)
            # An exchange's first token is predicted by the last of the prefix, which all of them share.
            before = np.where(columns == at, prefix, columns) - 1
            answers.append(np.stack([np.full_like(columns, b), columns, before]))
            at = stop
    ids_t, seg = torch.from_numpy(ids), torch.from_numpy(segment)
    images = tuple(r.images for r in rows)
    trunk = seg == 0
    positions = family.positions(ids_t, trunk.long(), images)
    after = positions.amax(-1, keepdim=True) + 1
    positions = torch.where(trunk, positions, after + torch.from_numpy(offset))
    where, columns_t, before_t = torch.from_numpy(np.concatenate(answers, 1)).unbind(0)
    mask = _tree_mask(seg) if family.packs else (seg >= 0).long()
    return Tree(ids_t, mask, positions, ids_t[where, columns_t], where, before_t, images)


def _tree_mask(segment: Tensor) -> Tensor:
    """[B, 1, L, L] additive, from the exchange's number [B, L] of each token: 0 is the prefix, −1 is padding."""
    index = torch.arange(segment.shape[1])
    own = (segment[:, None, :] == segment[:, :, None]) | (segment == 0)[:, None, :]
    sees = (index[None, :] <= index[:, None]) & own & (segment[:, None, :] >= 0)
    # Padding sees itself, so that no row of the softmax is empty.
    sees |= torch.eye(segment.shape[1], dtype=torch.bool)
    return torch.zeros(sees.shape).masked_fill_(~sees, LOWEST)[:, None]
