"""Norms and rotary positions in few passes: values and gradients of transformers' own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLTextRMSNorm,
    apply_rotary_pos_emb,
    apply_rotary_pos_emb_vision,
)

from policy import elementwise
from policy.attention import speed_up
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
    x, weight = torch.randn(3, 8, requires_grad=True), torch.ones(8)
    torch.autograd.backward(normed(x, weight, 1e-6, torch.float32).sum())
    assert weight.grad is None
    assert x.grad is not None and x.grad.abs().sum() > 0


def test_gradients_that_belong_to_others_stay_as_they_are() -> None:
    x, weight, (cos, sin) = torch.randn(6, 2, 8, requires_grad=True), torch.rand(8, requires_grad=True), angles(6, 4)
    given = torch.randn(6, 2, 8)
    before = given.clone()
    torch.autograd.backward(normed(x, weight, 1e-6, torch.float32), given)
    torch.autograd.backward(rotated(x, cos, sin, torch.float32, weight, 1e-6), given)
    assert torch.equal(given, before)


def test_a_bfloat16_weights_gradient_is_summed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """256 times 1 and then 256 pieces of 1: in bfloat16 256 + 1 is 256."""
    monkeypatch.setattr(elementwise, "PIECE", 2)
    x, weight = torch.ones(512, 2), torch.ones(2).bfloat16().requires_grad_()
    torch.autograd.backward(normed(x, weight, 0.0, torch.float32).sum())
    assert weight.grad is not None and weight.grad.tolist() == [512.0, 512.0]


def test_fewer_angles_than_positions_are_refused() -> None:
    """Not left out: what is not computed would be whatever lay in memory."""
    x, (cos, sin) = torch.randn(2, 600, 4, 64), angles(1, 600, 32)
    with pytest.raises(AssertionError, match="one angle"):
        rotated(x, cos, sin, torch.float32)


def test_no_rows_are_no_rows() -> None:
    x = torch.randn(0, 4, 8, requires_grad=True)
    out = rotated(x, *angles(0, 4), torch.float32, torch.ones(8), 1e-6)
    torch.autograd.backward(out.sum())
    assert out.shape == x.shape and x.grad is not None


def unlike_ours() -> Qwen3VLConfig:
    """What neither the shipped model nor our toys have: fewer key heads, deepstack, two frames a patch."""
    return Qwen3VLConfig(
        text_config={
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "vocab_size": 120,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
            "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": 32,
            "depth": 3,
            "num_heads": 2,
            "intermediate_size": 64,
            "out_hidden_size": 64,
            "patch_size": 8,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "deepstack_visual_indexes": [0, 1],
            "num_position_embeddings": 64,
        },
        image_token_id=5,
        video_token_id=6,
        vision_start_token_id=3,
        vision_end_token_id=4,
    )


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_whole_model_of_another_make_is_the_stock_one(checkpointing: bool) -> None:
    torch.manual_seed(0)
    stock: Any = Qwen3VLForConditionalGeneration(unlike_ours())
    with torch.no_grad():
        for name, parameter in stock.named_parameters():
            if "norm" in name and parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    ours: Any = copy.deepcopy(stock)
    stock.set_attn_implementation("eager")
    speed_up(ours)
    if checkpointing:
        ours.train()
        ours.activation_checkpointing_enable()
    ids = torch.randint(10, 100, (2, 60))
    ids[0, 5], ids[0, 6:22], ids[1, 9], ids[1, 10:18] = 3, 5, 3, 5  # pictures of 16 and 8 tokens
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == 5).int(),
        "pixel_values": torch.randn(64 + 32, 3 * 2 * 8 * 8),
        "image_grid_thw": torch.tensor([[1, 8, 8], [1, 8, 4]]),
    }
    ours_said, stock_said = (model(**inputs).logits for model in (ours, stock))
    torch.testing.assert_close(ours_said, stock_said, atol=1e-5, rtol=1e-4)
    weights = torch.randn(ours_said.shape)
    for said in (ours_said, stock_said):
        torch.autograd.backward((said * weights).sum())
    for (name, a), (_, b) in zip(ours.named_parameters(), stock.named_parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None and b.grad is not None:
            assert float((a.grad - b.grad).norm()) <= 1e-5 * float(b.grad.norm()) + 1e-6, name
