"""What a run says of itself: signs in its figures, what is not finite, and whether anything was learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.synthetic import screen_episode
from training import guards
from training.advantages import normalise
from training.guards import WINDOW, forget, learned, signs

WEIGHTS = {"task": 1.0, "subgoal": 1.0, "invalid": -0.1}


def line(**figures: float | None) -> dict[str, Any]:
    fine: dict[str, float | None] = {"entropy": 1.0, "valid": 0.9, "sees/change": 0.1, "sees/blank": 0.0}
    return fine | {name.replace("__", "/"): value for name, value in figures.items()}


def success(value: float, subgoal: float) -> dict[str, Any]:
    # Families are means of tasks, not tasks: they must not count twice.
    task = {"success/gui/a": value, "success/gui": 9.0, "reward/subgoal/gui/a": subgoal, "reward/invalid/gui/a": 0.5}
    return line() | task


def test_a_fine_run_warns_of_nothing() -> None:
    assert signs([line()] * 3 * WINDOW, WEIGHTS) == {}
    assert signs([line(logp_difference__mean=None, entropy=None, valid=None)] * 3 * WINDOW, WEIGHTS) == {}


@pytest.mark.parametrize(
    ("name", "last", "says"),
    [
        ("blind", line(sees__change=0.0), "do not reach the model"),
        ("blank", line(sees__blank=1.0), "single colour"),
        ("mismatch", line(logp_difference__mean=0.04), "differ by 0.040 nats"),
    ],
)
def test_signs_of_one_step(name: str, last: dict[str, Any], says: str) -> None:
    found = signs([line(), last], WEIGHTS)
    assert list(found) == [name] and says in found[name]
    assert signs([last, line()], WEIGHTS) == {}


def test_replies_that_are_no_action_and_entropy_that_collapses() -> None:
    assert "only 20% of the replies" in signs([line(valid=0.2)] * WINDOW, WEIGHTS)["valid"]
    assert signs([line(valid=0.2)] * (WINDOW - 1), WEIGHTS) == {}  # too early to say
    fallen = [line(entropy=2.0)] * WINDOW + [line(entropy=0.1)] * WINDOW  # a twentieth
    assert "from 2 to 0.1 nats" in signs(fallen, WEIGHTS)["entropy"]
    assert signs([line(entropy=2.0)] * WINDOW + [line(entropy=0.5)] * WINDOW, WEIGHTS) == {}
    # Judges learned alone before: those steps have no entropy, and the first window begins behind them.
    judged = [{k: v for k, v in line().items() if k != "entropy"}] * 16 + fallen
    forget(judged)
    assert "from 2 to 0.1 nats" in signs(judged, WEIGHTS)["entropy"]


@given(st.lists(st.tuples(*[st.sampled_from((0.02, 0.3, 0.6, 1.0))] * 3), min_size=1, max_size=8 * WINDOW))
def test_signs_are_the_same_of_what_is_kept(figures: list[tuple[float, float, float]]) -> None:
    lines = [success(a, b) | {"entropy": c} for a, b, c in figures]
    kept: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        kept.append(line)
        forget(kept)
        assert len(kept) <= 3 * WINDOW
        assert signs(kept, WEIGHTS) == signs(lines[:number], WEIGHTS)


def test_a_term_that_rises_while_success_falls_is_a_sign_of_hacking() -> None:
    before, after = [success(0.6, 0.2)] * WINDOW, [success(0.4, 0.5)] * WINDOW
    found = signs([*before, *after], WEIGHTS)
    assert list(found) == ["hacking/subgoal"]
    assert "rose from 0.2 to 0.5 while success fell from 60% to 40%" in found["hacking/subgoal"]
    assert signs([*before, *after], WEIGHTS | {"subgoal": 0.0}) == {}  # unpaid
    assert signs([*after, *before], WEIGHTS) == {}  # both the other way round
    assert signs([*before, *[success(0.7, 0.5)] * WINDOW], WEIGHTS) == {}  # both rise
    # Success 0.9, 0.1, ...: mean 0.5 with a standard error of some 0.2; a fall to 0.4 is noise.
    noisy = [success(0.9 if i % 2 else 0.1, 0.2) for i in range(WINDOW)]
    assert signs([*noisy, *after], WEIGHTS) == {}


def test_chance_alone_is_hardly_ever_taken_for_hacking() -> None:
    """Of 100 runs of 40 steps without a trend; at two standard errors five were accused."""
    rng, accused = np.random.default_rng(0), 0
    for _ in range(100):
        lines = [success(rng.binomial(128, 0.8) / 128, rng.normal(0.5, 0.05)) for _ in range(40)]
        accused += any(signs(lines[: n + 1], WEIGHTS) for n in range(2 * WINDOW - 1, 40))
    assert accused <= 1


def test_what_is_not_finite_is_named() -> None:
    episode = screen_episode()
    assert guards.culprit([episode]) == ""
    episode.decisions[1].terms["length"] = float("nan")
    task = episode.task
    assert guards.culprit([episode]) == (
        f"the reward term 'length' of {task.id}, seed {task.seed}, decision 1 is not finite"
    )
    layer = torch.nn.Linear(2, 2)
    assert guards.bad_weight(layer) == ""
    with torch.no_grad():
        layer.bias[1] = float("inf")
    assert guards.bad_weight(layer) == "bias"


def test_a_return_that_is_not_finite_is_not_taken_for_no_variance() -> None:
    values = normalise(np.array([1.0, np.nan, 2.0, 2.0]), [0, 0, 1, 1], "mean_std")
    assert np.isnan(values[:2]).all() and (values[2:] == 0).all()


def evaluation(**shares: tuple[float, int]) -> dict[str, dict[str, Any]]:
    return {name.replace("__", "/"): {"success": share, "n": n} for name, (share, n) in shares.items()}


def test_whether_a_run_learned() -> None:
    before = evaluation(gui__a=(0.5, 100), gui__b=(0.5, 100), sims__c=(0.2, 100))
    # 100 of 200 and again: the Wilson bounds at 1.645 lie .058 away, so that a rise of √2 · .058 = .08 may be chance.
    same = learned(before, before, 10, 10)
    assert same[0] is None and "a rise of 9% is within chance (gui 50% → 50%; sims 20% → 20%)" in same[1]
    # With 2,000 they lie .018 from it: more than .026 is ruled out.
    many = {task: {"success": v["success"], "n": 2000} for task, v in before.items()}
    assert learned(many, many, 10, 10)[0] is False
    # gui/b: z = .2 / sqrt(.6 · .4 · 2 / 100) = 2.89, above 2.33, the 1 % point (5 % over 3 tasks and 2 worlds).
    risen = learned(before, before | evaluation(gui__b=(0.7, 100)), 10, 10)
    assert risen[0] is True and "gui/b 50% → 70%" in risen[1]
    # z = .1 / sqrt(.55 · .45 · 2 / 100) = 1.42 for the task, and 1.00 for the world.
    assert learned(before, before | evaluation(gui__b=(0.6, 100)), 10, 10)[0] is None
    fallen = {
        "gui/a": {"success": 0.2, "n": 100},
        "gui/b": {"success": 0.1, "n": 100},
        "sims/c": {"success": 0.0, "n": 100},
    }
    assert learned(before, fallen, 10, 10)[0] is False
    # Few episodes say too little, unless they say it loudly: 0 of 8 → 8 of 8 is z = 4.
    few = evaluation(gui__a=(0.0, 8))
    assert learned(few, few, 10, 10)[0] is None
    assert learned(few, evaluation(gui__a=(1.0, 8)), 10, 10)[0] is True
    assert learned({}, {}, 10, 10)[0] is None
    # Without an optimiser step nothing can have been learned; two steps are too short a run to blame.
    assert learned({}, {}, 0, 5)[0] is False and learned({}, {}, 0, 2)[0] is None
