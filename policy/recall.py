"""What was computed for the turn before: a prompt that begins as an earlier one did computes only what is new in it.

Keys and values of the replies of the last call of an engine, with what each was computed from. They stand as long as
no weight changes in place (fused optimisers do not tell: call :meth:`VLM.forget` after them), nothing is scored, and
nobody says that what comes must not depend on what was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from policy.cache import Layers, empty_cache
from policy.packing import Columns, bucket, common
from policy.vlm import VLM

LEAST = 16
"""Tokens from which on it is worth going on from an earlier row."""


@dataclass(frozen=True, slots=True)
class Said:
    """A prompt and its reply, computed."""

    told: Columns
    """Symbols of both (:func:`policy.packing.symbols`)."""
    layers: Layers
    row: int
    columns: Tensor
    """Where in the row its tokens stand: as many of the first ones as were computed."""


class Recall:
    """Remembers the rows of one call of an engine."""

    def __init__(self, vlm: VLM) -> None:
        self.vlm = vlm
        self._weights = 0
        self._said: list[Said] = []
        vlm.recalls.add(self)

    def forget(self) -> None:
        """Free all of it."""
        self._said = []

    def before(self, told: Columns) -> tuple[int, Said | None]:
        """The row that begins most like a prompt's symbols, and how many tokens of it serve; (0, None) for none."""
        if self._weights != self._version():
            self.forget()
        # One token at least is computed: its logits are asked for.
        same = [min(common(said.told, told), len(said.columns), len(told) - 1) for said in self._said]
        best = int(np.argmax(same)) if same else 0
        return (same[best], self._said[best]) if same and same[best] >= LEAST else (0, None)

    def remember(self, said: list[Said]) -> None:
        """These from now on, in place of those from before."""
        self._said, self._weights = said, self._version()

    def _version(self) -> int:
        """Grows with every change in place of a weight."""
        return sum(p._version for p in self.vlm.parameters())


def cache_of(vlm: VLM, known: Sequence[tuple[int, Said | None]]) -> tuple[DynamicCache, Tensor]:
    """A cache that begins with so many tokens of earlier rows, aligned on the right, and its mask [B, P]."""
    cache = empty_cache(vlm.model.config.get_text_config())
    width = bucket(max(same for same, _ in known), 16)
    mask = torch.zeros(len(known), width, dtype=torch.long, device=vlm.device)
    if not width:
        return cache, mask
    columns = torch.zeros_like(mask)
    for b, (same, said) in enumerate(known):
        assert said is not None
        mask[b, width - same :] = 1
        columns[b, width - same :] = said.columns[:same]
    begun: list[list[Tensor]] = []
    blocks = {id(said.layers): said.layers for _, said in known if said is not None}
    for key, layers in blocks.items():
        mine = [(b, said.row) for b, (_, said) in enumerate(known) if said is not None and id(said.layers) == key]
        to, of = (torch.tensor(rows, device=vlm.device) for rows in zip(*mine, strict=True))
        for number, pair in enumerate(layers):
            if number == len(begun):
                begun.append([t.new_zeros(len(known), t.shape[1], width, t.shape[3]) for t in pair])
            for whole, part in zip(begun[number], pair, strict=True):
                index = columns[to][:, None, :, None].expand(-1, part.shape[1], -1, part.shape[3])
                whole[to] = part[of].gather(2, index)
    for number, (keys, values) in enumerate(begun):
        cache.update(keys, values, number)
    return cache, mask
