"""What every task on the arm-and-table scene has in common; a task is a short file beside ``tasks/reach.py``.

A task says what its scene holds (``compose``), which sub-goals hold now (``judge``), when it is over (``verdict``) and
what an expert would do next (``plan``). The rest, gymnasium's interface and every capability, is here.
"""

from __future__ import annotations

import string
from abc import abstractmethod
from collections.abc import Hashable
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from episode import (
    Advice,
    Body,
    Frame,
    Observation,
    Outcome,
    SceneObject,
    Split,
    State,
    SubGoal,
    Task,
    WorldError,
    chunk_of,
    environment_terms,
    nearest,
    progress,
)
from sims.arm import WORKSPACE
from sims.moves import Intent
from sims.render import Eye
from sims.rig import Rig
from sims.scene import CAMERAS, describe
from sims.setting import Setting

VERSION = 1
OTHERS = 3
"""How many things besides target and goal the privileged vector tells of."""
FLAGS = 8
"""How many sub-goals it tells of."""


class ArmWorld(gym.Env[Observation, NDArray[np.float32]]):
    """An episode of one task with the arm. See ``episode`` for the vocabulary and the capabilities."""

    task_id: ClassVar[str]
    summary: ClassVar[str]
    horizon: ClassVar[int]
    """Native steps (0.1 s each) until the episode is truncated."""
    floors: ClassVar[dict[str, tuple[float, float]]]
    expert_bar: ClassVar[float] = 0.95
    subgoals: ClassVar[tuple[SubGoal, ...]]
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}  # type: ignore[misc]

    def __init__(
        self,
        split: Split = "train",
        render_mode: str = "rgb_array",
        image_size: tuple[int, int] = (96, 96),
        cameras: tuple[str, ...] = ("top", "front"),
    ) -> None:
        """``image_size`` is the width and height of each of ``cameras``, which are some of top, front, wrist."""
        if split not in ("train", "heldout"):
            raise WorldError(f"no split {split!r}: {nearest(str(split), ('train', 'heldout'))}")
        for name in cameras:
            if name not in CAMERAS:
                raise WorldError(f"no camera {name!r}: {nearest(name, CAMERAS)}")
        if render_mode != "rgb_array":
            raise WorldError(f"render_mode {render_mode!r} is not supported; valid: rgb_array")
        self.split: Split = split
        self.render_mode = render_mode
        self.image_size = image_size
        self.embodiment = Body(low=WORKSPACE.low, high=WORKSPACE.high, cameras=cameras)
        width, height = image_size
        self.observation_space = spaces.Dict(
            {
                "frames": spaces.Dict({c: spaces.Box(0, 255, (height, width, 3), np.uint8) for c in cameras}),
                "instruction": spaces.Text(
                    256, charset=string.ascii_letters + string.digits + string.punctuation + " "
                ),
                "proprio": spaces.Box(-2.0, 2.0, (5,), np.float32),
                "time": spaces.Box(0.0, 1000.0, (1,), np.float32),
            }
        )
        step = self.embodiment.max_step
        self.action_space = spaces.Box(
            np.array([-step] * 3 + [-1], np.float32), np.array([step] * 3 + [1], np.float32), dtype=np.float32
        )
        self._eye = Eye(width, height)
        self._rig: Rig | None = None
        self._outcome: Outcome | None = None

    # --- what a task says

    @abstractmethod
    def compose(self, seed: int) -> Setting:
        """Everything that the episode draws, from the streams of ``seed`` and the split."""

    @abstractmethod
    def judge(self) -> dict[str, bool]:
        """Whether each sub-goal holds now."""

    @abstractmethod
    def verdict(self) -> Outcome | None:
        """The final check on the present state: success, failure, or None to go on."""

    @abstractmethod
    def plan(self) -> Intent:
        """What an expert would do next."""

    # --- gymnasium

    @property
    def rig(self) -> Rig:
        if self._rig is None:
            raise WorldError(f"{self.task_id} has no episode yet: call reset first")
        return self._rig

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(1_000_000)) if seed is None else seed
        setting = self.compose(drawn)
        self._task = Task(self.task_id, setting.instruction, self.subgoals, drawn, self.split)
        self._rig = Rig(setting)
        self._steps, self._outcome = 0, None
        self._assess()
        return self.observe(), {"task": self._task, "subgoals": dict(self._held), "progress": self._progress}

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        reward, terminated, truncated, info = self.advance(action)
        return self.observe(), reward, terminated, truncated, info

    def advance(self, action: NDArray[np.float32]) -> tuple[float, bool, bool, dict[str, Any]]:
        """``step`` without drawing a frame."""
        rig = self.rig
        if self._outcome is not None:
            raise WorldError(f"the episode is over ({self._outcome}): call reset before the next step")
        values = np.asarray(action, np.float64)
        if values.shape != (4,) or not np.isfinite(values).all():
            raise WorldError(f"an action is four finite numbers [dx, dy, dz, grip], not {action!r}")
        limit = self.embodiment.max_step
        rig.move(np.clip(values[:3], -limit, limit), float(np.clip(values[3], -1.0, 1.0)))
        self._steps += 1
        before = self._progress
        self._assess()
        self._outcome = self.verdict()
        terminated = self._outcome is not None
        truncated = not terminated and self._steps >= self.horizon
        if truncated:
            self._outcome = Outcome.TRUNCATED
        success = self._outcome is Outcome.SUCCESS
        terms = environment_terms(before, self._progress, success)
        info = {
            "terms": terms,
            "subgoals": dict(self._held),
            "progress": self._progress,
            "outcome": self._outcome,
            "success": success,
        }
        return sum(terms.values()), terminated, truncated, info

    def _assess(self) -> None:
        self._held = {name: bool(held) for name, held in self.judge().items()}
        self._progress = progress(self.subgoals, self._held)

    def observe(self) -> Observation:
        rig = self.rig
        return {
            "frames": {name: self._eye.draw(rig.model, rig.data, name) for name in self.embodiment.cameras},
            "instruction": self._task.instruction,
            "proprio": np.array([*rig.tip, rig.opening, bool(rig.held)], np.float32),
            "time": np.array([rig.data.time], np.float32),
        }

    def render(self) -> Frame:
        """All cameras side by side."""
        rig = self.rig
        return np.concatenate([self._eye.draw(rig.model, rig.data, c) for c in self.embodiment.cameras], axis=1)

    def close(self) -> None:
        self._eye.close()

    # --- capabilities

    def snapshot(self) -> State:
        return {
            "version": VERSION,
            "task": self.task_id,
            "split": self.split,
            "seed": self._task.seed,
            "setting": self.rig.setting.tree(),
            "rig": self.rig.state(),
            "steps": self._steps,
            "outcome": None if self._outcome is None else str(self._outcome),
            "generator": self.np_random.bit_generator.state,
        }

    def restore(self, state: State) -> Observation:
        if state["version"] != VERSION or state["task"] != self.task_id:
            raise WorldError(
                f"a snapshot of {state['task']} in version {state['version']} cannot be restored into "
                f"{self.task_id} in version {VERSION}: take it again with this version and task"
            )
        setting = Setting.from_tree(state["setting"])
        self.split = state["split"]
        if self._rig is None or self._rig.setting != setting:
            self._rig = Rig(setting)
        self._rig.load(state["rig"])
        self._task = Task(self.task_id, setting.instruction, self.subgoals, int(state["seed"]), self.split)
        self._steps = int(state["steps"])
        self._outcome = None if state["outcome"] is None else Outcome(state["outcome"])
        self._assess()
        self.np_random.bit_generator.state = state["generator"]
        return self.observe()

    def state_key(self) -> Hashable:
        """Tip and loose things on a grid of 2.5 cm, the gripper in thirds, and the sub-goals that hold."""
        rig = self.rig
        spots = (rig.tip, *(rig.where(name) for name in rig.loose))
        grid = tuple(tuple(np.floor(p / 0.025).astype(int).tolist()) for p in spots)
        return (self.task_id, grid, int(rig.opening * 2.999), rig.held, tuple(self._held.values()))

    def privileged(self) -> NDArray[np.float32]:
        rig, setting = self.rig, self.rig.setting
        tip = rig.tip

        def offset(name: str) -> list[float]:
            return [*(rig.where(name) - tip), 1.0] if name else [0.0] * 4

        others = [t.name for t in setting.things if t.name not in (setting.target, setting.goal)][:OTHERS]
        values = [*tip, *rig.tip_velocity, *(rig.target - tip), rig.opening, bool(rig.held)]
        values += [*offset(setting.target), *rig.velocity(setting.target), *offset(setting.goal)]
        for name in others + [""] * (OTHERS - len(others)):
            values += offset(name)
        values += [float(v) for v in self._held.values()] + [0.0] * (FLAGS - len(self._held))
        return np.array([*values, self._steps / self.horizon], np.float32)

    def privileged_layout(self) -> tuple[str, ...]:
        """The same for every task of this scene; what a task does not have is zero."""

        def axes(name: str) -> tuple[str, ...]:
            return tuple(f"{name}_{axis}" for axis in "xyz")

        layout = [*axes("tip"), *axes("tip_velocity"), *axes("command"), "opening", "holding"]
        layout += [*axes("target"), "target_present", *axes("target_velocity"), *axes("goal"), "goal_present"]
        for i in range(OTHERS):
            layout += [*axes(f"other{i}"), f"other{i}_present"]
        return (*layout, *(f"subgoal{i}" for i in range(FLAGS)), "elapsed")

    def expert(self) -> Advice:
        intent = self.plan()
        # Last where the hand should be, not where the thing lies: motion is then the difference of two places.
        points = tuple((float(x), float(y), float(z)) for x, y, z in (*intent.looks, intent.tip))
        actions = chunk_of(self.embodiment, (intent.tip - self.rig.tip).tolist(), intent.grip)
        return Advice(tuple(actions), intent.thought, points)

    def scene(self) -> list[SceneObject]:
        rig = self.rig
        return describe(
            rig.model, rig.data, rig.setting, rig.outlines, self.embodiment.cameras, self.image_size, rig.held
        )
