"""Press button: press the button of the named colour, and no other.

With two buttons, some instructions tell them apart by their side: "the left button".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from episode import Outcome, Split, SubGoal, stream
from sims.draw import TABLE_HIGH, TABLE_LOW, button, called, choice, finish, neighbours, scatter
from sims.moves import ALIGNED, CLOSED, Intent, above, aside, at
from sims.setting import Setting
from sims.things import BUTTON_HEIGHT
from sims.world import ArmWorld

OVER, NEAR = 0.03, 0.05

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        "press the {}",
        "push the {} down",
        "press down on the {}",
        "go to the {} and press it",
        "push down on the {}",
    ),
    "heldout": ("press the {} down", "go to the {} and push it down", "go and press the {}"),
}


class PressButton(ArmWorld):
    task_id = "sims/press-button-v0"
    summary = "press the button of the named colour among two or three, and no other"
    horizon = 40
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.03)}
    subgoals = (SubGoal("above"), SubGoal("near", after=("above",)), SubGoal("pressed", after=("near",)))

    def compose(self, seed: int) -> Setting:
        task, layout = stream(seed, "task"), stream(seed, "layout")
        colors = neighbours(task, 2, 3, self.split)
        spots = scatter(layout, len(colors), apart=0.1, low=TABLE_LOW, high=TABLE_HIGH)
        things = [button(seed, color, spot) for color, spot in zip(colors, spots, strict=True)]
        instruction = choice(task, PHRASES[self.split]).format(called(task, things[0], things))
        return finish(seed, self.split, instruction, things, things[0].name, opening=0.0)

    def judge(self) -> dict[str, bool]:
        name, tip = self.rig.setting.target, self.rig.tip
        there, pressed = self.rig.where(name), self.rig.pressed(name)
        return {
            "above": pressed or aside(there, tip) < OVER,
            "near": pressed or float(np.linalg.norm(there - tip)) < NEAR,
            "pressed": pressed,
        }

    def verdict(self) -> Outcome | None:
        pressed = {thing.name for thing in self.rig.setting.things if self.rig.pressed(thing.name)}
        if pressed - {self.rig.setting.target}:
            return Outcome.FAILURE
        return Outcome.SUCCESS if pressed else None

    def plan(self) -> Intent:
        name = self.rig.setting.target
        there = self.rig.where(name)
        if aside(self.rig.tip, there) < ALIGNED:
            # The pads reach 1 cm below the tip: they meet the cap 2 cm above its middle, and are to go well below that.
            return Intent(at(there, BUTTON_HEIGHT), CLOSED, f"press the {name}")
        return above(self.rig, name, CLOSED)
