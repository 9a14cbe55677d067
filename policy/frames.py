"""Features of frames: each frame goes through the vision tower once for as long as its features stand.

Without gradients they stand until the tower's weights change or a cap is reached: turns, siblings, values and a frozen
tower's updates share them. With gradients they stand while a mini-batch is walked through (:meth:`Features.sharing`):
its micro-batches are given leaves, and what they leave there is pushed through the tower once, so that the gradient is
the sum that one large batch would have had, within rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from episode import Frame

CHUNK = 16
"""Frames that go through the vision tower at once, and the most pixels that they may have together: of larger frames
fewer go, as a tower's attention takes the square of a frame's pixels in memory."""
CHUNK_PIXELS = CHUNK * 128 * 128
OPEN = 6
"""Chunks whose activations are kept at most, beyond what one micro-batch needs. A frame that is needed again after that
is encoded again: its gradient is a sum of two parts then, and the same."""
CAP = 256 * 2**20
"""Bytes of remembered features."""

Encoded = tuple[Tensor, ...]
"""One frame: its image tokens [T, D], and deepstack levels of the same shape."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Frames that were encoded together with a graph."""

    outputs: dict[str, Encoded]
    leaves: dict[str, Encoded]

    def backward(self) -> None:
        pairs = [
            (output, leaf.grad)
            for key, leaves in self.leaves.items()
            for output, leaf in zip(self.outputs[key], leaves, strict=True)
            if leaf.grad is not None
        ]
        if pairs:
            torch.autograd.backward(*zip(*pairs, strict=True))  # type: ignore[arg-type]


class Features:
    """Asked for frames, gives their features."""

    def __init__(self, tower: nn.Module, encode: Callable[[Sequence[Frame]], list[Encoded]]) -> None:
        """``encode`` runs ``tower`` over frames of one size, in order."""
        self.tower = tower
        self.encode = encode
        self._kept: dict[str, Encoded] = {}
        self._weights = self._version()
        self._open: list[_Chunk] | None = None

    def of(self, frames: Mapping[str, Frame]) -> dict[str, Encoded]:
        """Features of frames by key."""
        graph = torch.is_grad_enabled() and any(p.requires_grad for p in self.tower.parameters())
        if graph:
            known = {k: v for chunk in self._open or () for k, v in chunk.leaves.items()}
        else:
            if self._version() != self._weights:
                self.forget()
            known = self._kept
        # Equal sizes side by side, so that the tower sees long runs.
        new = sorted((key for key in frames if key not in known), key=lambda key: frames[key].shape)
        for start, stop in chunks([frames[key].shape for key in new]):
            keys = new[start:stop]
            encoded = dict(zip(keys, self.encode([frames[key] for key in keys]), strict=True))
            if graph and self._open is not None:
                leaves = {k: tuple(t.detach().requires_grad_() for t in e) for k, e in encoded.items()}
                self._open.append(_Chunk(encoded, leaves))
                encoded = leaves
            known.update(encoded)
        found = {key: known[key] for key in frames}
        if not graph:
            self._evict()
        return found

    def sharing(self, uses: Sequence[Collection[str]]) -> Iterator[int]:
        """Count through micro-batches, each of which is scored and walked backward once before the next is asked for.

        Args:
            uses: keys of the frames that each of them shows.
        """
        last = {key: index for index, keys in enumerate(uses) for key in keys}
        self._open = []
        try:
            for index in range(len(uses)):
                yield index
                kept = [c for c in self._open if any(last.get(key, index) > index for key in c.leaves)]
                kept = kept[max(0, len(kept) - OPEN) :]
                ready = [c for c in self._open if not any(c is k for k in kept)]
                self._open = kept
                for chunk in ready:
                    chunk.backward()
        finally:
            self._open = None

    def forget(self) -> None:
        """From now on, and afresh: what was remembered must not reach beyond this point."""
        self._kept = {}
        self._weights = self._version()

    def _version(self) -> int:
        """Grows with changes in place of the tower's weights, as loaders and optimisers, but fused ones, make them."""
        return sum(p._version for p in self.tower.parameters())

    def _evict(self) -> None:
        """The oldest first."""
        size = sum(t.nbytes for encoded in self._kept.values() for t in encoded)
        for key in list(self._kept):
            if size <= CAP:
                return
            size -= sum(t.nbytes for t in self._kept.pop(key))


def chunks(shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, int]]:
    """Runs of equal shapes (height, width, 3), cut into powers of two: few shapes, so few kernels to compile.

    At most ``CHUNK`` frames each and, but for a single frame, ``CHUNK_PIXELS``.
    """
    found, start = [], 0
    while start < len(shapes):
        most = min(CHUNK, CHUNK_PIXELS // math.prod(shapes[start][:2]))
        stop = start + 1
        while stop < len(shapes) and shapes[stop] == shapes[start] and stop - start < most:
            stop += 1
        stop = start + 2 ** ((stop - start).bit_length() - 1)
        found.append((start, stop))
        start = stop
    return found
