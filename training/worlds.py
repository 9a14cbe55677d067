"""Every task by its id, and worlds made from ids."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

from episode import Action, Embodiment, HandeyeError, Observation, Split, nearest


class UnknownTask(HandeyeError):
    """A task was named that nobody registered."""


class ImportFailed(HandeyeError):
    """A module named by ``--import`` cannot be imported."""


class World(Protocol):
    """What the trainer needs of an environment; everything else is a capability of ``episode.py``.

    Any ``gymnasium.Env`` with these attributes is one: an episode starts with ``reset(seed=...)``, whose info holds
    ``task`` (episode.Task), ``subgoals`` and ``progress``; the info of ``step`` holds ``terms``, ``subgoals``,
    ``progress`` and ``outcome``.
    """

    task_id: ClassVar[str]
    summary: ClassVar[str]
    horizon: ClassVar[int]
    floors: ClassVar[dict[str, tuple[float, float]]]
    expert_bar: ClassVar[float]

    @property
    def embodiment(self) -> Embodiment: ...

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]: ...

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]: ...

    def close(self) -> None: ...


TASKS: dict[str, type[Any]] = {}
"""Tasks of neither package: a module named by ``--import`` adds its own here (or to ``gui_env.TASKS``)."""


def all_tasks() -> dict[str, type[Any]]:
    """Every registered task: id to world class, GUI first."""
    # Inside the function: listing tasks is the first moment at which the physics library is needed.
    import gui_env
    import sims

    return {**gui_env.TASKS, **sims.TASKS, **TASKS}


def resolve(tasks: str) -> list[str]:
    """Task ids for ``all``, a family (``gui``, ``sims``), or a comma-separated list of ids and families.

    Raises:
        UnknownTask: a name is no id and no family; the nearest ones are named.
    """
    known = list(all_tasks())
    families = {task_id.split("/")[0] for task_id in known}
    chosen: list[str] = []
    for name in (part.strip() for part in tasks.split(",") if part.strip()):
        if name == "all":
            chosen += known
        elif name in families:
            chosen += [task_id for task_id in known if task_id.startswith(f"{name}/")]
        elif name in known:
            chosen.append(name)
        else:
            raise UnknownTask(f"no task {name!r}: {nearest(name, [*known, *families, 'all'])}")
    if not chosen:
        raise UnknownTask(f"no task is named by {tasks!r}; valid: all, {', '.join(sorted(families))}, or task ids")
    return list(dict.fromkeys(chosen))


def make(task_id: str, split: Split = "train", **options: Any) -> Any:
    """A world by its id, not wrapped by gymnasium.

    Raises:
        UnknownTask: no such id; the nearest ones are named.
    """
    tasks = all_tasks()
    if task_id not in tasks:
        raise UnknownTask(f"no task {task_id!r}: {nearest(task_id, tasks)}")
    return tasks[task_id](split=split, **options)


def import_modules(names: Iterable[str]) -> None:
    """Import a user's own modules, which add their tasks, terms, algorithms or codecs to the dicts they belong in.

    Raises:
        ImportFailed: a module is missing or breaks while it is imported.
    """
    for name in names:
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())  # a console script does not look in the current folder
        try:
            importlib.import_module(name)
        except Exception as error:
            raise ImportFailed(
                f"--import {name}: {type(error).__name__}: {error}. "
                "Give a dotted module name that Python can find from the current folder or PYTHONPATH."
            ) from error
