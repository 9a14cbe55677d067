"""What a tiny model does between its matrix products: norms and rotary positions, in few passes over memory.

On a CPU these cost a model whose layers are 128 wide more than its products do, as each of the stock operations reads
and writes all of a tensor, some thirty times forward and backward for a norm and its rotary positions. Here it is a
dozen, over pieces that stay in the processor's cache. The results agree with the stock ones within rounding
(tests/test_elementwise.py). Other devices take the same passes, over all of a tensor at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

PIECE = 2**16
"""Numbers that are worked on at once."""
Angles = tuple[Tensor, Tensor]
"""cos and sin [N, 1, D], float32."""


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
        cos: [..., D], of the angles; both halves are equal.
        sin: [..., D], likewise.
        dtype: of what is returned, [..., H, D].
        weight: [D], of an RMS norm before that; None for no norm.
        eps: of that norm.
    """
    assert cos.shape == sin.shape == (*x.shape[:-2], x.shape[-1]), "one angle a position and pair"
    size = x.shape[-1]
    return _apply(x, weight, eps, (cos.float().reshape(-1, 1, size), sin.float().reshape(-1, 1, size)), dtype)


def _apply(x: Tensor, weight: Tensor | None, eps: float, angles: Angles | None, dtype: torch.dtype) -> Tensor:
    flat = x.reshape(-1, *x.shape[-2:])
    if torch.is_grad_enabled():
        out: Tensor = _Elementwise.apply(flat, weight, eps, angles, dtype)  # type: ignore[no-untyped-call]
    else:  # the bookkeeping of a graph takes as long as one token a row does
        out = _computed(flat, weight, eps, angles, dtype)
    return out.view(x.shape)


class _Elementwise(torch.autograd.Function):
    """Both, either of which may be left out; x [N, H, D]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, eps: float, angles: Angles | None, dtype: torch.dtype
    ) -> Tensor:
        ctx.save_for_backward(x, weight, *(angles or (None, None)))
        ctx.eps = eps
        return _computed(x, weight, eps, angles, dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, cos, sin = ctx.saved_tensors
        d_x = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        # Summed over pieces: not in a weight's bfloat16.
        d_weight = torch.zeros(x.shape[-1], device=x.device) if ctx.needs_input_grad[1] else None
        for d_x_i, grad, x_i, cos_i, sin_i in _pieces(d_x, grads[0], x, cos, sin):
            grad = grad.float()
            if cos_i is not None:
                grad = _turned(grad, cos_i, sin_i, back=True)
            if weight is not None:
                x_i = x_i.float()
                scale = _scale(x_i, ctx.eps)
                unit = x_i * scale
                per_weight = grad * unit
                if d_weight is not None:
                    d_weight += per_weight.sum((0, 1))
                # What would only make x longer has no effect on its norm.
                lengthens = torch.matmul(per_weight, weight.float()).div_(-x.shape[-1])[..., None]
                # Not in place from the first on: a gradient in float32 may be somebody else's too.
                grad = (grad * weight).addcmul_(unit, lengthens).mul_(scale)
            d_x_i.copy_(grad)
        return d_x, None if d_weight is None else d_weight.to(weight.dtype), None, None, None


def _computed(x: Tensor, weight: Tensor | None, eps: float, angles: Angles | None, dtype: torch.dtype) -> Tensor:
    cos, sin = angles or (None, None)
    if x.numel() <= _most(x):
        return _piece(x, weight, eps, cos, sin).to(dtype)
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    for out_i, x_i, cos_i, sin_i in _pieces(out, x, cos, sin):
        out_i.copy_(_piece(x_i, weight, eps, cos_i, sin_i))
    return out


def _most(x: Tensor) -> int:
    """Numbers that are worked on at once: all of them where there is no such cache."""
    return PIECE if x.device.type == "cpu" else max(1, x.numel())


def _pieces(first: Tensor, *others: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Rows of tensors [N, ...] that are worked on together."""
    assert all(t is None or len(t) == len(first) for t in others)
    count = max(1, _most(first) // max(1, first[:1].numel()))
    parts = (repeat(None) if t is None else torch.split(t, count) for t in (first, *others))
    return zip(*parts, strict=False)


def _piece(x: Tensor, weight: Tensor | None, eps: float, cos: Tensor | None, sin: Tensor | None) -> Tensor:
    """Normed and turned, in float32."""
    x = x.float()
    if weight is not None:
        x = (x * _scale(x, eps)).mul_(weight)
    return x if cos is None or sin is None else _turned(x, cos, sin)


def _scale(x: Tensor, eps: float) -> Tensor:
    """What an RMS norm multiplies by."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def _turned(x: Tensor, cos: Tensor, sin: Tensor, back: bool = False) -> Tensor:
    """By the angles, or back again; float32."""
    sign, out = -1 if back else 1, x * cos
    (x_a, x_b), (out_a, out_b), (sin_a, sin_b) = x.chunk(2, -1), out.chunk(2, -1), sin.chunk(2, -1)
    out_a.addcmul_(x_b, sin_a, value=-sign)
    out_b.addcmul_(x_a, sin_b, value=sign)
    return out
