"""What ``benchmarks/credit.py`` calls right, and what it reads off advantages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.credit import effect, judge, measure, same
from episode import screen_action
from training.config import preset
from training.players import player
from training.rewards import RewardWeights
from training.rollout import EpisodeSpec, run_episodes
from training.worlds import make


def test_effect_by_hand() -> None:
    # Two starts, the second 2 worth more whatever is done: right is worth 1 in both, and the size is sqrt(14 / 4).
    values, right = np.array([0.0, 1, 2, 3]), np.array([False, True, False, True])
    assert effect(values, right, [["a", "a", "b", "b"]]) == pytest.approx(1 / np.sqrt(14 / 4))
    # Left out, the start is taken for what was done where it goes along with it.
    late = np.array([False, False, True, True])
    assert effect(values, late, []) == pytest.approx(2 / np.sqrt(14 / 4))
    assert effect(np.zeros(4), right, []) == 0


def test_what_is_the_same_action() -> None:
    click = screen_action("click", 20, 30)
    assert same([click], [screen_action("click", 26, 24)])
    for other in (
        screen_action("click", 27, 30),
        screen_action("double_click", 20, 30),
        screen_action("type", 20, 30, text="a"),
    ):
        assert not same([click], [other])
    down, up = (screen_action("scroll", 20, 30, scroll=n) for n in (3, -2))
    assert same([down], [screen_action("scroll", 20, 30, scroll=1)]) and not same([down], [up])
    # An arm's: as many of the expert's motions as were made, and the gripper at the end of them.
    step, off = np.array([0.01, 0, 0, 1.0]), np.array([0.001, 0, 0, 0])
    assert same([step, step], [step, step + 19 * off, -step])
    assert not same([step, step], [step, step + 21 * off])
    assert not same([step], [step * [1, 1, 1, -1]])
    assert not same([], [step])


@pytest.mark.parametrize("task_id", ["gui/login-form-v0", "sims/press-button-v0"])
def test_the_expert_is_right_and_who_does_nothing_is_not(task_id: str) -> None:
    config, world = preset("default"), make(task_id)
    for name, least, most in (("expert", 1.0, 1.0), ("noop", 0.0, 0.2)):
        agent, _ = player(name)
        specs = [EpisodeSpec(task_id, seed, episode=i, group=seed) for i, seed in enumerate((3, 3, 4))]
        episodes = run_episodes(agent, specs, RewardWeights(**config.reward), 8)
        right = [r for s, e in zip(specs, episodes, strict=True) for r in judge(world, s.seed, e.decisions)]
        assert least <= np.mean(right) <= most
    world.close()


def test_a_model_is_measured_whole(model: Path) -> None:
    found = measure(str(model), ["gui/click-button-v0"], 2, ["grpo", "gigpo_progress"])["gui/click-button-v0"]
    assert found["decisions"] >= 8 and 0 <= found["right"] <= 1
    assert found["effects"].keys() == {"grpo", "gigpo_progress"} and np.isfinite(list(found["effects"].values())).all()
