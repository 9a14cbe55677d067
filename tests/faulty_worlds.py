"""Imported by name, in a worker too: a strip whose episodes break as a folder says, whichever process plays them.

The folder (``FAULTY_FOLDER`` in the environment) holds a file for each fault that is due, ``SEED-KIND-NUMBER``; a fault
takes its file away.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from episode import Action, Advice, Observation
from tests.fake_worlds import Strip
from training.worlds import TASKS


def plant(folder: Path, seed: int, kind: str, times: int = 1) -> None:
    for number in range(times):
        (folder / f"{seed}-{kind}-{number}").touch()


class Faulty(Strip):
    """Breaks at its second action, so that there is something to lose."""

    task_id = "gui/faulty-v0"

    def advance(self, action: Action) -> tuple[float, bool, bool, dict[str, Any]]:
        if self.steps == 1:
            if self._due("raise"):
                raise RuntimeError("the strip snapped")
            if self._due("hang"):
                time.sleep(3600)
            if self._due("kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            if self._due("exit"):
                sys.exit(3)
        reward, terminated, truncated, info = super().advance(action)
        if self.steps == 2 and self._due("nan"):
            info["terms"]["task"] = float("nan")
        return reward, terminated, truncated, info

    def observe(self) -> Observation:
        observation = super().observe()
        if self.steps == 2 and self._due("frame"):
            observation["frames"]["screen"] = observation["frames"]["screen"].astype(np.float32)
        return observation

    def state_key(self) -> Any:
        return threading.Lock() if self.steps == 1 and self._due("unsendable") else super().state_key()

    def expert(self) -> Advice:
        if self.steps == 1 and self._due("expert"):
            raise RuntimeError("the expert is at a loss")
        return super().expert()

    def _due(self, kind: str) -> bool:
        for file in sorted(Path(os.environ["FAULTY_FOLDER"]).glob(f"{self.number}-{kind}-*")):
            file.unlink()
            return True
        return False


TASKS[Faulty.task_id] = Faulty
