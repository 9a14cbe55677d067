"""Put in bowl: pick the named object up, carry it over the bowl and let go of it inside."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from episode import Outcome, Split, SubGoal, stream
from sims.draw import TABLE_HIGH, TABLE_LOW, block, block_names, choice, finish, scatter
from sims.look import draw_bowl
from sims.moves import ALIGNED, OPEN, Intent, aside, at, carry, pick
from sims.setting import Setting, Thing
from sims.things import BOWL_HEIGHT, BOWL_INSIDE
from sims.world import ArmWorld

NEAR = 0.05
LIFTED = 0.03
"""How far the object has risen from where it stood."""

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        "put the {} into the bowl",
        "place the {} in the bowl",
        "pick up the {} and drop it into the bowl",
        "move the {} to the bowl",
    ),
    "heldout": ("place the {} into the bowl", "pick up the {} and put it in the bowl", "drop the {} into the bowl"),
}


class PutInBowl(ArmWorld):
    task_id = "sims/put-in-bowl-v0"
    summary = "pick up the named object and release it inside the bowl"
    horizon = 80
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.02)}
    subgoals = (
        SubGoal("near"),
        SubGoal("grasped", after=("near",)),
        SubGoal("lifted", after=("grasped",)),
        SubGoal("over_bowl", after=("lifted",)),
        SubGoal("in_bowl", after=("over_bowl",)),
    )

    def compose(self, seed: int) -> Setting:
        task, layout = stream(seed, "task"), stream(seed, "layout")
        names = block_names(task, int(task.integers(1, 4)), self.split)
        x, y = (float(v) for v in layout.uniform(-0.14, 0.14, 2))
        while True:
            spots = scatter(layout, len(names), apart=0.1, low=TABLE_LOW, high=TABLE_HIGH)
            if all(np.hypot(spot[0] - x, spot[1] - y) > 0.14 for spot in spots):
                break
        bowl = Thing("bowl", "bowl", "", draw_bowl(stream(seed, "appearance", "bowl"), self.split), (x, y, 0.0))
        things = [block(seed, *name, spot) for name, spot in zip(names, spots, strict=True)]
        instruction = choice(task, PHRASES[self.split]).format(things[0].name)
        return finish(seed, self.split, instruction, [*things, bowl], target=things[0].name, goal="bowl")

    def _inside(self) -> bool:
        setting = self.rig.setting
        thing, bowl = self.rig.where(setting.target), self.rig.where(setting.goal)
        return aside(thing, bowl) < BOWL_INSIDE and thing[2] < BOWL_HEIGHT

    def judge(self) -> dict[str, bool]:
        setting, name = self.rig.setting, self.rig.setting.target
        thing, inside = self.rig.where(name), self._inside()
        grasped = self.rig.held == name
        lifted = grasped and thing[2] - setting.thing(name).position[2] > LIFTED
        return {
            "near": inside or float(np.linalg.norm(thing - self.rig.tip)) < NEAR,
            "grasped": inside or grasped,
            "lifted": inside or lifted,
            "over_bowl": inside or (lifted and aside(thing, self.rig.where(setting.goal)) < BOWL_INSIDE),
            "in_bowl": inside,
        }

    def verdict(self) -> Outcome | None:
        name = self.rig.setting.target
        if self._inside() and self.rig.resting(name) and name not in self.rig.touched:
            return Outcome.SUCCESS
        return Outcome.FAILURE if self.rig.where(name)[2] < -0.05 else None

    def plan(self) -> Intent:
        name, goal, tip = self.rig.setting.target, self.rig.setting.goal, self.rig.tip
        thing, bowl = self.rig.where(name), self.rig.where(goal)
        if self._inside():
            return Intent(at(tip, 0.15), OPEN, f"the {name} is in the bowl, let go")
        if self.rig.held == name and aside(thing, bowl) < 1.5 * ALIGNED:
            return Intent(tip, OPEN, "let go over the bowl")
        return pick(self.rig, name) or carry(self.rig, name, goal)
