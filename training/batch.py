"""A batch of episodes as arrays, and arrays written back onto its record: what algorithms and judges stand on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from episode import Decision, Trajectory
from training.config import Config
from training.distributed import gather_objects, rank
from training.rewards import RewardWeights, total


def everyones(mine: NDArray[np.float64]) -> tuple[NDArray[np.float64], slice]:
    """The arrays of all ranks, one after another, and where this rank's lies among them."""
    parts = gather_objects(mine)
    start = sum(len(part) for part in parts[: rank()])
    return np.concatenate(parts), slice(start, start + len(mine))


def assign(trajectories: Sequence[Trajectory], values: NDArray[np.float64]) -> None:
    """Write one advantage a decision, [M], onto each of its reply tokens."""
    decisions = [d for t in trajectories for d in t.decisions]
    for decision, value in zip(decisions, values, strict=True):
        tokens = sum(len(g.reply_ids) for g in decision.generations)
        decision.advantages = np.full(tokens, value, np.float32)


def assign_replies(trajectories: Sequence[Trajectory], values: NDArray[np.float64]) -> None:
    """Write one advantage a generation, in the record's order, onto each of its tokens."""
    left = iter(values)
    for decision in (d for t in trajectories for d in t.decisions):
        parts = [np.full(len(g.reply_ids), next(left), np.float32) for g in decision.generations]
        decision.advantages = np.concatenate(parts or [np.zeros(0, np.float32)])


def sampled_of(decision: Decision) -> NDArray[np.bool_]:
    """[sum of R over generations] True where the policy sampled the token."""
    masks = [np.ones(len(g.reply_ids), np.bool_) if g.mask is None else g.mask for g in decision.generations]
    return np.concatenate(masks or [np.zeros(0, np.bool_)])


def owners(trajectories: Sequence[Trajectory]) -> NDArray[np.int64]:
    """[M] index of the episode to which each decision belongs."""
    return np.repeat(np.arange(len(trajectories)), np.array([len(t.decisions) for t in trajectories], np.int64))


def rewards_of(trajectories: Sequence[Trajectory]) -> NDArray[np.float64]:
    """[M] reward of every decision of scored episodes."""
    rewards = []
    for trajectory in trajectories:
        for decision in trajectory.decisions:
            assert decision.reward is not None, "score the episodes first"
            rewards.append(decision.reward)
    return np.array(rewards, np.float64)


def steps_of(trajectories: Sequence[Trajectory]) -> NDArray[np.int64]:
    """[M] control steps that every decision executed."""
    return np.array([len(d.steps) for t in trajectories for d in t.decisions], np.int64)


def returns_of(trajectories: Sequence[Trajectory], config: Config) -> NDArray[np.float64]:
    """[N] undiscounted return of every scored episode, at its task's scale."""
    weights = RewardWeights(**config.reward)
    return np.array([total(t, weights) * config.reward_scales.get(t.task.id, 1.0) for t in trajectories], np.float64)


def terms_of(trajectories: Sequence[Trajectory], name: str) -> NDArray[np.float64]:
    """[M] one agent-side term of every decision, 0 where it has none."""
    return np.array([d.terms.get(name, 0.0) for t in trajectories for d in t.decisions], np.float64)


def ratios_of(trajectories: Sequence[Trajectory]) -> NDArray[np.float64]:
    """[M] Σ over a decision's sampled tokens of log π − log π_ref, π as it was when it acted."""
    ratios = []
    for decision in (d for t in trajectories for d in t.decisions):
        assert decision.reference_logps is not None, "score the episodes by the reference first"
        logps = [np.zeros(len(g.reply_ids)) if g.logps is None else g.logps for g in decision.generations]
        mine = np.concatenate(logps or [np.zeros(0)]).astype(np.float64)
        ratios.append((mine - decision.reference_logps)[sampled_of(decision)].sum())
    return np.array(ratios, np.float64)
