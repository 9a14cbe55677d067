"""Reward terms by name, and their weighted sum.

Worlds return raw terms (``task``, ``subgoal``); the agent's own terms are computed here from the record. Weights live
in the preset. A new term is one function and one line in :data:`TERMS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from episode import HandeyeError, Trajectory, nearest

Term = Callable[[Trajectory, int], float]
"""The raw value of a term at decision ``index`` of an episode that has ended."""

ENVIRONMENT_TERMS: dict[str, str] = {
    "task": "1 + ΔΦ at the step that completes the task",
    "subgoal": "ΔΦ at every other step; negative when a sub-goal is lost",
}
"""Terms that worlds pay, by name; a user's world that pays others names them here."""


class UnknownTerm(HandeyeError):
    """A weight was given for a reward term that nobody computes."""


def format_term(trajectory: Trajectory, index: int) -> float:
    """1 where the reply was an action, else 0."""
    return float(trajectory.decisions[index].valid)


def invalid_term(trajectory: Trajectory, index: int) -> float:
    """1 where the reply was no action, else 0; its weight is a penalty, so negative."""
    return float(not trajectory.decisions[index].valid)


def turn_term(trajectory: Trajectory, index: int) -> float:
    """1 at every decision; its weight is the price of a turn, so negative: take the short path."""
    return 1.0


def length_term(trajectory: Trajectory, index: int) -> float:
    """Sampled tokens of the decision; its weight is a penalty, so negative and small."""
    generations = trajectory.decisions[index].generations
    return float(sum(len(g.reply_ids) if g.mask is None else int(g.mask.sum()) for g in generations))


TERMS: dict[str, Term] = {"format": format_term, "length": length_term, "invalid": invalid_term, "turn": turn_term}
"""Agent-side terms by name."""


class RewardWeights(Mapping[str, float]):
    """Weights by term: ``RewardWeights(task=1.0, subgoal=0.5)``.

    A world's terms without a weight are recorded and unpaid; an agent's are not even computed.

    Raises:
        UnknownTerm: a name is neither an environment's term nor one of :data:`TERMS`.
    """

    def __init__(self, **weights: float) -> None:
        known = [*ENVIRONMENT_TERMS, *TERMS]
        for name in weights:
            if name not in known:
                raise UnknownTerm(f"no reward term {name!r}: {nearest(name, known)}")
        self._weights = dict(weights)

    def __getitem__(self, name: str) -> float:
        return self._weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def of(self, terms: Mapping[str, float]) -> float:
        """Σ weight · term over the terms that have a weight."""
        return sum(self._weights.get(name, 0.0) * value for name, value in terms.items())


def score(trajectory: Trajectory, weights: RewardWeights, gamma: float = 1.0, scale: float = 1.0) -> None:
    """Fill ``terms`` and ``reward`` of every decision: r = scale · (agent terms + Σ_j γ^j · terms of step j).

    Args:
        trajectory: an episode that has ended.
        weights: weight by term.
        gamma: discount a control step, in (0, 1].
        scale: factor of this task's rewards.
    """
    for index, decision in enumerate(trajectory.decisions):
        decision.terms = {name: term(trajectory, index) for name, term in TERMS.items() if name in weights}
        paid = sum(gamma**j * weights.of(step.terms) for j, step in enumerate(decision.steps))
        decision.reward = scale * (weights.of(decision.terms) + paid)


def total(trajectory: Trajectory, weights: RewardWeights) -> float:
    """The undiscounted return of a scored episode: all steps' and decisions' terms, weighted."""
    return sum(
        weights.of(decision.terms) + sum(weights.of(step.terms) for step in decision.steps)
        for decision in trajectory.decisions
    )


def raw_terms(trajectory: Trajectory) -> dict[str, float]:
    """Each raw term summed over a scored episode, for the log."""
    sums: dict[str, float] = {}
    for decision in trajectory.decisions:
        for terms in (decision.terms, *(step.terms for step in decision.steps)):
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value
    return sums
