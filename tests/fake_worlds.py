"""A world of a few lines for the trainer's own tests: a dot must be moved to the left or right edge of a strip.

It is a full world (screen, snapshots, state keys, expert) that costs nothing to step, and it can be told to break.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from episode import (
    Action,
    Advice,
    Observation,
    Outcome,
    Screen,
    Split,
    State,
    SubGoal,
    Task,
    environment_terms,
    progress,
    screen_action,
    stream,
)
from gui_env.spaces import action_space

SIDE = 32
CELLS = 5
BREAK: dict[int, int] = {}
"""Seed to how many more times its episode breaks."""
MADE: list[Strip] = []


class Strip(gym.Env[Any, Any]):
    """Click left or right of the middle to move the dot; at the named edge the task is done."""

    task_id = "gui/strip-v0"
    summary = "move the dot to the named edge"
    horizon = 6
    floors = {"noop": (0.0, 0.0), "random": (0.0, 0.6)}  # noqa: RUF012
    expert_bar = 1.0
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    subgoals = (SubGoal("moved"), SubGoal("arrived", after=("moved",)))

    def __init__(self, split: Split = "train") -> None:
        self.split: Split = split
        self.embodiment = Screen(SIDE, SIDE)
        self.observation_space = gym.spaces.Dict()
        self.action_space = action_space(SIDE, SIDE)
        self.drawn = 0
        MADE.append(self)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        self.number = 0 if seed is None else seed
        self.goal = int(stream(self.number, "task").integers(2))
        self.cell, self.moved, self.steps = CELLS // 2, False, 0
        task = Task(self.task_id, self._instruction(), self.subgoals, self.number, self.split)
        return self.observe(), {"task": task, "subgoals": self._held(), "progress": 0.0}

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        reward, terminated, truncated, info = self.advance(action)
        return self.observe(), reward, terminated, truncated, info

    def advance(self, action: Action) -> tuple[float, bool, bool, dict[str, Any]]:
        if self.steps == 1 and BREAK.get(self.number, 0):
            BREAK[self.number] -= 1
            raise RuntimeError("the strip snapped")
        before = progress(self.subgoals, self._held())
        self.steps += 1
        if action["kind"]:
            self.cell += 1 if action["position"][0] >= SIDE // 2 else -1
            self.moved = True
        done = self.cell in (0, CELLS - 1)
        success = done and self._held()["arrived"]
        truncated = not done and self.steps >= self.horizon
        terms = environment_terms(before, progress(self.subgoals, self._held()), success)
        outcome = (
            (Outcome.SUCCESS if success else Outcome.FAILURE) if done else Outcome.TRUNCATED if truncated else None
        )
        info = {
            "terms": terms,
            "subgoals": self._held(),
            "progress": progress(self.subgoals, self._held()),
            "outcome": outcome,
            "success": success,
        }
        return sum(terms.values()), done, truncated, info

    def observe(self) -> Observation:
        self.drawn += 1
        frame = np.zeros((SIDE, SIDE, 3), np.uint8)
        frame[12:20, self.cell * 6 + 1 : self.cell * 6 + 7] = 255
        clock = np.array([self.steps], np.float32)
        return {"frames": {"screen": frame}, "instruction": self._instruction(), "time": clock}

    def snapshot(self) -> State:
        return {"version": 1, "number": self.number, "cell": self.cell, "moved": self.moved, "steps": self.steps}

    def restore(self, state: State) -> Observation:
        self.number, self.cell, self.moved, self.steps = (state[k] for k in ("number", "cell", "moved", "steps"))
        self.goal = int(stream(self.number, "task").integers(2))
        return self.observe()

    def state_key(self) -> Hashable:
        return self.cell, self.steps

    def privileged(self) -> NDArray[np.float32]:
        return np.array([self.cell], np.float32)

    def privileged_layout(self) -> tuple[str, ...]:
        return ("cell",)

    def expert(self) -> Advice:
        return Advice((screen_action("click", x=SIDE - 4 if self.goal else 4, y=16),))

    def _held(self) -> dict[str, bool]:
        return {"moved": self.moved, "arrived": self.cell == (CELLS - 1 if self.goal else 0)}

    def _instruction(self) -> str:
        return f"go to the {'right' if self.goal else 'left'} edge"
