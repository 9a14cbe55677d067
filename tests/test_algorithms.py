"""Credit on records made by hand: which number lands on which token, worked out in the comments."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pytest

from episode import ControlStep, Decision, Generation, Outcome, Task, Trajectory
from training.algorithms import ALGORITHMS, UnknownAlgorithm, algorithm
from training.config import Config
from training.metrics import step_metrics
from training.rewards import RewardWeights, score
from training.samples import samples_of

CONFIG = Config(reward={"task": 1.0}, gamma=0.5)


def decision(
    reward: float, key: Hashable = None, roles: Sequence[str] = ("act",), steps: int = 1, **more: Any
) -> Decision:
    """A turn of ``steps`` control steps, the last of which pays ``reward``; each role says two tokens."""
    said = [Generation(np.zeros(3, np.int32), np.zeros(2, np.int32), (), "", role=role) for role in roles]
    paid = [ControlStep(None, {"task": reward if j + 1 == steps else 0.0}, 0.0, 0.0) for j in range(steps)]
    return Decision({}, said, "", "", True, "", paid, steps, {}, state_key=key, **more)


def episode(*decisions: Decision, group: int = 0, task: str = "a") -> Trajectory:
    made = Trajectory(Task(task, "", (), 0), Outcome.TRUNCATED, list(decisions), {}, group=group)
    score(made, RewardWeights(**CONFIG.reward), CONFIG.gamma)
    return made


def credited(name: str, *episodes: Trajectory, config: Config = CONFIG) -> list[list[list[float]]]:
    """Advantages by episode, decision and token."""
    algorithm(name).credit(episodes, config)
    return [[[] if d.advantages is None else d.advantages.tolist() for d in e.decisions] for e in episodes]


def test_reinforce_pays_the_return_to_every_token() -> None:
    assert credited("reinforce", episode(decision(0), decision(3)), episode(decision(1), group=1)) == [
        [[3, 3], [3, 3]],
        [[1, 1]],
    ]


def test_gigpo_adds_the_step_term_by_hand() -> None:
    # Returns 1 and 0: ±1 (mean_std). Both begin in s: G = 0 + 1/2 · 1 = 1/2 and 0: ±1. Then u and v, alone: 0.
    # Group 1 meets s too, but another group's states are others.
    got = credited(
        "gigpo",
        episode(decision(0, "s"), decision(1, "u")),
        episode(decision(0, "s"), decision(0, "v")),
        episode(decision(5, "s"), group=1),
        episode(decision(5, "s"), group=1),
    )
    wanted = [[[2, 2], [1, 1]], [[-2, -2], [-1, -1]], [[0, 0]], [[0, 0]]]
    for mine, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_gigpo_with_all_keys_distinct_is_grpo() -> None:
    def batch() -> list[Trajectory]:
        return [episode(decision(0, (i, 0)), decision(float(i % 3), (i, 1)), group=i // 4) for i in range(8)]

    assert credited("gigpo", *batch()) == credited("grpo", *batch())


def test_roles_are_whitened_apart_and_land_on_their_own_tokens() -> None:
    # Task a: two episodes in which memory and actor speak, returns 3 and 1: ±1 in either role. Task b: a single
    # episode: 0. Over the whole batch (3, 1, 2): mean 2, deviation sqrt(2/3): 1.2247, −1.2247, 0.
    def batch() -> list[Trajectory]:
        both = ("memory", "act")
        return [episode(decision(3, roles=both)), episode(decision(1, roles=both)), episode(decision(2), task="b")]

    np.testing.assert_allclose(credited("reinforce_pp_task", *batch())[:2], [[[1] * 4], [[-1] * 4]], atol=1e-5)
    assert credited("reinforce_pp_task", *batch())[2] == [[0, 0]]
    np.testing.assert_allclose(credited("reinforce_pp", *batch())[0], [[1.2247] * 4], atol=1e-4)


def test_scales_of_tasks_scale_returns() -> None:
    # Whitened returns know no scale; without a baseline it shows.
    config = dataclasses.replace(CONFIG, reward_scales={"a": 2.0})
    assert credited("reinforce", episode(decision(3)), config=config) == [[[6, 6]]]


def test_histogram_of_step_groups_by_hand() -> None:
    # Group 0: s three times (twice in one episode), u once. Group 1: s once. A decision without a key is not counted.
    episodes = [
        episode(decision(0, "s"), decision(0, "s"), decision(0, "u")),
        episode(decision(0, "s"), decision(0)),
        episode(decision(0, "s"), group=1),
    ]
    figures = step_metrics(episodes, [], RewardWeights(**CONFIG.reward))
    got = {k: v for k, v in figures.items() if k.startswith("step_groups/")}
    assert got == {
        "step_groups/1": 0.4,
        "step_groups/2_to_3": 0.6,
        "step_groups/4_to_7": 0.0,
        "step_groups/8_up": 0.0,
    }


def test_a_misspelt_algorithm_names_the_nearest() -> None:
    with pytest.raises(UnknownAlgorithm, match="did you mean"):
        algorithm("dr-grpo")
    assert all(a.summary for a in ALGORITHMS.values())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_rank_without_an_episode_waits_for_the_others(name: str) -> None:
    assert credited(name) == []


def test_a_token_within_its_turn_by_hand() -> None:
    """What lands on the record: whitened advantages on sampled tokens, targets for the critic, 0 on the forced one."""
    # γ = 1, λ = 1, one turn paid 4 with tokens V = 1, 9 (forced), 3: A = 4 − 1 = 3, 0, 4 − 3 = 1. Whitened: ±1.
    for name in ("ppo_turn", "ppo_token"):
        turn = decision(4, roles=("act",), token_values=np.array([1, 9, 3], np.float32))
        turn.generations[0] = dataclasses.replace(
            turn.generations[0], reply_ids=np.zeros(3, np.int32), mask=np.array([True, False, True])
        )
        config = dataclasses.replace(CONFIG, gamma=1.0, lam=1.0)
        [[advantages]] = credited(name, episode(turn), config=config)
        np.testing.assert_allclose(advantages, [1, 0, -1], atol=2e-6)
        assert turn.token_returns is not None and turn.token_returns.tolist() == [4, 0, 4]
        [sample] = samples_of([episode(turn)], critic=True)
        assert sample.valued.tolist() == [True, False, True] and sample.targets.tolist() == [4, 0, 4]


def test_whitening_counts_the_tokens_that_were_sampled() -> None:
    """4 on two sampled tokens and a forced one, 1 on two: mean 2.5, deviation 1.5, and so ±1."""
    long, short = decision(4, roles=("act",), value=0.0), decision(1, roles=("act",), value=0.0)
    long.generations[0] = dataclasses.replace(
        long.generations[0], reply_ids=np.zeros(3, np.int32), mask=np.array([True, False, True])
    )
    [[first], [second]] = credited("ppo", episode(long), episode(short, group=1))
    assert first[0] == pytest.approx(1, abs=1e-5) and second == pytest.approx([-1, -1], abs=1e-5)


def test_a_turns_value_is_learned_before_the_first_token_of_its_last_reply() -> None:
    turn = decision(4, roles=("memory", "act"), token_values=np.array([5, 6, 1, 2], np.float32), value=1.0)
    credited("ppo", episode(turn))
    memory, act = samples_of([episode(turn)], critic=True)
    assert memory.valued.tolist() == [False, False] and act.valued.tolist() == [True, False]
    assert act.targets[0] == 4 and act.old_values[0] == 1


def spoken(reward: float, logp: float, **more: Any) -> Decision:
    """A turn of two tokens, each of log-prob ``logp``, where the policy at the start gave −1."""
    turn = decision(reward, **more)
    turn.generations[0] = dataclasses.replace(turn.generations[0], logps=np.full(2, logp, np.float32))
    turn.reference_logps = np.full(2, -1, np.float32)
    return turn


def test_dpo_pulls_chosen_up_and_rejected_down_by_hand() -> None:
    # Returns 3, 2, 1, 0, β = ln 3. First with last: chosen Σx = 2 · (−0.5 + 1) = 1 over one turn, rejected 0 over two
    # turns: margin ln 3, 1 − σ = 1/4: ± ln 3 / 4 = ± 0.27465. Second with third: margin 0: ± ln 3 / 2 = ± 0.54931.
    # Group 1: equal returns make no pair.
    def batch() -> list[Trajectory]:
        return [
            episode(spoken(3, -0.5)),
            episode(spoken(1, -1)),
            episode(spoken(2, -1)),
            episode(spoken(0, -1), spoken(0, -1)),
            episode(spoken(5, -3), group=1),
            episode(spoken(5, -4), group=1),
        ]

    config = dataclasses.replace(CONFIG, beta=np.log(3))
    got = credited("dpo", *batch(), config=config)
    wanted = [0.27465, -0.54931, 0.54931, -0.27465, 0, 0]
    for mine, value in zip(got, wanted, strict=True):
        np.testing.assert_allclose(mine, [[value] * 2] * len(mine), atol=1e-5)
    # Whoever prefers the opposite makes the same pairs the other way round: −margin, so 1 − σ = 3/4 in the first pair.
    got = credited("dpo", *batch(), config=dataclasses.replace(config, reward={"task": -1.0}))
    np.testing.assert_allclose([mine[0][0] for mine in got], [-0.82396, 0.54931, -0.54931, 0.82396, 0, 0], atol=1e-5)


def test_sweet_pairs_turns_in_one_state_by_the_critic() -> None:
    # Three episodes of a group begin in s; the critic ranks 2, 0, −1: best with worst, at margin 0 ± β/2, the middle is
    # left out. Then u twice in different groups, v twice with equal scores, and w twice with the same action: no pair.
    def judged(*turns: tuple[str, float], group: int = 0) -> Trajectory:
        made = episode(*(spoken(0, -1, key=key) for key, _ in turns), group=group)
        for d, (_, given) in zip(made.decisions, turns, strict=True):
            d.terms["critic"], d.action = given, "wait" if d.state_key == "w" else f"say {given}"
        return made

    episodes = [
        judged(("s", 2.0), ("v", 1.0)),
        judged(("s", -1.0), ("v", 1.0)),
        judged(("s", 0.0)),
        judged(("u", 9.0), group=1),
        judged(("u", 3.0), group=2),
        judged(("w", 5.0), group=3),
        judged(("w", 1.0), group=3),
    ]
    assert credited("sweet", *episodes, config=dataclasses.replace(CONFIG, beta=0.5)) == [
        [[0.25] * 2, [0] * 2],
        [[-0.25] * 2, [0] * 2],
        *[[[0] * 2]] * 5,
    ]


def test_what_a_judge_gave_is_paid_in_place_of_the_reward() -> None:
    # The reward would credit the first episode, the reward model prefers the second. γ = λ = 1, V = 0: A is the term.
    config = dataclasses.replace(CONFIG, gamma=1.0, lam=1.0)
    first, second = episode(decision(9, value=0.0)), episode(decision(0, value=0.0))
    first.decisions[0].terms["preferred"], second.decisions[0].terms["preferred"] = -1.0, 1.0
    np.testing.assert_allclose(credited("rlhf", first, second, config=config), [[[-1] * 2], [[1] * 2]], atol=1e-5)
    assert first.decisions[0].reward == 9 and second.decisions[0].ret == 1
