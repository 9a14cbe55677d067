"""Expected values are worked by hand in the comments; properties are held against naive versions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.preferences import margins, preference_loss, pulls, ranked_pairs, ratio, sides, turn_advantage

LOGP = torch.tensor([[-1.0, -2.0, float("nan")], [-3.0, -0.5, -0.25]], dtype=torch.float64)
REFERENCE = torch.tensor([[-2.0, -2.5, 0.0], [-1.0, -1.0, -1.0]], dtype=torch.float64)
MASK = torch.tensor([[True, True, False], [True, False, True]])


def test_loss_by_hand() -> None:
    # σ(0) = 1/2: ln 2. σ(ln 3) = 3/4: ln(4/3), gradient 3/4 − 1. A margin of −1000 costs 1000 and does not overflow.
    margin = torch.tensor([0.0, math.log(3), -1000.0], dtype=torch.float64, requires_grad=True)
    loss = preference_loss(margin)
    torch.testing.assert_close(loss, torch.tensor([math.log(2), math.log(4 / 3), 1000.0], dtype=torch.float64))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert margin.grad is not None
    torch.testing.assert_close(margin.grad, torch.tensor([-0.5, -0.25, -1.0], dtype=torch.float64))


def test_ratios_by_hand_and_no_gradient_on_masked_tokens() -> None:
    # Row 0: (−1 + 2) + (−2 + 2.5) = 1.5. Row 1: (−3 + 1) + (−0.25 + 1) = −1.25. Means over two tokens: 0.75, −0.625.
    logp = LOGP.clone().requires_grad_()
    got = ratio(logp, REFERENCE, MASK)
    torch.testing.assert_close(got, torch.tensor([1.5, -1.25], dtype=torch.float64))
    torch.testing.assert_close(turn_advantage(LOGP, REFERENCE, MASK), got.detach() / 2)
    got.sum().backward()  # type: ignore[no-untyped-call]
    assert logp.grad is not None and logp.grad.tolist() == [[1, 1, 0], [1, 0, 1]]


def test_dpo_by_hand() -> None:
    # Chosen 1.5, rejected −1.25, β = 0.1: margin 0.275; −log σ = log(1 + e^−0.275) = 0.56507.
    margin = margins(ratio(LOGP, REFERENCE, MASK), [1, -1], [0, 0], 1, beta=0.1)
    assert margin.item() == pytest.approx(0.275) and preference_loss(margin).item() == pytest.approx(0.56507, abs=1e-5)


def test_sweet_critic_sums_turns_by_hand() -> None:
    # Pair 0: chosen turns 1 + 2, rejected 5: −2. Pair 1: chosen 4, rejected 1 + 1: 2.
    scores = torch.tensor([1.0, 2.0, 5.0, 4.0, 1.0, 1.0])
    assert margins(scores, [1, 1, -1, 1, -1, -1], [0, 0, 0, 1, 1, 1], 2).tolist() == [-2, 2]


def test_ranked_pairs_by_hand() -> None:
    # Turn a: 3, 1, 2, 0 → (3, 0) and (2, 1). Turn b: 5, 5 → none. Turn c: 1, 9, 4 → (9, 1), the 4 is left out.
    scores = np.array([3, 1, 5, 2, 0, 5, 1, 9, 4], np.float64)
    assert ranked_pairs(scores, list("aabaabccc")) == [(0, 4), (3, 1), (7, 6)]
    # Differences of 3 and 1: a tie of 1 leaves the first pair of turn a, and 5 the one of turn c.
    assert ranked_pairs(scores, list("aabaabccc"), tie=1.0) == [(0, 4), (7, 6)]
    assert ranked_pairs(scores, list("aabaabccc"), tie=5.0) == [(7, 6)]
    # What is no number has no rank and moves none: 3 against 1.
    assert ranked_pairs(np.array([3.0, np.nan, 2.0, 1.0, np.inf]), list("aaaaa")) == [(0, 3)]


def test_pulls_by_hand() -> None:
    # β = 2. Pair 0: margin 2 · (ln 3 / 2) = ln 3: 1 − σ = 1/4, so ±1/2. Pair 1: margin 0: ±1. The row of no pair: 0.
    scores = torch.tensor([math.log(3) / 2, 0.0, 7.0, 7.0, 99.0], dtype=torch.float64)
    got = pulls(scores, [1, -1, 1, -1, 0], [0, 0, 1, 1, 0], 2, beta=2.0)
    torch.testing.assert_close(got, torch.tensor([0.5, -0.5, 1.0, -1.0, 0.0], dtype=torch.float64))
    assert pulls(scores, [0] * 5, [0] * 5, 0).tolist() == [0] * 5


def test_sides_of_pairs_by_hand() -> None:
    side, pair = sides([(3, 0), (1, 4)], 5)
    assert side.tolist() == [-1, 1, 0, 1, -1] and pair.tolist() == [0, 1, 0, 0, 1]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(-1, 1), st.integers(0, 3)), min_size=1, max_size=12))
def test_pulls_are_minus_the_gradient(rows: list[tuple[float, int, int]]) -> None:
    scores = torch.tensor([x for x, _, _ in rows], dtype=torch.float64, requires_grad=True)
    side, pair = [s for _, s, _ in rows], [p for _, _, p in rows]
    [gradient] = torch.autograd.grad(preference_loss(margins(scores, side, pair, 4, beta=0.7)).sum(), [scores])
    torch.testing.assert_close(pulls(scores, side, pair, 4, beta=0.7), -gradient)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(-9, 9), st.booleans(), st.integers(0, 3)), min_size=1, max_size=12))
def test_margins_equal_their_definition(rows: list[tuple[float, bool, int]]) -> None:
    naive = [sum((x if chosen else -x) for x, chosen, pair in rows if pair == p) * 0.5 for p in range(4)]
    got = margins(
        torch.tensor([x for x, _, _ in rows], dtype=torch.float64),
        [1 if chosen else -1 for _, chosen, _ in rows],
        [pair for _, _, pair in rows],
        4,
        beta=0.5,
    )
    np.testing.assert_allclose(got, naive, atol=1e-12)


def test_a_reward_model_learns_a_hidden_preference_and_swapped_labels_teach_its_opposite() -> None:
    """Linear rewards on pairs of random features: held-out accuracy, with the labels right and swapped."""
    rng = np.random.default_rng(0)
    weights, first, second = rng.normal(size=6), rng.normal(size=(400, 6)), rng.normal(size=(400, 6))
    right = (first - second) @ weights > 0
    for swapped, (low, high) in ((False, (0.9, 1.0)), (True, (0.0, 0.1))):
        chosen = np.where((right != swapped)[:, None], first, second)
        rejected = np.where((right != swapped)[:, None], second, first)
        rows = torch.from_numpy(np.concatenate([chosen[:200], rejected[:200]]))
        model = torch.zeros(6, dtype=torch.float64, requires_grad=True)
        for _ in range(100):
            margin = margins(rows @ model, [1] * 200 + [-1] * 200, [*range(200)] * 2, 200)
            [gradient] = torch.autograd.grad(preference_loss(margin).mean(), [model])
            model = (model - gradient).detach().requires_grad_()
        score = (first[200:] - second[200:]) @ model.detach().numpy()
        assert low <= ((score > 0) == right[200:]).mean() <= high
