"""Algorithms: how the rewards of a batch become advantages. Everything else is the one loop.

The mathematics is in ``advantages.py``; here it meets the record. A new algorithm is one object in :data:`ALGORITHMS`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from episode import HandeyeError, Keyed, Scripted, Trajectory, nearest
from training.advantages import Norm, discounted_returns, gae, group_advantage, whiten
from training.config import Config
from training.distributed import gather_objects, rank
from training.rewards import RewardWeights, total


class UnknownAlgorithm(HandeyeError):
    """An algorithm was named that nobody wrote."""


class Algorithm(Protocol):
    """What the loop asks of an algorithm."""

    @property
    def summary(self) -> str:
        """One line for ``handeye list``."""

    @property
    def critic(self) -> bool:
        """Whether the policy carries a value head; ``Decision.value`` is then filled before :meth:`credit`."""

    @property
    def expert(self) -> bool:
        """Whether experts act instead of the policy, which then learns to say what they said."""

    @property
    def needs(self) -> tuple[type, ...]:
        """Capabilities of ``episode.py`` that every trained world must have."""

    def credit(self, trajectories: Sequence[Trajectory], config: Config) -> None:
        """Fill ``advantages`` (and ``ret``) of every decision of this rank's scored episodes.

        Advantages that are exactly 0 over a whole group leave it out of the update. Whatever counts the batch
        (whitening) must count it over all ranks: the update relies on it.
        """


def assign(trajectories: Sequence[Trajectory], values: NDArray[np.float64]) -> None:
    """Write one advantage a decision, [M], onto each of its reply tokens."""
    decisions = [d for t in trajectories for d in t.decisions]
    for decision, value in zip(decisions, values, strict=True):
        tokens = sum(len(g.reply_ids) for g in decision.generations)
        decision.advantages = np.full(tokens, value, np.float32)


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


@dataclass(frozen=True)
class GroupRelative:
    """Critic-free methods: an episode's return against its group's, and a decision's against its step group's."""

    summary: str
    norm: Norm = "mean_std"
    across: bool = False
    """One group: the whole batch, over all ranks (REINFORCE++)."""
    step_weight: float = 0.0
    """ω of the step term (GiGPO)."""
    step_norm: Norm = "mean_std"
    critic: bool = False
    expert: bool = False
    needs: tuple[type, ...] = ()

    def credit(self, trajectories: Sequence[Trajectory], config: Config) -> None:
        weights = RewardWeights(**config.reward)
        mine = np.array(
            [total(t, weights) * config.reward_scales.get(t.task.id, 1.0) for t in trajectories], np.float64
        )
        groups: list[Hashable] = [t.group for t in trajectories]
        if not self.across:
            # Groups never split over ranks.
            assign(trajectories, self._advantages(trajectories, mine, groups, config))
            return
        parts = gather_objects(mine)
        everyone = np.concatenate(parts)
        baseline = group_advantage(
            everyone, [0] * len(everyone), np.arange(len(everyone)), norm=self.norm, step_weight=0.0
        )
        start = sum(len(p) for p in parts[: rank()])
        assign(trajectories, baseline[start : start + len(mine)][owners(trajectories)])

    def _advantages(
        self,
        trajectories: Sequence[Trajectory],
        returns: NDArray[np.float64],
        groups: Sequence[Hashable],
        config: Config,
    ) -> NDArray[np.float64]:
        episodes = owners(trajectories)
        if not self.step_weight:
            return group_advantage(returns, groups, episodes, norm=self.norm)
        steps = steps_of(trajectories)
        step_returns = discounted_returns(rewards_of(trajectories), steps, episodes, config.gamma)
        for decision, value in zip((d for t in trajectories for d in t.decisions), step_returns, strict=True):
            decision.ret = float(value)
        return group_advantage(
            returns,
            groups,
            episodes,
            norm=self.norm,
            step_returns=step_returns,
            step_groups=[(t.group, d.state_key) for t in trajectories for d in t.decisions],
            step_norm=self.step_norm,
            step_weight=self.step_weight,
        )


@dataclass(frozen=True)
class ActorCritic:
    """PPO: generalised advantage estimation over decisions, whitened over the batch's tokens."""

    summary: str
    critic: bool = True
    expert: bool = False
    needs: tuple[type, ...] = ()

    def credit(self, trajectories: Sequence[Trajectory], config: Config) -> None:
        decisions = [d for t in trajectories for d in t.decisions]
        values = np.array([d.value for d in decisions], np.float64)
        advantages, targets = gae(
            rewards_of(trajectories), values, steps_of(trajectories), owners(trajectories), config.gamma, config.lam
        )
        for decision, target in zip(decisions, targets, strict=True):
            decision.ret = float(target)
        tokens = np.array([sum(len(g.reply_ids) for g in d.generations) for d in decisions], np.float64)
        parts = gather_objects((advantages, tokens))
        everyone = whiten(np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]))
        start = sum(len(p[0]) for p in parts[: rank()])
        assign(trajectories, everyone[start : start + len(advantages)])


@dataclass(frozen=True)
class Cloning:
    """Supervised: every token of an expert's successful episode weighs the same."""

    summary: str
    critic: bool = False
    expert: bool = True
    needs: tuple[type, ...] = (Scripted,)

    def credit(self, trajectories: Sequence[Trajectory], config: Config) -> None:
        assign(trajectories, np.array([t.success for t in trajectories], np.float64)[owners(trajectories)])


ALGORITHMS: dict[str, Algorithm] = {
    "grpo": GroupRelative("return against the group's mean, over its deviation (arXiv 2402.03300)"),
    "dr-grpo": GroupRelative("return against the group's mean (arXiv 2503.20783)", norm="mean"),
    "rloo": GroupRelative("return against the mean of the others (arXiv 2402.14740)", norm="leave_one_out"),
    "reinforce++": GroupRelative("return whitened over the batch (arXiv 2501.03262)", across=True),
    "gigpo": GroupRelative(
        "GRPO and a step term over equal states (arXiv 2505.10978)", step_weight=1.0, needs=(Keyed,)
    ),
    "ppo": ActorCritic("value head and generalised advantage estimation over turns (arXiv 1707.06347)"),
    "clone": Cloning("cross-entropy on experts' replies: the control"),
}
"""Algorithms by name. A user's module adds its own."""


def algorithm(name: str) -> Algorithm:
    """An algorithm by name.

    Raises:
        UnknownAlgorithm: there is none of that name; the nearest ones are named.
    """
    if name not in ALGORITHMS:
        raise UnknownAlgorithm(f"no algorithm {name!r}: {nearest(name, ALGORITHMS)}")
    return ALGORITHMS[name]
