"""Algorithms: how the rewards of a batch become advantages. Everything else is the one loop.

The mathematics is in ``advantages.py``; here it meets the record. A new algorithm is one object in :data:`ALGORITHMS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from episode import HandeyeError, Keyed, Privileged, Scripted, Trajectory, nearest
from training.advantages import Norm, bilevel_gae, discounted_returns, gae, group_advantage, token_gae, whiten
from training.batch import (
    assign,
    assign_replies,
    everyones,
    owners,
    returns_of,
    rewards_of,
    sampled_of,
    steps_of,
    terms_of,
)
from training.config import Config, ConfigError
from training.direct import DirectPreference
from training.distributed import gather_objects


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
    def grouped(self) -> bool:
        """Whether an episode is set against others of its group, which then needs at least two."""

    @property
    def expert(self) -> bool:
        """Whether experts act instead of the policy, which then learns to say what they said."""

    @property
    def direct(self) -> bool:
        """Whether the update is the log-likelihood weighted by the advantages, held against the policy at the start.

        ``Decision.reference_logps`` is then filled before :meth:`credit`, and nothing is clipped.
        """

    @property
    def judges(self) -> tuple[str, ...]:
        """Names of ``judges.JUDGES``: models that score the episodes before :meth:`credit` and learn, in this order."""

    @property
    def needs(self) -> tuple[type, ...]:
        """Capabilities of ``episode.py`` that every trained world must have.

        ``Privileged`` gives the critic, if there is one, the privileged state to see.
        """

    def credit(self, trajectories: Sequence[Trajectory], config: Config) -> None:
        """Fill ``advantages`` (and ``ret``) of every decision of this rank's scored episodes.

        Advantages that are exactly 0 over a whole group leave it out of the update. Whatever counts the batch
        (whitening) must count it over all ranks: the update relies on it.
        """


@dataclass(frozen=True)
class GroupRelative:
    """Critic-free methods: an episode's return against its group's, and a decision's against its step group's."""

    summary: str
    norm: Norm = "mean_std"
    step_weight: float = 0.0
    """ω of the step term (GiGPO)."""
    step_norm: Norm = "mean_std"
    critic: bool = False
    expert: bool = False
    direct: bool = False
    judges: tuple[str, ...] = ()
    needs: tuple[type, ...] = ()

    @property
    def grouped(self) -> bool:
        return self.norm != "none"

    def credit(self, trajectories: Sequence[Trajectory], config: Config) -> None:
        episodes, steps = owners(trajectories), steps_of(trajectories)
        step_returns = discounted_returns(rewards_of(trajectories), steps, episodes, config.gamma)
        for decision, value in zip((d for t in trajectories for d in t.decisions), step_returns, strict=True):
            decision.ret = float(value)
        advantages = group_advantage(
            returns_of(trajectories, config),
            [t.group for t in trajectories],  # groups never split over ranks
            episodes,
            norm=self.norm,
            step_returns=step_returns,
            step_groups=[(t.group, d.state_key) for t in trajectories for d in t.decisions],
            step_norm=self.step_norm,
            step_weight=self.step_weight,
        )
        assign(trajectories, advantages)


@dataclass(frozen=True)
class BatchRelative:
    """REINFORCE++: an episode's return whitened over the batch of all ranks, or over its part of one task and role.

    Left out of REINFORCE++ (arXiv 2501.03262): the KL penalty inside the reward (``--kl`` adds it to the loss), and
    weighing episodes by their tokens when the batch is whitened.
    """

    summary: str
    by_task_and_role: bool = False
    """Task-relative REINFORCE++ (Absolute Zero, arXiv 2505.03335): an episode counts once in each role it played."""
    critic: bool = False
    grouped: bool = False
    expert: bool = False
    direct: bool = False
    judges: tuple[str, ...] = ()
    needs: tuple[type, ...] = ()

    def credit(self, trajectories: Sequence[Trajectory], config: Config) -> None:
        by = self.by_task_and_role
        replies = [
            (i, g.role if by else "") for i, t in enumerate(trajectories) for d in t.decisions for g in d.generations
        ]
        pairs = {pair: number for number, pair in enumerate(dict.fromkeys(replies))}
        returns = returns_of(trajectories, config)[np.array([i for i, _ in pairs], np.int64)]
        everyone, mine = everyones(returns)
        keys = gather_objects([(trajectories[i].task.id if by else "", role) for i, role in pairs])
        advantages = group_advantage(everyone, [key for part in keys for key in part], np.arange(len(everyone)))[mine]
        assign_replies(trajectories, advantages[np.array([pairs[reply] for reply in replies], np.int64)])


@dataclass(frozen=True)
class ActorCritic:
    """PPO: generalised advantage estimation, whitened over the batch's sampled tokens.

    ``needs`` with ``Privileged`` makes the critic V(o, c): it sees the state that the policy does not.
    """

    summary: str
    level: Literal["turn", "token", "bilevel"] = "turn"
    """What has an advantage of its own: a turn (all of its tokens share it), a token, or a token within its turn."""
    pay: str = ""
    """A term of the record that is paid in place of the reward: what a judge gave."""
    critic: bool = True
    grouped: bool = False
    expert: bool = False
    direct: bool = False
    judges: tuple[str, ...] = ()
    needs: tuple[type, ...] = ()

    def credit(self, trajectories: Sequence[Trajectory], config: Config) -> None:
        (self._turns if self.level == "turn" else self._tokens)(trajectories, config)

    def _paid(self, trajectories: Sequence[Trajectory]) -> NDArray[np.float64]:
        return terms_of(trajectories, self.pay) if self.pay else rewards_of(trajectories)

    def _turns(self, trajectories: Sequence[Trajectory], config: Config) -> None:
        decisions = [d for t in trajectories for d in t.decisions]
        values = np.array([d.value for d in decisions], np.float64)
        advantages, targets = gae(
            self._paid(trajectories), values, steps_of(trajectories), owners(trajectories), config.gamma, config.lam
        )
        for decision, target in zip(decisions, targets, strict=True):
            decision.ret = float(target)
        tokens = np.array([sampled_of(d).sum() for d in decisions], np.float64)
        everyone, mine = everyones(advantages)
        assign(trajectories, whiten(everyone, everyones(tokens)[0])[mine])

    def _tokens(self, trajectories: Sequence[Trajectory], config: Config) -> None:
        decisions = [d for t in trajectories for d in t.decisions]
        masks = [sampled_of(d) for d in decisions]
        mask = np.concatenate([np.zeros(0, bool), *masks])  # a rank may be left without an episode
        values = [d.token_values for d in decisions if d.token_values is not None]
        advantages, targets = (token_gae if self.level == "token" else bilevel_gae)(
            self._paid(trajectories),
            np.concatenate([np.zeros(0), *values]).astype(np.float64),
            mask,
            steps_of(trajectories),
            np.repeat(np.arange(len(decisions)), [len(m) for m in masks]),
            owners(trajectories),
            config.gamma,
            config.lam,
        )
        everyone, mine = everyones(advantages)
        whitened = np.where(mask, whiten(everyone, everyones(mask.astype(np.float64))[0])[mine], 0.0)
        begins = np.cumsum([0, *(len(m) for m in masks)])
        for decision, begin, end in zip(decisions, begins[:-1], begins[1:], strict=True):
            decision.advantages = whitened[begin:end].astype(np.float32)
            decision.token_returns = targets[begin:end].astype(np.float32)


@dataclass(frozen=True)
class Cloning:
    """Supervised: every token of an expert's successful episode weighs the same."""

    summary: str
    critic: bool = False
    grouped: bool = False
    expert: bool = True
    direct: bool = False
    judges: tuple[str, ...] = ()
    needs: tuple[type, ...] = (Scripted,)

    def credit(self, trajectories: Sequence[Trajectory], config: Config) -> None:
        assign(trajectories, np.array([t.success for t in trajectories], np.float64)[owners(trajectories)])


ALGORITHMS: dict[str, Algorithm] = {
    "reinforce": GroupRelative("the episode's return and no baseline (Williams 1992)", norm="none"),
    "grpo": GroupRelative("return against the group's mean, over its deviation (arXiv 2402.03300)"),
    "dr_grpo": GroupRelative("return against the group's mean (arXiv 2503.20783)", norm="mean"),
    "rloo": GroupRelative("return against the mean of the others (arXiv 2402.14740)", norm="leave_one_out"),
    "reinforce_pp": BatchRelative("return whitened over the batch (arXiv 2501.03262)"),
    "reinforce_pp_task": BatchRelative(
        "return whitened over the batch's episodes of its task and role (arXiv 2505.03335)", by_task_and_role=True
    ),
    "gigpo": GroupRelative(
        "GRPO and a step term over equal states (arXiv 2505.10978)", step_weight=1.0, needs=(Keyed,)
    ),
    "ppo": ActorCritic("value head and generalised advantage estimation over turns (arXiv 1707.06347)"),
    "ppo_turn": ActorCritic(
        "value head and bi-level estimation: turns, and tokens within them (arXiv 2510.16907)", level="bilevel"
    ),
    "ppo_token": ActorCritic("value head and generalised advantage estimation over tokens", level="token"),
    "ppo_privileged": ActorCritic(
        "as ppo, with a critic that sees the privileged state (arXiv 1710.06542)", needs=(Privileged,)
    ),
    "dpo": DirectPreference("preferred against other episodes of a group, without a reward model (arXiv 2305.18290)"),
    "sweet": DirectPreference(
        "preferred against other turns in one state, by a privileged critic (arXiv 2503.15478)",
        level="turn",
        judges=("critic",),
        needs=(Keyed, Privileged),
    ),
    "rlhf": ActorCritic(
        "ppo, paid by a reward model that learns which episodes of a group are preferred (arXiv 2203.02155)",
        pay="preferred",
        grouped=True,
        judges=("reward_model",),
    ),
    "rlaif": ActorCritic(
        "as rlhf, with a learned goal verifier in place of whoever prefers (arXiv 2309.00267)",
        pay="preferred",
        grouped=True,
        judges=("verifier", "reward_model_ai"),
    ),
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


def require_fit(config: Config) -> None:
    """Complain about settings that the config's algorithm can do nothing with.

    Raises:
        ConfigError: a group of one where episodes of a group are compared, dynamic sampling where they are not,
            steps for judges where there are none, or episodes that weigh alike where two are compared.
    """
    name, size = config.algorithm, config.group_size
    grouped = algorithm(name).grouped
    if grouped and size < 2:
        raise ConfigError(
            f"{name} sets an episode against others of its group, and a group of {size} has none: --group-size 2 or "
            "more (8 is usual), or an algorithm without groups (reinforce_pp, ppo)"
        )
    if config.judge_steps and not algorithm(name).judges:
        judged = ", ".join(n for n, a in ALGORITHMS.items() if a.judges)
        raise ConfigError(f"{name} has no judges: --judge-steps 0, or an algorithm that has ({judged})")
    if config.aggregation == "sequence" and algorithm(name).direct:
        raise ConfigError(
            f"{name} compares two episodes token by token, and weighed as sequences the shorter one would pull harder: "
            "--aggregation token, or constant"
        )
    if config.resample and not grouped:
        raise ConfigError(
            f"{name} learns without groups, so that none of them can lack variance: --resample 0, or an algorithm with "
            "groups (grpo, gigpo)"
        )
