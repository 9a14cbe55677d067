"""Where keys and values stand while replies are written: with room for what comes, and a shared prompt only once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

from policy.elementwise import precision

ROOM = 32
"""Columns by which keys and values grow at once."""
Layers = list[tuple[Tensor, Tensor]]
"""Keys and values [rows, heads, columns, D] of each layer."""


class Roomy(DynamicLayer):  # type: ignore[no-untyped-call]
    """A layer of a cache that keeps room for what comes, where transformers' copies everything for each new token.

    Attention takes the room with it, masked: keys and values lie in one piece only as a whole. They are kept in the
    precision in which attention reads them, so that they are brought to it once. What the engine does not ask for
    (beams, cropping) is not supported.
    """

    keys: Tensor
    values: Tensor

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._whole: tuple[Tensor, ...] = ()

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        new = tuple(part.to(precision(part)) for part in (key_states, value_states))
        if not self.is_initialized:
            self.lazy_initialization(*new)
        stands, length = self.get_seq_length(), self.get_seq_length() + key_states.shape[2]
        if not self._whole or self._columns() < length:
            # Zeros: what attention gives no weight must be a number all the same.
            sizes = [(*part.shape[:2], self._after(length), part.shape[3]) for part in new]
            grown = tuple(part.new_zeros(size) for part, size in zip(new, sizes, strict=True))
            for whole, known in zip(grown, self._whole, strict=False):
                whole[:, :, :stands] = known[:, :, :stands]
            self._whole = grown
        for whole, part in zip(self._whole, new, strict=True):
            whole[:, :, stands:length] = part
        self._show(length)
        keys, values = self._whole
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many columns attention will see, room included, and 0."""
        return self._after(self.get_seq_length() + query_length), 0

    def batch_select_indices(self, indices: Tensor) -> None:
        length = self.get_seq_length()
        self._whole = tuple(whole[indices] for whole in self._whole)
        self._show(length)

    def _columns(self) -> int:
        return self._whole[0].shape[2] if self._whole else 0

    def _after(self, length: int) -> int:
        """Columns once ``length`` tokens are known. The first ones get no room: rows are selected from them anyway."""
        if self._columns() >= length:
            return self._columns()
        return length + (ROOM if self._columns() else 0)

    def _show(self, length: int) -> None:
        self.keys, self.values = (whole[:, :, :length] for whole in self._whole)


class Forked(DynamicLayer):  # type: ignore[no-untyped-call]
    """A layer whose rows go on from prompts that several of them share: each prompt stands there once.

    A row's next token attends to the prompt beside its siblings' and to its own tokens by itself. Reading keys and
    values is most of what such a token costs, and copies of prompts would be most of these.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        """Of prompts [P, H, S, D], each of which is a row to begin with; select the rows that go on from them."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._prompts, self._own = (keys.contiguous(), values.contiguous()), Roomy()
        self._own.update(keys[:, :, :0], values[:, :, :0])
        self._go_on(torch.arange(len(keys), device=keys.device))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
        """Attention of one more token a row, whose own keys and values are kept.

        Args:
            q: [B, H·n, 1, D], heads that share keys beside each other.
            k: [B, H, 1, D].
            v: [B, H, 1, D].
            mask: [B, 1, 1, S + columns of the rows' own], added to the scores.
            scale: of the scores, before that.

        Returns:
            [B, 1, H·n, D].
        """
        (keys, values), (own_keys, own_values) = self._prompts, self._own.update(k, v)
        with torch.autocast(q.device.type, enabled=False):
            q = q[:, :, 0].reshape(len(q), k.shape[1], -1, q.shape[3]).to(keys.dtype) * scale
            told = self._apart(torch.matmul(self._together(q), keys.transpose(2, 3)))
            said = torch.matmul(q, own_keys.transpose(2, 3))
            weights = torch.cat([told, said], -1).add_(mask.to(q.dtype)).softmax(-1)
            told, said = weights[..., : keys.shape[2]], weights[..., keys.shape[2] :]
            out = self._apart(torch.matmul(self._together(told), values)) + torch.matmul(said, own_values)
        return out.flatten(1, 2)[:, None]

    def _together(self, x: Tensor) -> Tensor:
        """Rows [B, H, n, X] by their prompt: [P, H, most rows of a prompt · n, X]."""
        return x[self._rows].transpose(1, 2).flatten(2, 3)

    def _apart(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`_together`."""
        split = x.view(*x.shape[:2], self._rows.shape[1], -1, x.shape[3])
        return split.transpose(1, 2).flatten(0, 1)[self._place]

    def _go_on(self, which: Tensor) -> None:
        """Row b goes on from prompt ``which[b]``; a prompt that no row goes on from is dropped."""
        used, self._which = torch.unique(which, return_inverse=True)
        if len(used) < len(self._prompts[0]):
            self._prompts = (self._prompts[0][used], self._prompts[1][used])
        order = self._which.argsort(stable=True)
        counts = self._which.bincount()
        most, count = int(counts.max()), torch.arange(len(which), device=which.device)
        self._place = torch.empty_like(order)
        self._place[order] = self._which[order] * most + count - (counts.cumsum(0) - counts)[self._which[order]]
        self._rows = torch.zeros(len(used) * most, dtype=torch.long, device=which.device)
        self._rows[self._place] = count
        self._rows = self._rows.view(-1, most)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """For attention that is not :meth:`attend`: right, at the price of a copy of each row's prompt."""
        own = self._own.update(key_states, value_states)
        keys, values = (torch.cat([told[self._which], said], 2) for told, said in zip(self._prompts, own, strict=True))
        return keys, values

    def whole(self, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, S + own, D] of some rows, or of all, each with a copy of its prompt."""
        own = self._own.keys, self._own.values
        which = self._which if rows is None else self._which[rows]
        pairs = zip(self._prompts, own if rows is None else [part[rows] for part in own], strict=True)
        keys, values = (torch.cat([told[which], said], 2) for told, said in pairs)
        return keys, values

    def get_seq_length(self) -> int:
        return int(self._prompts[0].shape[2]) + self._own.get_seq_length()

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return int(self._prompts[0].shape[2]) + self._own.get_mask_sizes(query_length)[0], 0

    def batch_select_indices(self, indices: Tensor) -> None:
        self._own.batch_select_indices(indices)
        self._go_on(self._which[indices])


def empty_cache(config: PreTrainedConfig) -> DynamicCache:
    """A cache for a model of this text config, in which tokens that come one by one find room."""
    cache = DynamicCache(config=config)
    cache.layers = [Roomy() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
