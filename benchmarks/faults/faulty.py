"""Imported by name (``--import``), so that the worker process has them too: worlds that break while being played.

Of a hundred episodes, in training and in both evaluations, ten raise, one hangs and one kills its process: as it begins
or at its first action. Which, is drawn by the seed and the episode alone, whichever process plays it and when. No more
than two a start, as a third failure of one episode would be its last; and none that is begun again: a worker takes up
to 64 episodes with it, of which one more would hang or kill, without end. As that, and a fault due in a worker that
dies first, leaves some out, more are drawn. Or one training start breaks at the first action of every attempt, and
nothing else. A file, named in the environment, is the memory of all this; without it nothing breaks.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from episode import State, stream
from gui_env.tasks.click_button import ClickButton
from sims.tasks.reach import Reach
from training.config import PRESETS
from training.worlds import TASKS, all_tasks, resolve

LOG = "HANDEYE_FAULTS"
"""In the environment: the file of what was begun and what struck, a JSON list a line."""
SEED = "HANDEYE_FAULTS_SEED"
"""In the environment: what the draws of faults are keyed by."""
MEMBERS = "HANDEYE_FAULTS_MEMBERS"
"""In the environment: episodes of a training start; a held-out one has one."""
DOOMED = "HANDEYE_FAULTS_DOOMED"
"""In the environment, where a start is to fail for good: how many training starts are begun before it."""
SHARES = {"raise": 0.10, "hang": 0.01, "kill": 0.01}
"""Of the episodes that are begun: what is to strike."""
DRAWN = {"raise": 0.13, "hang": 0.0145, "kill": 0.0205}
"""Of them: what is drawn. When 13, 1.1 and 2.05 % of the default run's 4,760 were, 11.2, 1.01 and 1.32 % struck."""
TWICE = 2


class Faulty:
    """Before a world in the order of bases."""

    task_id: str
    split: str
    _due = ("", "")
    """What strikes next, and when: as the episode begins, or at an action."""
    _name = ("", "", 0)
    """Task, when it is played (``train``, or ``before`` or ``after`` that), and seed."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self._begin(seed or 0)
        world: Any = super()
        return world.reset(seed=seed, options=options)

    def restore(self, state: State) -> Any:
        self._begin(int(state["seed"]))
        world: Any = super()
        return world.restore(state)

    def advance(self, action: Any) -> Any:
        self._strike("acts")
        world: Any = super()
        return world.advance(action)

    def _begin(self, seed: int) -> None:
        self._due = ("", "")
        if LOG not in os.environ:
            return
        lines = read(Path(os.environ[LOG]))
        trained = any(when == "train" for _, _, when, _ in lines)
        self._name = self.task_id, "train" if self.split == "train" else "after" if trained else "before", seed
        members = int(os.environ[MEMBERS]) if self.split == "train" else 1
        member = lines.count(["begun", *self._name])
        self._tell("begun" if member < members else "again")
        if DOOMED in os.environ:
            starts = starts_of([*lines, ["begun", *self._name]])
            doomed = list(self._name) in starts and starts.index(list(self._name)) == int(os.environ[DOOMED])
            self._due = ("raise", "acts") if doomed else ("", "")
            return
        if member == members:
            return
        draws = stream(int(os.environ[SEED]), "faults", *self._name, member)
        drawn = int(np.searchsorted(np.cumsum(list(DRAWN.values())), draws.random(), side="right"))
        before = sum(tuple(line[1:]) == self._name for line in lines if line[0] in SHARES)
        if drawn < len(DRAWN) and before < TWICE:
            self._due = list(DRAWN)[drawn], ("begins", "acts")[draws.integers(2)]
        self._strike("begins")

    def _strike(self, moment: str) -> None:
        kind, due = self._due
        if due != moment:
            return
        self._due = "", ""
        self._tell(kind)
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "hang":
            time.sleep(3600)
        raise RuntimeError("a planted fault")

    def _tell(self, what: str) -> None:
        with Path(os.environ[LOG]).open("a") as file:
            file.write(json.dumps([what, *self._name]) + "\n")


def read(log: Path) -> list[list[Any]]:
    """``[what, task, when, seed]`` of everything that was begun, again too, and that struck, in its order."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def starts_of(lines: list[list[Any]]) -> list[list[Any]]:
    """The training starts, ``[task, when, seed]``, in the order in which they were first begun."""
    starts: list[list[Any]] = []
    for what, *start in lines:
        if what == "begun" and start[1] == "train" and start not in starts:
            starts.append(start)
    return starts


def _twin(name: str, world: type[Any], **attributes: Any) -> None:
    TASKS[name] = type(f"Faulty{world.__name__}", (Faulty, world), {"task_id": name, **attributes})


def faulty(task_id: str) -> str:
    """The id of a task's faulty twin."""
    family, name = task_id.split("/")
    return f"{family}/faulty-{name}"


# Soon over: a random model succeeds in neither.
_twin("gui/faulty-short-click-v0", ClickButton, horizon=5)
_twin("sims/faulty-short-reach-v0", Reach, horizon=5)

DEFAULT = PRESETS["default"]
for task_id in resolve(DEFAULT.tasks):
    _twin(faulty(task_id), all_tasks()[task_id])
PRESETS["faulty"] = dataclasses.replace(
    DEFAULT,
    preset="faulty",
    tasks=",".join(faulty(task_id) for task_id in resolve(DEFAULT.tasks)),
    task_weights={faulty(task_id): weight for task_id, weight in DEFAULT.task_weights.items()},
)
"""The default run in worlds that break."""
