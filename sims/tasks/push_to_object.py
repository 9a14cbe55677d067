"""Push to object: slide the named object over the table until it stands next to another.

What counts is that both stand side by side on the table, at rest and not in the hand; the other may be nudged along.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from episode import Outcome, Split, SubGoal, stream
from sims.draw import SLIDING, SMOOTH, block, block_names, called, choice, clear_of, finish, scatter
from sims.moves import CLOSED, ROOM, SLACK, TRAVEL, Intent, aside, at, push
from sims.setting import Point, Setting
from sims.world import ArmWorld

KINDS = ("cube", "cylinder")
NEAR = 0.09
"""Metres, from above: a hand that rises to go around the object stays near, or the way on would cost progress."""
GAP = 0.015
"""Metres between two objects (as between cylinders of their width) that are next to each other."""
INTO = 0.01
"""Metres that a push aims at beyond where both touch, so that one that falls a little short still ends next to it."""
LOW, HIGH = (-ROOM, -ROOM, 0.0), (ROOM, ROOM, 0.0)

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        "push the {} to the {}",
        "push the {} against the {}",
        "slide the {} over the table to the {}",
        "move the {} next to the {}",
        "slide the {} next to the {}",
    ),
    "heldout": ("slide the {} against the {}", "push the {} over the table to the {}", "push the {} next to the {}"),
}


class PushToObject(ArmWorld):
    task_id = "sims/push-to-object-v0"
    summary = "push the named object over the table until it is next to another"
    horizon = 120
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.03)}
    subgoals = (
        SubGoal("near"),
        SubGoal("nearer", after=("near",)),
        SubGoal("halfway", after=("nearer",)),
        SubGoal("beside", after=("halfway",)),
    )

    def compose(self, seed: int) -> Setting:
        task, layout = stream(seed, "task"), stream(seed, "layout")
        names = block_names(task, int(task.integers(2, 4)), self.split, KINDS)
        while True:
            spots = scatter(layout, len(names), apart=0.1, low=LOW, high=HIGH)
            far = aside(np.array(spots[0]), np.array(spots[1])) > 0.13
            if far and clear_of(spots[2:], spots[0], spots[1]):
                break
        things = [block(seed, *name, spot, SLIDING) for name, spot in zip(names, spots, strict=True)]
        target, other = things[:2]
        instruction = choice(task, PHRASES[self.split]).format(called(task, target, things), other.name)
        return finish(seed, self.split, instruction, things, target.name, other.name, 0.0, SMOOTH)

    def _together(self) -> float:
        """Between the middles of both where they touch."""
        setting = self.rig.setting
        return setting.thing(setting.target).radius + setting.thing(setting.goal).radius

    def _between(self, target: NDArray[np.float64] | Point, other: NDArray[np.float64] | Point) -> float:
        return aside(np.asarray(target), np.asarray(other)) - self._together()

    def _beside(self) -> bool:
        setting = self.rig.setting
        both = (setting.target, setting.goal)
        return self._between(*map(self.rig.where, both)) < GAP and all(map(self.rig.on_table, both))

    def judge(self) -> dict[str, bool]:
        setting, beside = self.rig.setting, self._beside()
        target, other = self.rig.where(setting.target), self.rig.where(setting.goal)
        start = self._between(setting.thing(setting.target).position, setting.thing(setting.goal).position)
        return {
            "near": beside or aside(target, self.rig.tip) < NEAR,
            "nearer": beside or self._between(target, other) < start - 0.02,
            "halfway": beside or self._between(target, other) < start / 2,
            "beside": beside,
        }

    def verdict(self) -> Outcome | None:
        both = (self.rig.setting.target, self.rig.setting.goal)
        if self._beside() and all(map(self.rig.resting, both)) and self.rig.held not in both:
            return Outcome.SUCCESS
        return Outcome.FAILURE if any(map(self.rig.lost, both)) else None

    def plan(self) -> Intent:
        name = self.rig.setting.target
        if self._beside() and not self.rig.held:  # pushed on, both would slide away
            return Intent(at(self.rig.tip, TRAVEL), CLOSED, f"leave the {name} where it is")
        spot = self.rig.where(self.rig.setting.goal)
        way = spot - self.rig.where(name)
        axis = int(np.argmax(np.abs(way[:2])))
        spot[axis] -= np.sign(way[axis]) * (self._together() - INTO)
        return push(self.rig, name, spot, slack=SLACK)
