"""Which episodes a training step plays: tasks by their weights, seeds by run and step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from episode import HandeyeError, nearest, stream
from training.config import Config
from training.distributed import share
from training.evaluate import HELD_OUT_SEED
from training.rollout import EpisodeSpec
from training.worlds import all_tasks


class CurriculumError(HandeyeError):
    """Task weights that name no task or draw none."""


def task_of_group(config: Config, task_ids: Sequence[str], step: int) -> list[str]:
    """The task of each of the step's groups, in the order of ``task_ids``.

    Systematic sampling: each step holds every task's share to within one group, and its share exactly on average.
    """
    known = {*all_tasks(), *task_ids}
    for named in (*config.task_weights, *config.reward_scales):
        if named not in known:
            raise CurriculumError(f"{named!r} has a weight or scale but is no task: {nearest(named, known)}")
    weights = np.array([config.task_weights.get(task_id, 1.0) for task_id in task_ids], np.float64)
    if (weights < 0).any() or not weights.sum() > 0:
        raise CurriculumError(f"task_weights {config.task_weights}: must not be negative, nor all be 0")
    edges = np.cumsum(weights) / weights.sum()
    points = (np.arange(config.groups) + stream(config.seed, "tasks", step).random()) / config.groups
    return [task_ids[i] for i in np.minimum(np.searchsorted(edges, points, side="right"), len(task_ids) - 1)]


def plan(
    config: Config, task_ids: Sequence[str], step: int, again: Sequence[int] | None = None, attempt: int = 0
) -> list[EpisodeSpec]:
    """This rank's episodes of training step ``step``: whole groups, each of ``group_size`` episodes of one seed.

    Args:
        config: the run's.
        task_ids: tasks to draw from.
        step: number of the training step.
        again: the step's groups (0 to ``groups`` - 1) that are replaced by others of their tasks; None plays all.
        attempt: how often that was done before in this step, and once more; up to ``config.resample``.
    """
    tasks = task_of_group(config, task_ids, step)
    specs = []
    # Every world_size-th group: groups stand in the order of tasks, so that each rank gets an even mix.
    for index in share(config.groups) if again is None else again:
        group = (step * (1 + config.resample) + attempt) * config.groups + index
        seed = int(stream(config.seed, "episode", group).integers(HELD_OUT_SEED))
        specs += [
            EpisodeSpec(tasks[index], seed, "train", episode=group * config.group_size + member, group=group)
            for member in range(config.group_size)
        ]
    return specs


def shown_groups(config: Config, task_ids: Sequence[str], step: int) -> set[int]:
    """One group a task: those whose first episode is kept to look at."""
    first: dict[str, int] = {}
    for index, task_id in enumerate(task_of_group(config, task_ids, step)):
        first.setdefault(task_id, step * (1 + config.resample) * config.groups + index)
    return set(first.values())
