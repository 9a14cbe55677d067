"""Stack two: put the named cube on the other named cube, and let go of it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from episode import Outcome, Split, SubGoal, stream
from sims.draw import TABLE_HIGH, TABLE_LOW, block, choice, finish, neighbours, scatter
from sims.look import BLOCKS, COLORS, allowed
from sims.moves import ALIGNED, CLOSED, OPEN, Intent, aside, carry, pick
from sims.setting import Setting
from sims.world import ArmWorld

NEAR = 0.05
LIFTED = 0.03
"""How far the cube has risen from where it stood."""
OVER = 0.018
"""How far apart, seen from above, the middles may be: less than half a cube, or it would fall."""

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        "stack the {} on the {}",
        "put the {} on the {}",
        "place the {} on top of the {}",
        "pick up the {} and put it on the {}",
        "take the {} and stack it on the {}",
    ),
    "heldout": ("put the {} on top of the {}", "place the {} on the {}", "pick up the {} and stack it on the {}"),
}


class StackTwo(ArmWorld):
    task_id = "sims/stack-two-v0"
    summary = "put the named cube on the other named cube and let go of it"
    horizon = 100
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.02)}
    subgoals = (
        SubGoal("near"),
        SubGoal("grasped", after=("near",)),
        SubGoal("lifted", after=("grasped",)),
        SubGoal("over_other", after=("lifted",)),
        SubGoal("stacked", after=("over_other",)),
    )

    def compose(self, seed: int) -> Setting:
        task, layout = stream(seed, "task"), stream(seed, "layout")
        names = [(color, "cube") for color in self._colors(task)]
        if task.random() < 0.4:  # something else on the table
            free = [(c, k) for c in COLORS for k in BLOCKS if allowed(c, k, self.split) and (c, "cube") not in names]
            names.append(free[int(task.integers(len(free)))])
        spots = scatter(layout, len(names), apart=0.11, low=TABLE_LOW, high=TABLE_HIGH)
        things = [block(seed, *name, spot) for name, spot in zip(names, spots, strict=True)]
        target, other = things[0].name, things[1].name
        instruction = choice(task, PHRASES[self.split]).format(target, other)
        return finish(seed, self.split, instruction, things, target, other)

    def _colors(self, rng: np.random.Generator) -> list[str]:
        """Of the two cubes. A train scene holds no cyan one, so held-out ones name none: the word would be new."""
        while True:
            colors = neighbours(rng, 2, 2, self.split)
            if all(allowed(color, "cube", "train") for color in colors):
                return colors

    def _aside(self) -> float:
        setting = self.rig.setting
        return aside(self.rig.where(setting.target), self.rig.where(setting.goal))

    def _above(self) -> float:
        """Between the other cube's top and the bottom of the one that is to stand on it."""
        setting = self.rig.setting
        upper, lower = (self.rig.where(name)[2] for name in (setting.target, setting.goal))
        return float(upper - lower) - setting.thing(setting.target).radius - setting.thing(setting.goal).radius

    def _stacked(self) -> bool:
        return self._aside() < OVER and abs(self._above()) < 0.006 and self.rig.on_table(self.rig.setting.goal)

    def judge(self) -> dict[str, bool]:
        name, stacked = self.rig.setting.target, self._stacked()
        thing, grasped = self.rig.where(name), self.rig.held == name
        lifted = grasped and thing[2] - self.rig.setting.thing(name).position[2] > LIFTED
        return {
            "near": stacked or float(np.linalg.norm(thing - self.rig.tip)) < NEAR,
            "grasped": stacked or grasped,
            "lifted": stacked or lifted,
            "over_other": stacked or (lifted and self._aside() < OVER),
            "stacked": stacked,
        }

    def verdict(self) -> Outcome | None:
        both = (self.rig.setting.target, self.rig.setting.goal)
        if self._stacked() and all(self.rig.resting(n) and n not in self.rig.touched for n in both):
            return Outcome.SUCCESS
        return Outcome.FAILURE if any(map(self.rig.lost, both)) else None

    def plan(self) -> Intent:
        name, other, tip = self.rig.setting.target, self.rig.setting.goal, self.rig.tip
        if self._stacked():
            return Intent(tip, OPEN, f"the {name} stands on the {other}, let go")
        if self.rig.held == name and self._aside() < ALIGNED and self._above() > -0.006:
            if self._above() > ALIGNED:
                way = self.rig.where(other) - self.rig.where(name)
                way[2] = 0.004 - self._above()
                return Intent(tip + way, CLOSED, f"lower the {name} onto the {other}")
            return Intent(tip, OPEN, f"let go of the {name}")
        return pick(self.rig, name) or carry(self.rig, name, other)
