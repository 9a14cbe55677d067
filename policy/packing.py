"""Many short exchanges under one prefix: a picture is encoded once, its questions are packed behind it.

Row layout: ``prefix | question₁ answer₁ | question₂ answer₂ | ...``. A tree mask lets every token see the prefix and
what comes before it in its own exchange, never a neighbour; positions restart after the prefix for each exchange. The
numbers are those of one row an exchange (tests/test_vlm.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from episode import Frame
from policy.attention import LOWEST
from policy.vlm import VLM, bucket


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer as token ids; the loss is on the answer only."""

    question: tuple[int, ...]
    answer: tuple[int, ...]
    weight: float = 1.0
    """Of each of its answer's tokens in the loss."""


@dataclass(frozen=True, slots=True)
class Packed:
    """One row: a prefix with its images, and the exchanges behind it."""

    prefix: tuple[int, ...]
    images: tuple[Frame, ...]
    exchanges: tuple[Exchange, ...]


@dataclass(frozen=True, slots=True)
class PackedOutput:
    """Everything that the losses need: N is the number of answer tokens in the batch."""

    logits: Tensor
    """[N, V] float32, banned tokens left out."""
    targets: Tensor
    """[N] int64."""
    weights: Tensor
    """[N] float32."""


def packed_forward(vlm: VLM, rows: Sequence[Packed], image_inputs: dict[str, object]) -> PackedOutput:
    """Logits at every answer token of packed rows; ``image_inputs`` as made by the family for the rows' images."""
    ids, mask, positions, answer = _pack(vlm, rows)
    # Answers stand in the order of rows and exchanges, as boolean indexing reads them.
    weights = [e.weight for r in rows for e in r.exchanges for _ in e.answer]
    output = vlm.model.base_model(
        input_ids=ids.to(vlm.device),
        attention_mask=mask.to(vlm.device),
        position_ids=positions.to(vlm.device),
        use_cache=False,
        **image_inputs,
    )
    predictor = torch.zeros_like(answer)
    predictor[:, :-1] = answer[:, 1:]
    where = predictor.to(vlm.device)
    hidden = output.last_hidden_state[where]
    logits = vlm.head(hidden).float()
    return PackedOutput(
        logits=logits.masked_fill(vlm.bans, LOWEST),
        targets=ids[answer].to(vlm.device),
        weights=torch.tensor(weights, device=vlm.device),
    )


def _pack(vlm: VLM, rows: Sequence[Packed]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids [B, L], additive mask [B, 1, L, L], positions [3, B, L] or [B, L], answer [B, L] bool."""
    longest = max(len(r.prefix) + sum(len(e.question) + len(e.answer) for e in r.exchanges) for r in rows)
    length = bucket(longest, 32)
    ids = np.full((len(rows), length), vlm.tokenizer.pad_token_id, np.int64)
    segment = np.full((len(rows), length), -1, np.int64)
    offset = np.zeros((len(rows), length), np.int64)
    answer = np.zeros((len(rows), length), bool)
    for b, row in enumerate(rows):
        at = len(row.prefix)
        ids[b, :at], segment[b, :at] = row.prefix, 0
        for number, exchange in enumerate(row.exchanges, 1):
            question, both = len(exchange.question), exchange.question + exchange.answer
            stop = at + len(both)
            ids[b, at:stop], segment[b, at:stop], offset[b, at:stop] = both, number, np.arange(len(both))
            answer[b, at + question : stop] = True
            at = stop
    ids_t, seg = torch.from_numpy(ids), torch.from_numpy(segment)
    prefix = seg == 0
    positions = vlm.family.positions(ids_t, prefix.long(), [r.images for r in rows])
    after = positions.amax(-1, keepdim=True) + 1
    positions = torch.where(prefix, positions, after + torch.from_numpy(offset))
    index = torch.arange(length)
    causal = index[None, :] <= index[:, None]
    own = (seg[:, None, :] == seg[:, :, None]) | prefix[:, None, :]
    sees = causal & own & (seg[:, None, :] >= 0)
    # Padding sees itself, so that no row of the softmax is empty.
    sees |= torch.eye(length, dtype=torch.bool)
    mask = torch.zeros(sees.shape).masked_fill_(~sees, LOWEST)[:, None]
    return ids_t, mask, positions, torch.from_numpy(answer)
