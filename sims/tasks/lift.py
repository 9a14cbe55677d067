"""Lift: take the named object and hold it, still, well above the table.

Where two objects are of one kind, some instructions tell them apart by their side: "the left cube".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from episode import Outcome, Split, SubGoal, stream
from sims.draw import TABLE_HIGH, TABLE_LOW, block, block_names, called, choice, finish, scatter
from sims.moves import CLOSED, Intent, at, pick
from sims.setting import Setting
from sims.world import ArmWorld

NEAR = 0.05
LIFTED, HIGH = 0.03, 0.10
"""How far the object has risen from where it stood."""
SLOW = 0.05
"""Metres a second, below which the object is held still: tossing it up does not count."""

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        "lift the {}",
        "pick up the {} and hold it",
        "pick the {} up",
        "lift up the {}",
        "raise the {} over the table",
        "take the {} and lift it up",
        "hold the {} over the table",
    ),
    "heldout": ("pick up the {}", "lift the {} over the table", "take the {} and hold it up"),
}


class Lift(ArmWorld):
    task_id = "sims/lift-v0"
    summary = "pick up the named object and hold it still above the table"
    horizon = 70
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.02)}
    subgoals = (
        SubGoal("near"),
        SubGoal("grasped", after=("near",)),
        SubGoal("lifted", after=("grasped",)),
        SubGoal("high", after=("lifted",)),
    )

    def compose(self, seed: int) -> Setting:
        task, layout = stream(seed, "task"), stream(seed, "layout")
        names = block_names(task, int(task.integers(1, 4)), self.split)
        spots = scatter(layout, len(names), apart=0.1, low=TABLE_LOW, high=TABLE_HIGH)
        things = [block(seed, *name, spot) for name, spot in zip(names, spots, strict=True)]
        instruction = choice(task, PHRASES[self.split]).format(called(task, things[0], things))
        return finish(seed, self.split, instruction, things, target=things[0].name)

    def _risen(self) -> float:
        name = self.rig.setting.target
        return float(self.rig.where(name)[2] - self.rig.setting.thing(name).position[2])

    def judge(self) -> dict[str, bool]:
        name = self.rig.setting.target
        grasped = self.rig.held == name
        return {
            "near": grasped or float(np.linalg.norm(self.rig.where(name) - self.rig.tip)) < NEAR,
            "grasped": grasped,
            "lifted": grasped and self._risen() > LIFTED,
            "high": grasped and self._risen() > HIGH,
        }

    def verdict(self) -> Outcome | None:
        name = self.rig.setting.target
        still = float(np.linalg.norm(self.rig.velocity(name))) < SLOW
        if self.rig.held == name and self._risen() > HIGH and still:
            return Outcome.SUCCESS
        return Outcome.FAILURE if self.rig.lost(name) else None

    def plan(self) -> Intent:
        name, tip = self.rig.setting.target, self.rig.tip
        return pick(self.rig, name) or Intent(at(tip, 0.15), CLOSED, f"lift the {name}")
