"""Reach: bring the end effector to the floating marker of a named colour and hold it there."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from episode import Outcome, Split, SubGoal, stream
from sims.draw import choice, finish, neighbours, scatter
from sims.look import paint
from sims.moves import OPEN, Intent
from sims.setting import Setting, Thing
from sims.world import ArmWorld

NEAR, CLOSE = 0.10, 0.03
SLOW = 0.08
"""Metres a second, below which the hand holds still: flying through the marker does not count."""

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        "reach the {} marker",
        "move the gripper to the {} marker",
        "go to the {} marker",
        "bring the hand to the {} marker",
        "put the gripper at the {} marker",
    ),
    "heldout": (
        "bring the gripper to the {} marker",
        "move the hand to the {} marker",
        "put the hand at the {} marker",
    ),
}


class Reach(ArmWorld):
    task_id = "sims/reach-v0"
    summary = "bring the gripper to the floating marker of the named colour and hold it there"
    horizon = 40
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.06)}
    subgoals = (SubGoal("near"), SubGoal("reached", after=("near",)))

    def compose(self, seed: int) -> Setting:
        task, layout, looks = stream(seed, "task"), stream(seed, "layout"), stream(seed, "appearance", "markers")
        colors = neighbours(task, 1, 3, self.split)
        spots = scatter(layout, len(colors), apart=0.09, low=(-0.17, -0.17, 0.05), high=(0.17, 0.17, 0.25))
        things = [
            Thing(f"{c} marker", "marker", c, paint(c, looks), spot, radius=float(looks.uniform(0.02, 0.025)))
            for c, spot in zip(colors, spots, strict=True)
        ]
        instruction = choice(task, PHRASES[self.split]).format(colors[0])
        return finish(seed, self.split, instruction, things, target=things[0].name)

    def _distance(self) -> float:
        return float(np.linalg.norm(self.rig.where(self.rig.setting.target) - self.rig.tip))

    def judge(self) -> dict[str, bool]:
        return {"near": self._distance() < NEAR, "reached": self._distance() < CLOSE}

    def verdict(self) -> Outcome | None:
        still = np.linalg.norm(self.rig.tip_velocity) < SLOW
        return Outcome.SUCCESS if still and self._distance() < CLOSE else None

    def plan(self) -> Intent:
        marker = self.rig.where(self.rig.setting.target)
        thought = "hold still" if self._distance() < CLOSE else f"go to the {self.rig.setting.target}"
        return Intent(marker, OPEN, thought)
