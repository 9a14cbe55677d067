"""What a tiny model does between its matrix products: norms and rotary positions, in few passes over memory.

On a CPU these cost a model whose layers are 128 wide more than its products do, as each of the stock operations reads
and writes all of a tensor, some thirty times forward and backward for a norm and its rotary positions. Here it is a
dozen, over pieces that stay in the processor's cache. The results agree with the stock ones within rounding
(tests/test_elementwise.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

PIECE = 2**16
"""Numbers that are worked on at once."""
Turn = tuple[Tensor, Tensor]
"""cos and sin [N, 1, D]."""


def precision(x: Tensor) -> torch.dtype:
    """In which products with ``x`` are computed here: autocast's, where it is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def normed(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """RMS norm: ``weight`` [D] · x / √(mean x² + ``eps``) for x [..., D], in float32 and then ``dtype``."""
    return _apply(x[..., None, :], weight, eps, None, dtype).squeeze(-2)


def rotated(
    x: Tensor, cos: Tensor, sin: Tensor, dtype: torch.dtype, weight: Tensor | None = None, eps: float = 0.0
) -> Tensor:
    """Rotary positions: each pair (x_i, x_{i + D/2}) turned by its angle, in float32 and then ``dtype``.

    Args:
        x: [..., H, D]; all heads stand at one position.
        cos: [..., D], of the angles, once for each half; likewise ``sin``.
        sin: see there.
        dtype: of what is returned, [..., H, D].
        weight: [D] of an RMS norm before that, and its ``eps``.
        eps: see there.
    """
    size = x.shape[-1]
    return _apply(x, weight, eps, (cos.float().reshape(-1, 1, size), sin.float().reshape(-1, 1, size)), dtype)


def _apply(x: Tensor, weight: Tensor | None, eps: float, turn: Turn | None, dtype: torch.dtype) -> Tensor:
    flat = x.reshape(-1, *x.shape[-2:])
    if torch.is_grad_enabled():
        out: Tensor = _Elementwise.apply(flat, weight, eps, turn, dtype)  # type: ignore[no-untyped-call]
    else:  # the bookkeeping of a graph takes as long as one token a row does
        out = _computed(flat, weight, eps, turn, dtype)[0]
    return out.view(x.shape)


class _Elementwise(torch.autograd.Function):
    """Both, either of which may be left out; x [N, H, D]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, eps: float, turn: Turn | None, dtype: torch.dtype
    ) -> Tensor:
        out, scale = _computed(x, weight, eps, turn, dtype)
        ctx.save_for_backward(x, weight, scale, *(turn or (None, None)))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale, cos, sin = ctx.saved_tensors
        d_x = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        d_weight = None if weight is None else torch.zeros_like(weight)
        for piece in _pieces(x):
            grad = grads[0][piece].float()
            if cos is not None:
                grad = _turned(grad, cos[piece], sin[piece], -1)
            if weight is not None and d_weight is not None:
                unit = x[piece] * scale[piece]
                both = grad * unit
                d_weight += both.sum((0, 1))
                along = torch.matmul(both, weight.float()).div_(-x.shape[-1])[..., None]
                # Not in place from the first on: a gradient in float32 may be somebody else's too.
                grad = (grad * weight).addcmul_(unit, along).mul_(scale[piece])
            d_x[piece] = grad
        return d_x, d_weight, None, None, None


def _computed(
    x: Tensor, weight: Tensor | None, eps: float, turn: Turn | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """The result in ``dtype``, and what the norm multiplied by, [N, H, 1]."""
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    scale = None if weight is None else torch.empty(*x.shape[:-1], 1, device=x.device)
    for piece in _pieces(x):
        y = x[piece].float()
        if weight is not None and scale is not None:
            length = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
            torch.rsqrt(length.square_().div_(x.shape[-1]).add_(eps), out=scale[piece])
            y = (y * scale[piece]).mul_(weight)
        if turn is not None:
            y = _turned(y, turn[0][piece], turn[1][piece], 1)
        out[piece] = y
    return out, scale


def _pieces(x: Tensor) -> Iterator[slice]:
    """Of the rows of [N, H, D]; all of them on a GPU, which has nothing to gain by it."""
    count = max(1, PIECE // (x.shape[1] * x.shape[2])) if x.device.type == "cpu" else max(1, len(x))
    return (slice(start, start + count) for start in range(0, len(x), count))


def _turned(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    """By the angles (1) or back again (-1); float32."""
    half = x.shape[-1] // 2
    out = x * cos
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-way)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:], value=way)
    return out
