"""The presets say what they are: every method by its name, and what sets it apart."""

from __future__ import annotations

import pytest

from training.algorithms import algorithm, require_fit
from training.config import GRPO, PRESETS, SUMMARIES


@pytest.mark.parametrize("name", [*PRESETS])
def test_every_preset_can_start_and_has_a_line(name: str) -> None:
    config = PRESETS[name]
    require_fit(config)
    assert config.preset == name and SUMMARIES[name] and algorithm(config.algorithm).summary


def test_methods_differ_from_grpo_where_they_should() -> None:
    def changed(name: str) -> dict[str, object]:
        mine, theirs = PRESETS[name].to_json(), GRPO.to_json()
        return {k: v for k, v in mine.items() if v != theirs[k] and k != "preset"}

    lone = {"groups": 128, "group_size": 1}
    ppo = {**lone, "minibatches": 2, "gamma": 0.99, "clip_high": 0.2}
    reward = {"task": 1.0, "subgoal": 1.0, "invalid": -0.1, "turn": -0.05}
    preference = {
        "groups": 16,
        "group_size": 8,
        "minibatches": 1,
        "reward": reward,
        "tie": 0.15,
        "kl": 0.0,
        "train_embeddings": True,
    }
    rlhf = {**preference, "minibatches": 2, "gamma": 0.99, "clip_high": 0.2, "kl": 0.05, "judge_steps": 16, "steps": 46}
    assert {name: changed(name) for name in PRESETS if name not in ("grpo", "debug")} == {
        "default": {"algorithm": "gigpo", "gamma": 0.95},
        "reinforce": {**lone, "algorithm": "reinforce"},
        "dr_grpo": {"algorithm": "dr_grpo", "aggregation": "constant"},
        "rloo": {"algorithm": "rloo"},
        "reinforce_pp": {**lone, "algorithm": "reinforce_pp"},
        "dapo": {"resample": 3},
        "gigpo": {"algorithm": "gigpo", "gamma": 0.95, "kl": 0.01},
        "ppo": {**ppo, "algorithm": "ppo"},
        "ppo_turn": {**ppo, "algorithm": "ppo_turn"},
        "ppo_privileged": {**ppo, "algorithm": "ppo_privileged"},
        "dpo": {**preference, "algorithm": "dpo"},
        "rlhf": {**rlhf, "algorithm": "rlhf"},
        "rlaif": {**{k: v for k, v in rlhf.items() if k != "tie"}, "algorithm": "rlaif"},
        "sweet": {**preference, "algorithm": "sweet", "judge_steps": 16, "steps": 46},
        "clone": {**lone, "algorithm": "clone", "train_embeddings": True, "kl": 0.0},
    }
