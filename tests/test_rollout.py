from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from episode import Generation, Outcome, Trajectory, screen_action
from policy.agent import Request, Turn
from policy.codecs.base import Reply
from tests import fake_worlds
from tests.fake_worlds import SIDE, Strip
from training import worlds
from training.metrics import step_metrics, whole_groups
from training.pool import WorldPool
from training.rewards import RewardWeights, UnknownTerm, score, total
from training.rollout import EpisodeSpec, collect, generation_seed, run_episodes
from training.worlds import UnknownTask, resolve

WEIGHTS = RewardWeights(task=1.0, subgoal=1.0)


class Wanderer:
    """Clicks left or right by its seed alone; now and then says nothing that is an action."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def act(self, requests: Sequence[Request]) -> list[Turn]:
        self.batches.append(len(requests))
        return [self._turn(request) for request in requests]

    def _turn(self, request: Request) -> Turn:
        rng = np.random.default_rng(request.seed)
        ids = np.array([1, 2], np.int32)
        generation = Generation(ids, ids, tuple(request.history[-1].frames.values()) if request.history else (), "x")
        if rng.random() < 0.1:
            return Turn([generation], Reply((screen_action("noop"),), "noop", "", False, "what?"))
        x = int(rng.integers(SIDE))
        return Turn([generation], Reply((screen_action("click", x=x, y=3),), f"click {x}", "", True, ""))


class Expert:
    def act(self, requests: Sequence[Request]) -> list[Turn]:
        return [Turn([], Reply(r.world.expert().actions, "go", "", True, "")) for r in requests]  # type: ignore[union-attr]


@pytest.fixture(autouse=True)
def strip(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(worlds.TASKS, Strip.task_id, Strip)
    fake_worlds.BREAK.clear()
    fake_worlds.MADE.clear()
    yield


def specs(groups: int, size: int) -> list[EpisodeSpec]:
    return [
        EpisodeSpec(Strip.task_id, seed=g, episode=g * size + m, group=g) for g in range(groups) for m in range(size)
    ]


def story(trajectory: Trajectory) -> Any:
    return (
        trajectory.task,
        trajectory.outcome,
        [(d.frames, d.action, d.state_key, d.steps[0].terms, d.steps[0].time) for d in trajectory.decisions],
    )


def test_an_episode_is_recorded_whole() -> None:
    (trajectory,) = run_episodes(Expert(), specs(1, 1), WEIGHTS)
    assert trajectory.outcome is Outcome.SUCCESS and len(trajectory.decisions) == 2
    first, last = trajectory.decisions
    assert (first.state_key, last.state_key) == ((2, 0), (1, 1)) or last.state_key == (3, 1)
    # Φ: 0 → 1/2 (moved) → 1 (arrived): pays 1/2, then 1 + 1/2.
    assert [d.steps[0].terms for d in trajectory.decisions] == [
        {"task": 0.0, "subgoal": 0.5},
        {"task": 1.5, "subgoal": 0.0},
    ]
    assert (first.reward, last.reward, total(trajectory, WEIGHTS)) == (0.5, 1.5, 2.0)
    assert [d.steps[0].time for d in trajectory.decisions] == [1.0, 2.0]
    assert last.subgoals == {"moved": True, "arrived": True}
    # Start, one step on, end: three distinct frames, each held once.
    assert len(trajectory.frames) == 3 and trajectory.final_frames["screen"] in trajectory.frames
    assert first.privileged is not None and first.privileged.tolist() == [2.0]


def test_the_batch_changes_nothing_and_order_is_logical() -> None:
    agents = [Wanderer(), Wanderer(), Wanderer()]
    played = [
        [story(t) for t in collect(agent, specs(4, 3), batch=batch, run_seed=7)]
        for agent, batch in zip(agents, (1, 5, 64), strict=True)
    ]
    assert played[0] == played[1] == played[2]
    assert max(agents[1].batches) == 5 and agents[2].batches[0] == 12
    other = [story(t) for t in collect(Wanderer(), specs(4, 3), run_seed=8)]
    assert other != played[0]


def test_worlds_are_reused_and_frames_drawn_once_a_decision() -> None:
    pool = WorldPool()
    for _ in range(3):
        trajectories = collect(Expert(), specs(2, 2), batch=2, pool=pool)
    assert len(fake_worlds.MADE) == 2
    # Each episode draws its start and one frame after each of its two decisions.
    assert sum(w.drawn for w in fake_worlds.MADE) == 3 * 4 * 3
    assert all(t.success for t in trajectories)
    pool.close()


def test_a_world_that_breaks_is_played_again() -> None:
    fake_worlds.BREAK[0] = 2
    trajectories = collect(Expert(), specs(2, 1))
    assert [t.outcome for t in trajectories] == [Outcome.SUCCESS, Outcome.SUCCESS]
    assert story(trajectories[0]) == story(collect(Expert(), specs(1, 1))[0])


def test_a_world_that_keeps_breaking_takes_its_group_with_it() -> None:
    fake_worlds.BREAK[1] = 5  # two episodes take turns breaking; one of them for the third time
    trajectories = run_episodes(Expert(), specs(3, 2), WEIGHTS)
    broken = [t for t in trajectories if t.outcome is Outcome.INFRA_ERROR]
    assert [(t.group, t.attempts) for t in broken] == [(1, 3), (1, 2)] or [t.attempts for t in broken] == [2, 3]
    assert all("the strip snapped" in t.error and "seed 1" in t.error for t in broken)
    kept, dropped = whole_groups(trajectories)
    assert dropped == broken and {t.group for t in kept} == {0, 2} and len(kept) == 4
    figures = step_metrics(kept, dropped, WEIGHTS)
    assert figures["infra/dropped"] == 2 and figures["infra/retried"] == 3
    assert figures["groups/broken"] == 1 and figures["success/gui"] == 1.0 and figures["episodes"] == 4
    assert figures["groups/without_variance"] == 1.0 and figures["turns/gui/strip-v0"] == 2.0


def test_an_invalid_reply_is_a_no_op_and_costs_what_the_weights_say() -> None:
    trajectories = collect(Wanderer(), specs(6, 4), run_seed=3)
    weights = RewardWeights(task=1.0, subgoal=1.0, invalid=-0.25, format=0.5, length=-0.125)
    decisions = []
    for trajectory in trajectories:
        score(trajectory, weights)
        decisions += trajectory.decisions
    bad = next(d for d in decisions if not d.valid)
    assert bad.steps[0].terms == {"task": 0.0, "subgoal": 0.0} and bad.error == "what?"
    assert bad.terms == {"format": 0.0, "length": 2.0, "invalid": 1.0}
    assert bad.reward == -0.25 - 0.125 * 2


def test_rewards_within_a_chunk_are_discounted() -> None:
    (trajectory,) = collect(Expert(), specs(1, 1))
    decision = trajectory.decisions[0]
    decision.steps = decision.steps * 3  # pays 0.5 three times; γ = 1/2: 0.5 + 0.25 + 0.125
    score(trajectory, WEIGHTS, gamma=0.5, scale=2.0)
    assert decision.reward == 2 * 0.875


def test_generation_seeds_are_keyed() -> None:
    seeds = {generation_seed(r, e, d) for r in range(3) for e in range(5) for d in range(5)}
    assert len(seeds) == 75 and generation_seed(1, 2, 3) == generation_seed(1, 2, 3)


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownTerm, match="did you mean subgoal"):
        RewardWeights(subgaol=1.0)
    with pytest.raises(UnknownTask, match="did you mean gui/strip-v0"):
        worlds.make("gui/stripe-v0")
    with pytest.raises(UnknownTask, match="gui/strip-v0"):
        resolve("gui/strip-v1")
    assert resolve("gui/strip-v0, gui/strip-v0") == ["gui/strip-v0"]
    assert "gui/strip-v0" in resolve("gui") and resolve("all") == list(worlds.all_tasks())
