from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from policy.agent import NoopAgent
from tests import fake_worlds
from tests.fake_worlds import Strip
from tests.test_rollout import Expert, Wanderer
from training import worlds
from training.config import PRESETS, Config, ConfigError, dumps, preset
from training.curriculum import CurriculumError, plan, shown_groups, task_of_group
from training.evaluate import evaluate, family_means, wilson


@pytest.fixture(autouse=True)
def strip(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(worlds.TASKS, Strip.task_id, Strip)
    fake_worlds.BREAK.clear()
    yield


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe 1998, table I, method 3 (without continuity correction): 81/263, 15/148, 0/20, 1/29.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_against_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(n - successes, n)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_of_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_evaluation_counts_what_happened() -> None:
    seen: list[int] = []
    result = evaluate(Expert(), [Strip.task_id], "heldout", 6, on_episode=lambda i, t: seen.append(t.task.seed - i))
    figures = result["tasks"][Strip.task_id]
    assert figures == {
        "success": 1.0,
        "n": 6,
        "interval": list(wilson(6, 6)),
        "return": 2.0,
        "turns": 2.0,
        "infra_errors": 0,
    }
    assert seen == [1_000_000] * 6
    idle = evaluate(NoopAgent(), [Strip.task_id], "heldout", 2)["tasks"][Strip.task_id]
    assert idle["success"] == 0.0 and idle["turns"] == Strip.horizon and idle["return"] == 0.0
    assert family_means(result["tasks"]) == {"gui": 1.0}


def test_infra_errors_are_counted_and_left_out() -> None:
    fake_worlds.BREAK[1_000_001] = 3
    figures = evaluate(Expert(), [Strip.task_id], "heldout", 3)["tasks"][Strip.task_id]
    assert (figures["n"], figures["infra_errors"], figures["success"]) == (2, 1, 1.0)


def test_what_could_not_be_played_at_all_has_no_success() -> None:
    fake_worlds.BREAK.update({1_000_000: 3, 1_000_001: 3})
    tasks = evaluate(Expert(), [Strip.task_id], "heldout", 2)["tasks"]
    figures = tasks[Strip.task_id]
    assert (figures["n"], figures["infra_errors"], figures["success"], figures["return"]) == (0, 2, None, None)
    assert family_means(tasks) == {}


def test_an_agent_that_samples_is_evaluated_the_same_twice() -> None:
    results = [evaluate(Wanderer(), [Strip.task_id], "train", 8, 0, batch=b, run_seed=4) for b in (2, 64)]
    assert results[0] == results[1]


# --- which episodes are trained


def test_each_task_gets_its_share() -> None:
    config = Config(groups=8, task_weights={"a": 2.0, "b": 1.0, "c": 1.0})
    for step in range(5):
        assert task_of_group(config, ["a", "b", "c"], step) == ["a"] * 4 + ["b"] * 2 + ["c"] * 2
    none = Config(groups=4, task_weights={"a": 0.0})
    assert set(task_of_group(none, ["a", "b"], 0)) == {"b"}
    # 3 groups for 2 tasks: one or two each, three halves on average.
    counts = [task_of_group(Config(groups=3), ["a", "b"], step).count("a") for step in range(200)]
    assert set(counts) == {1, 2} and 1.4 < sum(counts) / 200 < 1.6


def test_groups_share_a_seed_and_episodes_are_numbered_through() -> None:
    config = Config(groups=4, group_size=3, seed=1)
    specs = plan(config, ["a", "b"], 2)
    assert [s.episode for s in specs] == list(range(24, 36)) and {s.group for s in specs} == {8, 9, 10, 11}
    assert len({s.seed for s in specs}) == 4 and all(s.seed < 1_000_000 and s.split == "train" for s in specs)
    assert specs == plan(config, ["a", "b"], 2) != plan(Config(groups=4, group_size=3, seed=2), ["a", "b"], 2)
    assert shown_groups(config, ["a", "b"], 2) == {8, 10}
    # With two rounds of resampling a step has 12 numbers: step 2 begins at 24, its second replacement at 32; group 3 of
    # the step is then number 35, of the same task as before and with a start of its own.
    again = plan(dataclasses.replace(config, resample=2), ["a", "b"], 2, again=[3], attempt=2)
    assert [(s.group, s.episode, s.task_id) for s in again] == [(35, 105, "b"), (35, 106, "b"), (35, 107, "b")]
    assert again[0].seed != specs[-1].seed


def test_weights_must_name_trained_tasks() -> None:
    with pytest.raises(CurriculumError, match="did you mean gui/click-button-v0"):
        plan(Config(task_weights={"gui/click-buton-v0": 2.0}), ["gui/click-button-v0"], 0)
    with pytest.raises(CurriculumError, match="nor all be 0"):
        plan(Config(task_weights={"a": 0.0}), ["a"], 0)


# --- presets


def test_presets_survive_json() -> None:
    import json

    for name, config in PRESETS.items():
        assert config.preset == name and Config.from_json(json.loads(dumps(config))) == config


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean default"):
        preset("defualt")
    with pytest.raises(ConfigError, match="did you mean learning_rate"):
        Config.from_json({"learnin_rate": 1.0})
    for wrong in ({"steps": 0}, {"temperature": 0.0}, {"gamma": 1.5}):
        with pytest.raises(ConfigError, match="must be"):
            Config(**wrong)
