"""Push to zone: slide the named object over the table into the zone of the named colour.

What counts is where the object comes to rest: on the table, let go, inside. Carrying it there would count as well, and
takes longer. Cubes and cylinders only: a ball would roll away.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from episode import Outcome, Split, SubGoal, stream
from sims.draw import SLIDING, SMOOTH, block, block_names, choice, clear_of, finish, scatter, zone
from sims.look import COLORS
from sims.moves import ROOM, SLACK, Intent, aside, push
from sims.setting import Point, Setting
from sims.world import ArmWorld

KINDS = ("cube", "cylinder")
NEAR = 0.09
"""Metres, from above: a hand that rises to go around the object stays near, or the way on would cost progress."""
INSIDE = 0.035
"""How far the object's centre may be from the zone's: all of a cylinder, but for a sliver, is then inside."""
LOW, HIGH = (-ROOM, -ROOM, 0.0), (ROOM, ROOM, 0.0)
"""Closer to the middle than in other tasks, so that the hand gets behind each object."""

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        "push the {} into the {}",
        "push the {} to the {}",
        "slide the {} over the table into the {}",
        "move the {} onto the {}",
        "slide the {} onto the {}",
    ),
    "heldout": ("slide the {} into the {}", "push the {} over the table to the {}", "push the {} onto the {}"),
}


class PushToZone(ArmWorld):
    task_id = "sims/push-to-zone-v0"
    summary = "push the named object over the table into the zone of the named colour"
    horizon = 120
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.02)}
    subgoals = (
        SubGoal("near"),
        SubGoal("nearer", after=("near",)),
        SubGoal("halfway", after=("nearer",)),
        SubGoal("in_zone", after=("halfway",)),
    )

    def compose(self, seed: int) -> Setting:
        task, layout = stream(seed, "task"), stream(seed, "layout")
        names = block_names(task, int(task.integers(1, 4)), self.split, KINDS)
        free = [c for c in COLORS if c not in {color for color, _ in names}]
        colors = [str(c) for c in task.permutation(free)[: task.integers(1, 3)]]
        spots, places = self._layout(layout, len(names), len(colors))
        things = [block(seed, *name, spot, SLIDING) for name, spot in zip(names, spots, strict=True)]
        zones = [zone(seed, color, place) for color, place in zip(colors, places, strict=True)]
        instruction = choice(task, PHRASES[self.split]).format(things[0].name, zones[0].name)
        target, goal = things[0].name, zones[0].name
        # Zones first: what lies over others comes later.
        return finish(seed, self.split, instruction, [*zones, *things], target, goal, 0.0, SMOOTH)

    def _layout(self, rng: np.random.Generator, things: int, zones: int) -> tuple[list[Point], list[Point]]:
        """Where objects and zones are, nothing standing in the way of the object that is to be pushed."""
        while True:
            places = scatter(rng, zones, apart=0.12, low=LOW, high=HIGH)
            spots = scatter(rng, things, apart=0.1, low=LOW, high=HIGH)
            far = aside(np.array(spots[0]), np.array(places[0])) > 0.12
            if far and clear_of(spots[1:], spots[0], places[0]):
                return spots, places

    def _missing(self) -> float:
        return aside(self.rig.where(self.rig.setting.target), self.rig.where(self.rig.setting.goal))

    def _inside(self) -> bool:
        return self._missing() < INSIDE and self.rig.on_table(self.rig.setting.target)

    def judge(self) -> dict[str, bool]:
        setting, missing, inside = self.rig.setting, self._missing(), self._inside()
        start = aside(np.array(setting.thing(setting.target).position), self.rig.where(setting.goal))
        return {
            "near": inside or aside(self.rig.where(setting.target), self.rig.tip) < NEAR,
            "nearer": inside or missing < start - 0.02,
            "halfway": inside or missing < start / 2,
            "in_zone": inside,
        }

    def verdict(self) -> Outcome | None:
        name = self.rig.setting.target
        if self._inside() and self.rig.resting(name) and self.rig.held != name:
            return Outcome.SUCCESS
        return Outcome.FAILURE if self.rig.lost(name) else None

    def plan(self) -> Intent:
        setting = self.rig.setting
        return push(self.rig, setting.target, self.rig.where(setting.goal), slack=SLACK)
