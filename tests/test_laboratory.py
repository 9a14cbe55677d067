"""The laboratory's world is what it says: its gradient by hand, by enumeration, and by the mean over episodes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks import stats
from benchmarks.laboratory import curves, quality
from benchmarks.laboratory.__main__ import span
from benchmarks.laboratory.chain import ACTIONS, Chain, exact, gradients, play, softmax, success
from benchmarks.laboratory.estimators import ESTIMATORS, gigpo, grpo
from benchmarks.page import table


def test_one_place_and_one_step_by_hand() -> None:
    # One action of four leads past the last place. Uniform policy: J = 1/4; ∂J/∂θ_a = π_a (Q_a − 1/4): 3/16 for the
    # one that leads there, −1/16 for the others. With slip 1/2 J is the same; Q is 1/2 + 1/8 and 1/8: half of it.
    for slip, factor in ((0.0, 1.0), (0.5, 0.5)):
        world = Chain(1, 1, 0.0, slip)
        leads = world.shuffled(0)
        values, gradient = exact(world, leads, softmax(world.start(leads)))
        assert values.tolist() == [[0.25]]
        np.testing.assert_allclose(gradient, np.where(leads == 1, 3 / 16, -1 / 16) * factor)


@pytest.mark.parametrize("slip", [0.0, 0.3])
def test_success_and_gradient_by_enumerating_every_history(slip: float) -> None:
    world = Chain(2, 4, 0.7, slip)
    leads = world.shuffled(3)
    logits = world.start(leads) + np.random.default_rng(0).normal(size=leads.shape)

    def enumerated(theta: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        carried = (1 - slip) * softmax(theta) + slip / ACTIONS
        total = 0.0
        for actions in itertools.product(range(ACTIONS), repeat=world.horizon):
            here, probability = 0, 1.0
            for action in actions:
                if here < world.places:
                    probability *= carried[here, action]
                    here = leads[here, action]
                else:
                    probability /= ACTIONS  # the rest of the history does not matter: count each once in all
            total += probability * (here == world.places)
        return total

    policy = softmax(logits)
    values, gradient = exact(world, leads, policy)
    assert values[0, 0] == pytest.approx(enumerated(logits), abs=1e-12)
    assert success(world, leads[None], policy[None])[0] == pytest.approx(values[0, 0], abs=1e-12)
    for cell in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[cell] = 1e-5
        slope = (enumerated(logits + step) - enumerated(logits - step)) / 2e-5
        assert gradient[cell] == pytest.approx(slope, abs=1e-7)


def test_exact_values_give_the_true_gradient_on_average() -> None:
    world = Chain(3, 8, 0.5, 0.2)
    bench = quality.Bench(world, 400, 8)
    found = bench.judge(ESTIMATORS["exact value"])
    assert found["cosine_of_mean"] > 0.99
    assert abs(bench.batch.returns.mean() - bench.values[0, 0]) < 0.03


def test_episodes_hold_together() -> None:
    world = Chain(3, 12, 1.0)
    leads = world.shuffled(0)[None]
    played = play(world, leads, softmax(world.start(leads[0]))[None], np.zeros(50, np.int64), np.random.default_rng(0))
    assert played.last.sum() == 50 and (played.place < 3).all() and played.success.max() == 1
    follows = ~played.last[:-1]
    after = leads[0][played.place, played.action]
    assert (after[:-1][follows] == played.place[1:][follows]).all()
    assert (after[played.last] == played.reached).all()


def test_gigpo_is_grpo_where_no_moment_repeats() -> None:
    """One episode a group never leaves a place twice here: every key is distinct."""
    bench = quality.Bench(Chain(3, 9, 1.0), 20, 8)
    batch = bench.batch
    distinct = [(i,) for i in range(len(batch.rewards))]
    object.__setattr__(batch, "keys", lambda bins=0: distinct)
    np.testing.assert_array_equal(gigpo(batch), grpo(batch))


def test_gradients_of_owners_by_hand() -> None:
    # Two episodes of one decision in place 0 with actions 0 and 1, advantages 2 and −1, uniform policy:
    # 2 · (1{a=0} − 1/4) and −1 · (1{a=1} − 1/4).
    world = Chain(1, 1, 0.0)
    policy = softmax(np.zeros((1, 1, ACTIONS)))
    played = play(world, world.shuffled(0)[None], policy, np.zeros(2, np.int64), np.random.default_rng(0))
    played.action[:] = [0, 1]
    got = gradients(played, np.array([2.0, -1.0]), policy, np.zeros(2, np.int64), np.arange(2), 2)
    np.testing.assert_allclose(got[:, 0], [[1.5, -0.5, -0.5, -0.5], [0.25, -0.75, 0.25, 0.25]])


def test_learning_is_the_same_again_and_learns() -> None:
    world = Chain(4, 20, 0.8, 0.2)
    results = [curves.learn(world, curves.Arm("GiGPO"), [0, 1], np.array([10.0, 10.0]), 8) for _ in range(2)]
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert (results[0][0][-1] > results[0][0][0]).all() and (np.diff(results[0][1], axis=0) > 0).all()
    resampled = curves.learn(world, curves.Arm(resample=3), [0, 1], np.array([10.0, 10.0]), 8)
    plain = curves.learn(world, curves.Arm(), [0, 1], np.array([10.0, 10.0]), 8)
    assert resampled[2].played > plain[2].played == 8 * 2 * curves.GROUPS


def test_intervals_and_tables_by_hand() -> None:
    assert stats.interval(np.full(5, 2.0)) == (2.0, 2.0, 2.0)
    assert span([0.5, 0.25, 0.75]) == "0.50 (0.25 to 0.75)"
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
