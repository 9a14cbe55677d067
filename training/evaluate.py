"""Evaluation: success rates on given seeds with Wilson intervals, the work split over the ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from episode import HandeyeError, Outcome, Split, Trajectory
from policy.agent import Agent
from training.distributed import gather_objects, share
from training.pool import WorldPool
from training.rewards import RewardWeights, total
from training.rollout import EpisodeSpec, run_episodes

HELD_OUT_SEED = 1_000_000
"""Seeds from here on are never trained on."""
RETURN = RewardWeights(task=1.0, subgoal=1.0)
"""What ``return`` means in an evaluation, whatever a run was trained on."""


class Unsound(HandeyeError):
    """A model's output is not finite, so that its success says nothing."""


def wilson(successes: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The Wilson score interval (95 %) of a success rate; (0, 1) where nothing was tried."""
    if n == 0:
        return 0.0, 1.0
    p, square = successes / n, z * z
    centre = (p + square / (2 * n)) / (1 + square / n)
    half = z * math.sqrt(p * (1 - p) / n + square / (4 * n * n)) / (1 + square / n)
    # At the ends the formula gives 0 and 1 but for rounding.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def evaluate(
    agent: Agent,
    task_ids: Sequence[str],
    split: Split,
    episodes: int,
    seed0: int = HELD_OUT_SEED,
    *,
    batch: int = 64,
    run_seed: int = 0,
    pool: WorldPool | None = None,
    on_turn: Callable[[int, int], None] | None = None,
    on_episode: Callable[[int, Trajectory], None] | None = None,
) -> dict[str, Any]:
    """Play ``episodes`` episodes a task, seeds ``seed0``, ``seed0 + 1``, ….

    Episodes that end as ``infra_error`` are left out of every figure and counted.

    Args:
        agent: who acts.
        task_ids: which tasks.
        split: which pools of words, colours and layouts.
        episodes: episodes a task.
        seed0: first seed.
        batch: episodes alive at once on a rank.
        run_seed: keys the draws of an agent that samples.
        pool: worlds to reuse.
        on_turn: see ``rollout.collect``.
        on_episode: called on the rank that played it, with the number of the episode within its task.

    Returns:
        ``{"tasks": {ID: {"success", "n", "interval", "return", "turns", "infra_errors"}}}``, the same on every rank.
        Means over no episode (``n`` is 0) are None.

    Raises:
        Unsound: the model's output was not finite.
    """
    # Task by task in turn, so that ranks and batches get an even mix.
    everything = [(task_id, i) for i in range(episodes) for task_id in task_ids]
    mine = [everything[k] for k in share(len(everything))]
    specs = [
        EpisodeSpec(task_id, seed0 + i, split, episode=i * len(task_ids) + task_ids.index(task_id), group=k)
        for k, (task_id, i) in enumerate(mine)
    ]
    trajectories = run_episodes(agent, specs, RETURN, batch, on_turn, run_seed=run_seed, pool=pool)
    if on_episode is not None:
        for (_, i), trajectory in zip(mine, trajectories, strict=True):
            on_episode(i, trajectory)
    rows = [
        (key, t.outcome.value, total(t, RETURN), len(t.decisions)) for key, t in zip(mine, trajectories, strict=True)
    ]
    if broken := next((key for part in gather_objects(list(map(_unsound, trajectories))) for key in part if key), ""):
        raise Unsound(
            f"in {broken} the model's log-probs are not finite: what it says is noise, not a failure. "
            "Give another checkpoint, or train again with --bf16 False"
        )
    # Sorted: what is summed, and in which order, must not depend on how many ranks there are.
    played = sorted(row for part in gather_objects(rows) for row in part)
    return {"tasks": {task_id: _figures([r for r in played if r[0][0] == task_id]) for task_id in task_ids}}


def _unsound(trajectory: Trajectory) -> str:
    """The task in which the model said something of a probability that is no number; empty where it did not."""
    said = (g.logps for decision in trajectory.decisions for g in decision.generations)
    sound = all(logps is None or np.isfinite(logps).all() for logps in said)
    return "" if sound else trajectory.task.id


def _figures(rows: Sequence[tuple[tuple[str, int], str, float, int]]) -> dict[str, Any]:
    whole = [r for r in rows if r[1] != Outcome.INFRA_ERROR.value]
    n, successes = len(whole), sum(r[1] == Outcome.SUCCESS.value for r in whole)
    return {
        "success": successes / n if n else None,
        "n": n,
        "interval": list(wilson(successes, n)),
        "return": sum(r[2] for r in whole) / n if n else None,
        "turns": sum(r[3] for r in whole) / n if n else None,
        "infra_errors": len(rows) - n,
    }


def family_means(tasks: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Mean success over the tasks of each world that could be played: ``{"gui": …, "sims": …}``."""
    families: dict[str, list[float]] = {}
    for task_id, figures in tasks.items():
        if not figures["n"]:
            continue
        families.setdefault(task_id.split("/")[0], []).append(figures["success"])
    return {family: sum(values) / len(values) for family, values in families.items()}
