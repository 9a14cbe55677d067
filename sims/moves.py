"""What experts are made of: the next decision of a pick, a carry or a visit, from the state alone.

Each looks at where things are now, so that an expert mends what went wrong: a thing that slipped is picked up again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sims.rig import Rig
from sims.setting import Point

TRAVEL = 0.09
"""Height of the tip, in metres, at which hand and load pass over everything on the table."""
ALIGNED = 0.012
"""Metres that the tip may be off to be over a thing: more than half a step of the coarsest codec."""

OPEN, CLOSED = 1.0, -1.0


@dataclass(frozen=True, slots=True)
class Intent:
    """An expert's next decision: where the tip should go, with what gripper (−1 closed, +1 open), and what it says."""

    tip: NDArray[np.float64]
    grip: float
    thought: str
    about: NDArray[np.float64]
    """Where the thing lies that this decision is about."""


def at(point: NDArray[np.float64] | Point, height: float) -> NDArray[np.float64]:
    """The point at ``height`` above the table, over or under ``point``."""
    return np.array([point[0], point[1], height])


def aside(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Horizontal distance in metres."""
    return float(np.hypot(a[0] - b[0], a[1] - b[1]))


def above(rig: Rig, name: str, grip: float) -> Intent:
    """Goes above a thing, at a height where nothing is in the way."""
    thing = rig.where(name)
    if rig.tip[2] < TRAVEL - 0.02:
        return Intent(at(rig.tip, TRAVEL), grip, "rise over the things", thing)
    return Intent(at(thing, TRAVEL), grip, f"go above the {name}", thing)


def pick(rig: Rig, name: str) -> Intent | None:
    """Goes above a thing, down around it, and closes; None once it is held."""
    thing, tip = rig.where(name), rig.tip
    if rig.held == name:
        return None
    if aside(tip, thing) > ALIGNED or rig.opening < 0.6:
        return above(rig, name, OPEN)
    if tip[2] - thing[2] > ALIGNED:
        return Intent(thing, OPEN, f"lower the gripper around the {name}", thing)
    return Intent(tip, CLOSED, f"grasp the {name}", thing)


def carry(rig: Rig, name: str, goal: str) -> Intent:
    """Lifts the thing that is held and brings it over another."""
    there, tip = rig.where(goal), rig.tip
    if tip[2] < TRAVEL - 0.02:
        return Intent(at(tip, TRAVEL), CLOSED, f"lift the {name}", there)
    return Intent(at(tip + there - rig.where(name), TRAVEL), CLOSED, f"carry the {name} over the {goal}", there)
