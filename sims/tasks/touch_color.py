"""Touch: put the fingertips on the object of a named colour, and on no other."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from episode import Outcome, Split, SubGoal, stream
from sims.draw import TABLE_HIGH, TABLE_LOW, block, block_names, choice, finish, scatter
from sims.moves import ALIGNED, CLOSED, Intent, above, aside
from sims.setting import Setting
from sims.world import ArmWorld

NEAR = 0.08
TOUCH = 0.01
"""The tip counts as on a thing from this far off its surface (as of a ball around its centre)."""

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        "touch the {} object",
        "tap the {} one",
        "put a finger on the {} object",
        "touch the object that is {}",
        "go and touch the {} one",
        "tap on the {} one",
        "go to the {} object and tap it",
    ),
    "heldout": ("tap the {} object", "put a finger on the {} one", "tap the one that is {}"),
}


class TouchColor(ArmWorld):
    task_id = "sims/touch-color-v0"
    summary = "touch the object of the named colour among two to four, and no other"
    horizon = 40
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.12)}
    subgoals = (SubGoal("above"), SubGoal("near", after=("above",)), SubGoal("touched", after=("near",)))

    def compose(self, seed: int) -> Setting:
        task, layout = stream(seed, "task"), stream(seed, "layout")
        names = block_names(task, int(task.integers(2, 5)), self.split)
        spots = scatter(layout, len(names), apart=0.1, low=TABLE_LOW, high=TABLE_HIGH)
        things = [block(seed, *name, spot) for name, spot in zip(names, spots, strict=True)]
        instruction = choice(task, PHRASES[self.split]).format(things[0].color)
        return finish(seed, self.split, instruction, things, target=things[0].name, opening=0.0)

    def _reached(self, name: str) -> bool:
        gap = float(np.linalg.norm(self.rig.where(name) - self.rig.tip)) - self.rig.setting.thing(name).radius
        return name in self.rig.touched or gap < TOUCH

    def judge(self) -> dict[str, bool]:
        target, tip = self.rig.where(self.rig.setting.target), self.rig.tip
        touched = self._reached(self.rig.setting.target)
        return {
            "above": touched or aside(target, tip) < NEAR / 2,
            "near": touched or float(np.linalg.norm(target - tip)) < NEAR,
            "touched": touched,
        }

    def verdict(self) -> Outcome | None:
        touched = {name for name in self.rig.loose if self._reached(name)}
        if touched - {self.rig.setting.target}:
            return Outcome.FAILURE
        return Outcome.SUCCESS if touched else None

    def plan(self) -> Intent:
        name = self.rig.setting.target
        target = self.rig.where(name)
        if aside(self.rig.tip, target) < ALIGNED:
            return Intent(target, CLOSED, f"lower the fingers to the {name}")
        return above(self.rig, name, CLOSED)
