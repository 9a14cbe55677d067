"""What an asymmetric critic sees of many tasks' privileged states: one layout for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from episode import Privileged


@dataclass(frozen=True)
class Layout:
    """Which task it is, and then every name that some task's layout has, once; 0 where a task lacks the name.

    Entries of one name share a place over all tasks, so that a name must mean the same everywhere. Left out: scaling.
    Worlds give entries of about one (``Privileged``).
    """

    tasks: tuple[str, ...]
    places: Mapping[str, NDArray[np.int64]]
    """Task to the place of each entry of its vector."""
    size: int
    """Entries of :meth:`vector`: one a task and one a name."""

    @classmethod
    def of(cls, worlds: Mapping[str, Privileged]) -> Layout:
        """The layout over these tasks, in their order."""
        tasks = tuple(worlds)
        names = list(dict.fromkeys(name for world in worlds.values() for name in world.privileged_layout()))
        at = {name: len(tasks) + i for i, name in enumerate(names)}
        places = {
            task: np.array([at[name] for name in world.privileged_layout()], np.int64) for task, world in worlds.items()
        }
        return cls(tasks, places, len(tasks) + len(names))

    def vector(self, task: str, privileged: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the critic sees of a state of ``task``, [size]."""
        c = np.zeros(self.size, np.float32)
        c[self.tasks.index(task)] = 1.0
        c[self.places[task]] = privileged
        return c
