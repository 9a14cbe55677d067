"""What a step says about itself: figures by name, the same on every rank, free of wall-clock time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from episode import Outcome, Trajectory
from training.advantages import EQUAL, group_sizes
from training.distributed import gather_objects
from training.rewards import RewardWeights, raw_terms, total

Pairs = dict[str, tuple[float, float]]
"""Name to (sum, count)."""
SIZES = {"1": (1, 1), "2_to_3": (2, 3), "4_to_7": (4, 7), "8_up": (8, 10**9)}
"""Bins of the histogram of step groups: how many decisions of a group were taken in one state."""

SUMS = ("tokens", "env_steps", "episodes", "groups/broken", "infra/dropped", "infra/retried")
"""Figures that are counts, not means."""


def whole_groups(trajectories: Sequence[Trajectory]) -> tuple[list[Trajectory], list[Trajectory]]:
    """Episodes of groups in which every world stayed alive, and those of groups in which one did not."""
    broken = {t.group for t in trajectories if t.outcome is Outcome.INFRA_ERROR}
    return [t for t in trajectories if t.group not in broken], [t for t in trajectories if t.group in broken]


def step_metrics(
    trajectories: Sequence[Trajectory], dropped: Sequence[Trajectory], weights: RewardWeights, tie: float = 0.0
) -> dict[str, float]:
    """Figures of one collection over all ranks.

    Means an episode: ``success``, ``return``, ``turns``, ``progress`` and the raw ``reward`` terms, by task and world;
    means a decision: ``valid``, ``length``, ``step_groups/SIZE`` (share of decisions whose state was met that often in
    their group, where worlds have state keys); sums: ``tokens``, ``env_steps``, ``episodes``, ``groups/broken`` (left
    out because a world broke for good), ``infra/dropped`` (their episodes; with ``episodes`` these are all that were
    planned) and ``infra/retried`` (times that an episode was begun again because its world broke).

    Args:
        trajectories: this rank's scored episodes, broken groups left out.
        dropped: this rank's episodes of broken groups.
        weights: what ``return`` weighs.
        tie: returns that differ by no more are equal, in ``groups/without_variance``.
    """
    pairs: Pairs = {}
    for trajectory in trajectories:
        _add_episode(pairs, trajectory, weights)
    for spread in _spreads(trajectories, weights).values():
        _add(pairs, "groups/without_variance", float(spread <= tie + EQUAL))
    keys = [(t.group, d.state_key) for t in trajectories for d in t.decisions if d.state_key is not None]
    sizes = group_sizes(keys)
    for name, (low, high) in SIZES.items():
        _add(pairs, f"step_groups/{name}", float(((low <= sizes) & (sizes <= high)).sum()), len(keys))
    _add(pairs, "groups/broken", len({t.group for t in dropped}))
    _add(pairs, "infra/dropped", len(dropped))
    _add(pairs, "infra/retried", sum(t.attempts - 1 for t in (*trajectories, *dropped)))
    merged: Pairs = {}
    for part in gather_objects(pairs):
        for name, (value, count) in part.items():
            before = merged.get(name, (0.0, 0.0))
            merged[name] = before[0] + value, before[1] + count
    figures = {name: value if name in SUMS else value / count for name, (value, count) in sorted(merged.items())}
    return figures | _families(figures)


def _add(pairs: Pairs, name: str, value: float, count: float = 1.0) -> None:
    if not count:
        return
    before = pairs.get(name, (0.0, 0.0))
    pairs[name] = before[0] + value, before[1] + count


def _add_episode(pairs: Pairs, trajectory: Trajectory, weights: RewardWeights) -> None:
    task, decisions = trajectory.task.id, trajectory.decisions
    steps = [step for d in decisions for step in d.steps]
    for name, value in {
        "success": float(trajectory.success),
        "return": total(trajectory, weights),
        "turns": float(len(decisions)),
        "progress": steps[-1].progress if steps else 0.0,
    }.items():
        _add(pairs, f"{name}/{task}", value)
    _add(pairs, "return", total(trajectory, weights))
    for term, value in raw_terms(trajectory).items():
        _add(pairs, f"reward/{term}/{task}", value)
    _add(pairs, "valid", sum(d.valid for d in decisions), len(decisions))
    lengths = [len(g.reply_ids) for d in decisions for g in d.generations]
    _add(pairs, "length", sum(lengths), len(lengths))
    _add(pairs, "tokens", sum(lengths))
    _add(pairs, "env_steps", len(steps))
    _add(pairs, "episodes", 1)


def flat_groups(trajectories: Iterable[Trajectory], weights: RewardWeights, tie: float = 0.0) -> list[int]:
    """Groups whose episodes' returns all lie within ``tie`` (and rounding), in the order in which they were played."""
    return [group for group, spread in _spreads(trajectories, weights).items() if spread <= tie + EQUAL]


def _spreads(trajectories: Iterable[Trajectory], weights: RewardWeights) -> dict[int, float]:
    """Largest difference of returns within each group of several episodes."""
    groups: dict[int, list[float]] = {}
    for trajectory in trajectories:
        groups.setdefault(trajectory.group, []).append(total(trajectory, weights))
    return {group: max(values) - min(values) for group, values in groups.items() if len(values) > 1}


def _families(figures: dict[str, float]) -> dict[str, float]:
    """Mean success over the tasks of each world that were played: ``success/gui``, ``success/sims``."""
    families: dict[str, list[float]] = {}
    for name, value in figures.items():
        kind, _, task = name.partition("/")
        if kind == "success":
            families.setdefault(task.split("/")[0], []).append(value)
    return {f"success/{family}": float(np.mean(values)) for family, values in families.items()}
