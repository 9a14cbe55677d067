"""Expected values are worked by hand in the comments; properties are held against naive versions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.advantages import (
    bilevel_gae,
    discounted_returns,
    gae,
    group_advantage,
    group_sizes,
    normalise,
    token_gae,
    whiten,
)


def array(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(values, np.float64)


def ints(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


def test_norms_by_hand() -> None:
    # Group a: 1, 0, 0, 1: mean 1/2, deviations ±1/2, population deviation 1/2. Group b: one value.
    values, groups = array(1, 0, 7, 0, 1), ["a", "a", "b", "a", "a"]
    np.testing.assert_allclose(normalise(values, groups, "mean"), [0.5, -0.5, 0, -0.5, 0.5])
    # 1/2 / (1/2 + 1e-6) = 0.999998
    np.testing.assert_allclose(
        normalise(values, groups, "mean_std"), np.array([1, -1, 0, -1, 1]) * 0.999998, rtol=1e-9, atol=0
    )
    # First: the others' mean is (0 + 0 + 1) / 3 = 1/3, so 2/3. Second: the others' is 2/3.
    np.testing.assert_allclose(normalise(values, groups, "leave_one_out"), [2 / 3, -2 / 3, 0, -2 / 3, 2 / 3])


@pytest.mark.parametrize("how", ["mean", "mean_std", "leave_one_out"])
def test_equal_values_give_exactly_zero_despite_rounding(how: str) -> None:
    # The mean of three times 0.1 is not 0.1 in binary; divided by 1e-6 the rest would look like an advantage.
    assert not normalise(array(0.1, 0.1, 0.1), [0, 0, 0], how).any()  # type: ignore[arg-type]
    assert not normalise(array(0.1 + 0.2, 0.3), [0, 0], how).any()  # type: ignore[arg-type]


def test_grpo_is_broadcast_to_each_decision() -> None:
    # Episodes 0 and 1 are a group with returns 2 and 0; they have 2 and 1 decisions.
    advantage = group_advantage(array(2, 0), [5, 5], ints(0, 0, 1), norm="mean")
    np.testing.assert_allclose(advantage, [1, 1, -1])


def test_gigpo_by_hand() -> None:
    # Two episodes of one group, returns 1 and 0 -> ±1/2. Both begin in state s (G = 0.81 and 0.27, mean 0.54 -> ±0.27),
    # and go on in states u and v that nobody shares -> 0.
    advantage = group_advantage(
        array(1, 0),
        [0, 0],
        ints(0, 0, 1, 1),
        norm="mean",
        step_returns=array(0.81, 0.9, 0.27, 0.3),
        step_groups=["s", "u", "s", "v"],
        step_norm="mean",
        step_weight=1.0,
    )
    np.testing.assert_allclose(advantage, [0.5 + 0.27, 0.5, -0.5 - 0.27, -0.5])


def test_gigpo_with_distinct_keys_is_grpo() -> None:
    plain = group_advantage(array(1, 0), [0, 0], ints(0, 0, 1, 1))
    keyed = group_advantage(
        array(1, 0), [0, 0], ints(0, 0, 1, 1), step_returns=array(4, 3, 2, 1), step_groups=list("abcd"), step_weight=1.0
    )
    np.testing.assert_array_equal(plain, keyed)


def test_discounted_returns_count_control_steps() -> None:
    # γ = 1/2. Episode 0: r = 1 over 2 steps, then r = 4 over 1 step: G1 = 4, G0 = 1 + (1/2)² · 4 = 2. Episode 1: 3.
    got = discounted_returns(array(1, 4, 3), ints(2, 1, 1), ints(0, 0, 1), 0.5)
    np.testing.assert_allclose(got, [2, 4, 3])


def test_gae_by_hand() -> None:
    # γ = 1/2, λ = 1/2, V = 2, 4, rewards 1, 1, steps 2, 1 in one episode.
    # δ1 = 1 + 0 − 4 = −3, A1 = −3.
    # δ0 = 1 + 1/4 · 4 − 2 = 0, A0 = 0 + 1/4 · 1/2 · (−3) = −0.375.
    advantages, targets = gae(array(1, 1), array(2, 4), ints(2, 1), ints(0, 0), 0.5, 0.5)
    np.testing.assert_allclose(advantages, [-0.375, -3])
    np.testing.assert_allclose(targets, [1.625, 1])


def test_gae_ends_with_each_episode() -> None:
    # λ = 1, γ = 1: the target is the return of the own episode, whatever the values are.
    _, targets = gae(array(1, 2, 5), array(9, -3, 4), ints(1, 1, 1), ints(0, 0, 1), 1.0, 1.0)
    np.testing.assert_allclose(targets, [3, 2, 5])


def test_whiten_by_hand() -> None:
    # Weights 3 and 1: mean (3·0 + 1·4) / 4 = 1, variance (3·1 + 1·9) / 4 = 3.
    got = whiten(array(0, 4), array(3, 1))
    np.testing.assert_allclose(got, np.array([-1, 3]) / (math.sqrt(3) + 1e-6))
    assert not whiten(array(2, 2), array(1, 1)).any()
    assert whiten(array(), array()).shape == (0,)


episodes_of = st.lists(st.integers(1, 5), min_size=1, max_size=5)
real = st.floats(-5, 5, allow_nan=False).map(lambda x: round(x, 3))


@settings(max_examples=60)
@given(episodes_of, st.data(), st.floats(0.5, 1.0), st.floats(0.0, 1.0))
def test_gae_equals_its_definition(lengths: list[int], data: st.DataObject, gamma: float, lam: float) -> None:
    """A_t as the sum over all later δ, each with its product of discounts."""
    count = sum(lengths)
    rewards = array(*data.draw(st.lists(real, min_size=count, max_size=count)))
    values = array(*data.draw(st.lists(real, min_size=count, max_size=count)))
    steps = ints(*data.draw(st.lists(st.integers(1, 5), min_size=count, max_size=count)))
    owners = np.repeat(np.arange(len(lengths)), lengths)
    naive, start = np.zeros(count), 0
    for length in lengths:
        for t in range(start, start + length):
            weight = 1.0
            for u in range(t, start + length):
                following = values[u + 1] if u + 1 < start + length else 0.0
                naive[t] += weight * (rewards[u] + gamma ** steps[u] * following - values[u])
                weight *= gamma ** steps[u] * lam
        start += length
    advantages, targets = gae(rewards, values, steps, owners, gamma, lam)
    np.testing.assert_allclose(advantages, naive, atol=1e-9)
    np.testing.assert_allclose(targets, naive + values, atol=1e-9)


@settings(max_examples=60)
@given(st.lists(st.tuples(real, st.integers(0, 3)), min_size=1, max_size=12))
def test_norms_equal_their_definition(pairs: list[tuple[float, int]]) -> None:
    values, groups = array(*(p[0] for p in pairs)), [p[1] for p in pairs]
    for i, (value, group) in enumerate(pairs):
        mine = [v for v, g in pairs if g == group]
        others = [v for j, (v, g) in enumerate(pairs) if g == group and j != i]
        if max(mine) - min(mine) <= 1e-9:
            expected = {"mean": 0.0, "mean_std": 0.0, "leave_one_out": 0.0}
        else:
            centred = value - sum(mine) / len(mine)
            expected = {
                "mean": centred,
                "mean_std": centred / (float(np.std(mine)) + 1e-6),
                "leave_one_out": value - sum(others) / len(others),
            }
        for how, wanted in expected.items():
            assert normalise(values, groups, how)[i] == pytest.approx(wanted, abs=1e-6)  # type: ignore[arg-type]


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="2 groups"):
        normalise(array(1, 2, 3), [0, 0], "mean")
    with pytest.raises(ValueError, match="step_returns"):
        group_advantage(array(1), [0], ints(0), step_weight=1.0)


def test_reinforce_has_no_baseline() -> None:
    np.testing.assert_array_equal(normalise(array(2, 2, 0), [0, 0, 1], "none"), [2, 2, 0])
    np.testing.assert_array_equal(group_advantage(array(2, 3), [0, 0], ints(0, 1, 1), norm="none"), [2, 3, 3])


def test_task_relative_whitening_by_hand() -> None:
    # Two episodes of task a, one of which also proposes, and two of task b. Pairs of episode and role:
    # 0: a solve, 1; 1: a solve, 0; 2: a propose, 4 (alone: 0); 3: b solve, 10; 4: b solve, 30 (mean 20, deviation 10).
    pairs = [("a", "solve"), ("a", "solve"), ("a", "propose"), ("b", "solve"), ("b", "solve")]
    advantage = group_advantage(array(1, 0, 4, 10, 30), pairs, ints(0, 1, 1, 2, 3, 4))
    np.testing.assert_allclose(advantage, [1, -1, -1, 0, -1, 1], atol=3e-6)


def test_memagent_gives_each_context_its_samples_scalar() -> None:
    # Samples with rewards 1, 0, 0, 1 (mean 1/2) made 3, 1, 1 and 2 contexts.
    advantage = group_advantage(array(1, 0, 0, 1), [7] * 4, ints(0, 0, 0, 1, 2, 3, 3), norm="mean")
    np.testing.assert_allclose(advantage, [0.5, 0.5, 0.5, -0.5, -0.5, 0.5, 0.5])


def test_sizes_of_groups_by_hand() -> None:
    assert group_sizes(["s", "t", "s", "s", "u"]).tolist() == [3, 1, 3, 3, 1]
    assert group_sizes([]).tolist() == []


def test_token_gae_by_hand_through_a_masked_token() -> None:
    # Decision 0 of 2 steps, paid 1: tokens with V = 2, 7 (not sampled), 4. Decision 1 of 1 step, paid 1: V = 1.
    # γ = 1/2, λ = 1/2. From behind:
    #   token 3: δ = 1 + 0 − 1 = 0, A = 0
    #   token 2: δ = 1 + (1/2)² · 1 − 4 = −2.75, A = −2.75 + 1/4 · 1/2 · 0 = −2.75
    #   token 1: not sampled, 0
    #   token 0: δ = 0 + 4 − 2 = 2, A = 2 + 1/2 · (−2.75) = 0.625
    mask = np.array([True, False, True, True])
    got, targets = token_gae(
        array(1, 1), array(2, 7, 4, 1), mask, ints(2, 1), ints(0, 0, 0, 1), ints(0, 0), gamma=0.5, lam=0.5
    )
    np.testing.assert_allclose(got, [0.625, 0, -2.75, 0])
    np.testing.assert_allclose(targets, [2.625, 0, 1.25, 1])


def test_bilevel_gae_by_hand() -> None:
    # As above. Turns: V = 2 and 1. δ1 = 1 − 1 = 0, A1 = 0, G1 = 1. δ0 = 1 + 1/4 · 1 − 2 = −0.75 = A0, G0 = 1.25.
    # Tokens of decision 0, paid 1.25 at the last: token 2: 1.25 − 4 = −2.75; token 0: (4 − 2) + 1/2 · (−2.75) = 0.625.
    # Decision 1: 1 − 1 = 0. (Only with more turns do the two levels differ: below, by hypothesis.)
    mask = np.array([True, False, True, True])
    got, targets = bilevel_gae(
        array(1, 1), array(2, 7, 4, 1), mask, ints(2, 1), ints(0, 0, 0, 1), ints(0, 0), gamma=0.5, lam=0.5
    )
    np.testing.assert_allclose(got, [0.625, 0, -2.75, 0])
    np.testing.assert_allclose(targets, [2.625, 0, 1.25, 1])


def test_a_decision_that_nobody_sampled_pays_the_one_before() -> None:
    # γ = 1/2, λ = 1, V = 0 everywhere: A is the return. Decision 1 has only a forced token; its pay of 8 comes after
    # the 2 steps of decision 0: 1 + 1/4 · 8 = 3, then decision 2's 16 after 2 + 1 steps: 3 + 1/8 · 16 = 5.
    mask = np.array([True, False, True])
    for estimate in (token_gae, bilevel_gae):
        got, _ = estimate(array(1, 8, 16), np.zeros(3), mask, ints(2, 1, 1), ints(0, 1, 2), ints(0, 0, 0), 0.5, 1.0)
        np.testing.assert_allclose(got, [5, 0, 16])


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=3), st.data())
def test_token_and_bilevel_gae_equal_their_definition(shape: list[list[int]], data: st.DataObject) -> None:
    """Sums over all later δ, token by token, written out; each decision has at least one sampled token."""
    gamma, lam = 0.9, 0.7
    lengths = [n for episode in shape for n in episode]
    count, tokens = len(lengths), sum(lengths)
    episodes = np.repeat(np.arange(len(shape)), [len(e) for e in shape])
    decisions = np.repeat(np.arange(count), lengths)
    rewards = array(*data.draw(st.lists(real, min_size=count, max_size=count)))
    values = array(*data.draw(st.lists(real, min_size=tokens, max_size=tokens)))
    steps = ints(*data.draw(st.lists(st.integers(1, 3), min_size=count, max_size=count)))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=tokens, max_size=tokens)))
    mask[np.searchsorted(decisions, np.arange(count))] = True

    def chain(order: list[int], pay: dict[int, float], discount: dict[int, float]) -> dict[int, float]:
        out = {}
        for i, t in enumerate(order):
            out[t], weight = 0.0, 1.0
            for j in range(i, len(order)):
                u = order[j]
                following = values[order[j + 1]] if j + 1 < len(order) else 0.0
                out[t] += weight * (pay.get(u, 0.0) + discount.get(u, 1.0) * following - values[u])
                weight *= discount.get(u, 1.0) * lam
        return out

    sampled = [t for t in range(tokens) if mask[t]]
    of = {d: [t for t in sampled if decisions[t] == d] for d in range(count)}
    flat, nested = np.zeros(tokens), np.zeros(tokens)
    for e in range(len(shape)):
        mine = [d for d in range(count) if episodes[d] == e]
        lasts = {of[d][-1]: float(rewards[d]) for d in mine}
        decay = {of[d][-1]: gamma ** int(steps[d]) for d in mine}
        for t, a in chain([t for d in mine for t in of[d]], lasts, decay).items():
            flat[t] = a
        firsts = [of[d][0] for d in mine]
        turn = chain(
            firsts, {of[d][0]: float(rewards[d]) for d in mine}, {of[d][0]: gamma ** int(steps[d]) for d in mine}
        )
        for d in mine:
            for t, a in chain(of[d], {of[d][-1]: turn[of[d][0]] + values[of[d][0]]}, {}).items():
                nested[t] = a
    for estimate, expected in ((token_gae, flat), (bilevel_gae, nested)):
        got, targets = estimate(rewards, values, mask, steps, decisions, episodes, gamma, lam)
        np.testing.assert_allclose(got, expected, atol=1e-9)
        np.testing.assert_allclose(targets, np.where(mask, expected + values, 0), atol=1e-9)
