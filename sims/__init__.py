"""Manipulation worlds on MuJoCo: one arm, one table, one task a file. Importing this registers them with gymnasium."""

import gymnasium as gym

from sims.tasks.lift import Lift
from sims.tasks.press_button import PressButton
from sims.tasks.push_to_object import PushToObject
from sims.tasks.push_to_zone import PushToZone
from sims.tasks.put_in_bowl import PutInBowl
from sims.tasks.reach import Reach
from sims.tasks.stack_two import StackTwo
from sims.tasks.touch_color import TouchColor
from sims.world import ArmWorld

WORLDS: tuple[type[ArmWorld], ...] = (
    Reach,
    TouchColor,
    PutInBowl,
    PushToZone,
    Lift,
    StackTwo,
    PushToObject,
    PressButton,
)
TASKS: dict[str, type[ArmWorld]] = {world.task_id: world for world in WORLDS}

for _id, _world in TASKS.items():
    if _id not in gym.registry:
        gym.register(_id, entry_point=f"{_world.__module__}:{_world.__name__}")
