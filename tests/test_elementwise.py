"""Norms and rotary positions in few passes: values and gradients of transformers' own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLTextRMSNorm,
    apply_rotary_pos_emb,
    apply_rotary_pos_emb_vision,
)

from policy import elementwise
from policy.elementwise import normed, precision, rotated


def angles(*shape: int) -> tuple[Tensor, Tensor]:
    theta = torch.rand(*shape) * 6
    both = torch.cat([theta, theta], -1)
    return both.cos(), both.sin()


def graded(compute: Callable[..., Tensor], *given: Tensor) -> list[Tensor]:
    """A result and the gradients of one weighted sum of it."""
    leaves = [t.detach().clone().requires_grad_() for t in given]
    out = compute(*leaves)
    weights = torch.linspace(-1, 1, out.numel()).view(out.shape)
    found: list[Any] = list(torch.autograd.grad((out * weights).sum(), leaves))
    return [out.detach(), *found]


def agree(ours: list[Tensor], stock: list[Tensor]) -> None:
    for a, b in zip(ours, stock, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * max(1.0, float(b.abs().max())))


@given(rows=st.integers(1, 40), width=st.sampled_from([4, 6, 64]), piece=st.sampled_from([1, 64, 2**16]))
def test_a_norm_is_the_stock_one(rows: int, width: int, piece: int) -> None:
    torch.manual_seed(rows)
    norm = Qwen3VLTextRMSNorm(width, eps=1e-6)
    x, weight = torch.randn(2, rows, width), torch.rand(width) + 0.5

    def stock(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(norm, {"weight": weight}, (x,))  # type: ignore[no-any-return]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elementwise, "PIECE", piece)
        agree(graded(lambda x, w: normed(x, w, 1e-6, torch.float32), x, weight), graded(stock, x, weight))


@given(rows=st.integers(1, 20), heads=st.integers(1, 4), piece=st.sampled_from([1, 64, 2**16]))
def test_a_norm_with_rotary_positions_is_the_stock_one(rows: int, heads: int, piece: int) -> None:
    torch.manual_seed(rows)
    norm = Qwen3VLTextRMSNorm(16, eps=1e-6)
    x, weight, (cos, sin) = torch.randn(2, rows, heads, 16), torch.rand(16) + 0.5, angles(2, rows, 8)

    def stock(x: Tensor, weight: Tensor) -> Tensor:
        y = torch.func.functional_call(norm, {"weight": weight}, (x,)).transpose(1, 2)
        turned: Tensor = apply_rotary_pos_emb(y, y, cos, sin)[0]
        return turned.transpose(1, 2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elementwise, "PIECE", piece)
        agree(graded(lambda x, w: rotated(x, cos, sin, torch.float32, w, 1e-6), x, weight), graded(stock, x, weight))


def test_rotary_positions_of_a_part_of_a_tensor_are_the_stock_ones() -> None:
    whole, (cos, sin) = torch.randn(7, 3, 4, 8), angles(7, 4)
    agree(
        graded(lambda x: rotated(x[:, 1], cos, sin, torch.float32), whole),
        graded(lambda x: apply_rotary_pos_emb_vision(x[:, 1], x[:, 1], cos, sin)[0], whole),
    )


def test_turning_by_a_quarter() -> None:
    """By hand: the pair (x_0, x_2) turned by 90° is (−x_2, x_0), and (x_1, x_3), turned by nothing, stays."""
    cos, sin = torch.tensor([[0.0, 1.0, 0.0, 1.0]]), torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    x = torch.tensor([[[3.0, 5.0, 4.0, 6.0]]])
    assert rotated(x, cos, sin, torch.float32).tolist() == [[[-4.0, 5.0, 3.0, 6.0]]]


def test_a_norm_by_hand() -> None:
    """√(mean of 9 and 16) = √12.5; twice the second entry by its weight."""
    out = normed(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0]), 0.0, torch.float32)
    torch.testing.assert_close(out, torch.tensor([3.0, 8.0]) / 12.5**0.5)


def test_results_have_the_precision_that_is_asked_for_and_gradients_that_of_what_was_given() -> None:
    x, weight, (cos, sin) = torch.randn(5, 2, 8).bfloat16().requires_grad_(), torch.ones(8), angles(5, 4)
    weight.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        assert precision(weight) == torch.bfloat16
        out = rotated(x, cos, sin, torch.bfloat16, weight, 1e-6)
    assert out.dtype == torch.bfloat16
    torch.autograd.backward(out.sum())
    assert x.grad is not None and x.grad.dtype == torch.bfloat16
    assert weight.grad is not None and weight.grad.dtype == torch.float32
    assert precision(weight) == torch.float32


def test_a_frozen_weight_gets_no_gradient_and_lets_those_of_others_through() -> None:
    x = torch.randn(3, 8, requires_grad=True)
    torch.autograd.backward(normed(x, torch.ones(8), 1e-6, torch.float32).sum())
    assert x.grad is not None and x.grad.abs().sum() > 0
