"""Expected values are worked by hand in the comments."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.losses import aggregate, clipped_surrogate, k3, masked, truncated_weight, value_loss


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def test_surrogate_by_hand() -> None:
    # Ratios 1.5, 1.5, 0.5, 0.5 with advantages 1, -1, 1, -1; ε = 0.2 below and 0.28 above.
    #  A =  1, ρ = 1.5: max(-1.5, -1.28) = -1.28, clipped
    #  A = -1, ρ = 1.5: max( 1.5,  1.28) =  1.5,  free: it must still come down
    #  A =  1, ρ = 0.5: max(-0.5, -0.8)  = -0.5,  free: it must still go up
    #  A = -1, ρ = 0.5: max( 0.5,  0.8)  =  0.8,  clipped
    ratio = row(1.5, 1.5, 0.5, 0.5)
    loss, stopped = clipped_surrogate(ratio.log(), torch.zeros_like(ratio), row(1, -1, 1, -1), 0.2, 0.28)
    torch.testing.assert_close(loss, row(-1.28, 1.5, -0.5, 0.8))
    assert stopped.tolist() == [[True, False, False, True]]


def test_dual_clip_bounds_what_a_bad_token_can_cost() -> None:
    # A = -2, ρ = 5: free loss 10, bound 3 · 2 = 6. With A = +2 nothing changes: max(-10, -2.4) = -2.4.
    loss, stopped = clipped_surrogate(row(5, 5).log(), row(0, 0), row(-2, 2), 0.2, 0.2, dual_clip=3.0)
    torch.testing.assert_close(loss, row(6, -2.4))
    assert stopped.tolist() == [[True, True]]


def test_surrogate_gradient_is_the_policy_gradient_where_nothing_moved() -> None:
    # At ρ = 1 the gradient by log π is -A; clipped tokens get none.
    logp = row(0.0, 0.0, math.log(2.0)).requires_grad_()
    loss, _ = clipped_surrogate(logp, row(0, 0, 0), row(3, -2, 1), 0.2, 0.2)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert logp.grad is not None
    torch.testing.assert_close(logp.grad, row(-3, 2, 0))


def test_k3_by_hand() -> None:
    # x = log other − log π = ln 2: 2 − ln 2 − 1. Equal: 0. Never negative.
    torch.testing.assert_close(k3(row(0, 1), row(math.log(2), 1)), row(1 - math.log(2), 0))
    assert (k3(torch.randn(100), torch.randn(100)) >= 0).all()


def test_value_loss_by_hand() -> None:
    # V = 3, old 1, G = 4, clip 0.5: free (3-4)² = 1, near = 1.5: 2.5² = 6.25; half the larger: 3.125. Off: 0.5.
    torch.testing.assert_close(value_loss(row(3)[0], row(1)[0], row(4)[0], 0.5), row(3.125)[0])
    torch.testing.assert_close(value_loss(row(3)[0], row(1)[0], row(4)[0], 0.0), row(0.5)[0])


def test_aggregations_by_hand() -> None:
    # Row 0: tokens 1, 2 and one masked; row 1: token 6.
    loss = torch.tensor([[1.0, 2.0, 100.0], [6.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    # Two rows of two episodes.
    two = {"tokens": 3.0, "rows": 2.0, "sequences": 2.0, "share_b": torch.tensor([0.5, 1.0])}
    assert aggregate(loss, mask, "token", **two).item() == 3.0  # type: ignore[arg-type] # 9 / 3
    assert aggregate(loss, mask, "sequence", **two).item() == 3.75  # type: ignore[arg-type] # (1.5 + 6) / 2
    assert aggregate(loss, mask, "constant", **two, constant=5.0).item() == pytest.approx(0.9)  # type: ignore[arg-type] # 9 / 10
    # Two turns of one episode: its mean is over the tokens of both.
    one = {"tokens": 3.0, "rows": 2.0, "sequences": 1.0, "share_b": torch.full((2,), 1 / 3)}
    assert aggregate(loss, mask, "sequence", **one).item() == pytest.approx(3.0)  # type: ignore[arg-type] # 9 / 3


@pytest.mark.parametrize("how", ["token", "sequence", "constant"])
def test_micro_batches_add_up_to_the_whole(how: str) -> None:
    torch.manual_seed(0)
    loss, mask = torch.randn(6, 4), torch.rand(6, 4) > 0.4
    counts, share = {"tokens": float(mask.sum()), "rows": 6.0, "sequences": 3.0}, torch.rand(6)
    whole = aggregate(loss, mask, how, **counts, share_b=share, constant=4)  # type: ignore[arg-type]
    parts = [
        aggregate(loss[i : i + 2], mask[i : i + 2], how, **counts, share_b=share[i : i + 2], constant=4)  # type: ignore[arg-type]
        for i in (0, 2, 4)
    ]
    torch.testing.assert_close(whole, torch.stack(parts).sum())


def test_masked_tokens_get_exactly_zero_gradient_whatever_stands_there() -> None:
    logp = torch.tensor([[-1.0, float("nan"), float("-inf"), -2.0]], requires_grad=True)
    mask = torch.tensor([[True, False, False, True]])
    kept, old = masked(logp, mask), torch.tensor([[-1.5, 0.0, 0.0, -2.0]])
    loss, _ = clipped_surrogate(kept, old, torch.tensor([[1.0, 9.0, 9.0, -1.0]]), 0.2, 0.2)
    penalty = k3(kept, torch.full_like(old, -3.0))
    total = aggregate(loss + penalty, mask, "token", tokens=2, rows=1, sequences=1, share_b=torch.ones(1))
    total.backward()  # type: ignore[no-untyped-call]
    assert logp.grad is not None and torch.isfinite(total)
    assert logp.grad[0, 1:3].tolist() == [0.0, 0.0]
    assert logp.grad[0, 0] != 0


def test_truncated_weights_by_hand() -> None:
    # Ratios 1/2, 1 and 4 with a cap of 2: 1/2, 1, 2, and no gradient through any of them.
    logp = row(math.log(0.5), -1.0, math.log(4.0)).requires_grad_()
    weight = truncated_weight(logp, row(0, -1, 0), cap=2.0)
    torch.testing.assert_close(weight, row(0.5, 1, 2))
    assert not weight.requires_grad


def test_truncated_weights_and_the_surrogate_make_the_off_policy_gradient() -> None:
    # At the start of the update ρ = 1, so the gradient by log π is −A · min(π/π_sampler, cap): −3 · 1/2 and 2 · 2.
    logp = row(math.log(0.5), math.log(4.0)).requires_grad_()
    loss, _ = clipped_surrogate(logp, logp.detach(), row(3, -2), 0.2, 0.2)
    (truncated_weight(logp, row(0, 0), cap=2.0) * loss).sum().backward()  # type: ignore[no-untyped-call]
    assert logp.grad is not None
    torch.testing.assert_close(logp.grad, row(-1.5, 4))
