"""What a tiny model does between its matrix products: norms and rotary positions, in few passes over memory.

On a CPU these cost a model whose layers are 128 wide more than its products do, as each of the stock operations reads
and writes all of a tensor, some thirty times forward and backward for a norm and its rotary positions. Here it is a
dozen, over pieces that stay in the processor's cache. The results agree with the stock ones within rounding
(tests/test_elementwise.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
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
        out = _computed(flat, weight, eps, turn, dtype)
    return out.view(x.shape)


class _Elementwise(torch.autograd.Function):
    """Both, either of which may be left out; x [N, H, D]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, eps: float, turn: Turn | None, dtype: torch.dtype
    ) -> Tensor:
        ctx.save_for_backward(x, weight, *(turn or (None, None)))
        ctx.eps = eps
        return _computed(x, weight, eps, turn, dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, cos, sin = ctx.saved_tensors
        d_x = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        d_weight = None if weight is None else torch.zeros_like(weight)
        for d_x_i, grad, x_i, cos_i, sin_i in _pieces(d_x, grads[0], x, cos, sin):
            grad = grad.float()
            if cos_i is not None:
                grad = _turned(grad, cos_i, sin_i, -1)
            if weight is not None and d_weight is not None:
                x_i = x_i.float()
                scale = _scale(x_i, ctx.eps)
                unit = x_i * scale
                both = grad * unit
                d_weight += both.sum((0, 1))
                along = torch.matmul(both, weight.float()).div_(-x.shape[-1])[..., None]
                # Not in place from the first on: a gradient in float32 may be somebody else's too.
                grad = (grad * weight).addcmul_(unit, along).mul_(scale)
            d_x_i.copy_(grad)
        return d_x, d_weight, None, None, None


def _computed(x: Tensor, weight: Tensor | None, eps: float, turn: Turn | None, dtype: torch.dtype) -> Tensor:
    cos, sin = turn or (None, None)
    if x.numel() <= PIECE:
        return _piece(x, weight, eps, cos, sin).to(dtype)
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    for out_i, x_i, cos_i, sin_i in _pieces(out, x, cos, sin):
        out_i.copy_(_piece(x_i, weight, eps, cos_i, sin_i))
    return out


def _pieces(first: Tensor, *others: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Rows of tensors [N, ...] that are worked on together; all of them on a GPU, which has nothing to gain by it."""
    count = max(1, PIECE // first[0].numel()) if len(first) and first.device.type == "cpu" else max(1, len(first))
    parts = (repeat(None) if t is None else torch.split(t, count) for t in (first, *others))
    return zip(*parts, strict=False)


def _piece(x: Tensor, weight: Tensor | None, eps: float, cos: Tensor | None, sin: Tensor | None) -> Tensor:
    """Normed and turned, in float32."""
    x = x.float()
    if weight is not None:
        x = (x * _scale(x, eps)).mul_(weight)
    return x if cos is None or sin is None else _turned(x, cos, sin, 1)


def _scale(x: Tensor, eps: float) -> Tensor:
    """What an RMS norm multiplies by."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def _turned(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    """By the angles (1) or back again (-1); float32."""
    out = x * cos
    (x_a, x_b), (out_a, out_b), (sin_a, sin_b) = x.chunk(2, -1), out.chunk(2, -1), sin.chunk(2, -1)
    out_a.addcmul_(x_b, sin_a, value=-way)
    out_b.addcmul_(x_a, sin_b, value=way)
    return out
