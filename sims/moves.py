"""What experts are made of: the next decision of a pick, a carry, a push or a visit, from the state alone.

Each looks at where things are now, so that an expert mends what went wrong: a thing that slipped is picked up again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sims.arm import FLOOR, WORKSPACE, clip
from sims.rig import Rig
from sims.setting import Point

TRAVEL = 0.09
"""Height of the tip, in metres, at which hand and load pass over everything on the table."""
ALIGNED = 0.02
"""Metres that the tip may be off, to the side, to be over a thing: more than a bin (1.4 cm) of the coarsest codec along
both axes. A policy knows places by their bins alone: told that the next one is not yet over the thing, it would hover.
"""
LEVEL = 0.012
"""Metres that the tip may be too high, likewise: more than a bin (.94 cm) in height."""

FINGER = 0.01
"""Half the width of the closed fingers, which are square from above."""
RUN_UP = 0.02
"""Between the fingers and a thing that they are about to push."""
STROKE = 0.09
"""Longest push of one decision, in metres: a faster one would send the thing on its own way when the hand stops."""
STRAIGHT = 0.015
"""A push is straight enough if the fingers pass no further from the middle of the thing: more than a bin."""
BEHIND = 0.02
"""The fingers are behind a thing if they overlap with it by no more, as far as places are known."""
NEARLY = 0.05
"""Up to here the fingers go over to the middle of a thing without rising first."""
PUSHING = 0.03
"""The pads of a tip that is lower than this meet a thing below its middle."""

BLOCK = 0.019
"""Half the width of a common thing."""
SLACK = 0.02
"""A push is over, along an axis, where less is missing."""
LEAP = WORKSPACE.chunk * WORKSPACE.max_step
"""Furthest that the tip goes in one decision, along an axis."""

ROOM = 0.14
"""Metres from the middle, along x and y, up to which the hand gets around a thing with ease."""

OPEN, CLOSED = 1.0, -1.0


@dataclass(frozen=True, slots=True)
class Intent:
    """An expert's next decision: where the tip should go, with what gripper (−1 closed, +1 open), and what it says."""

    tip: NDArray[np.float64]
    grip: float
    thought: str
    looks: tuple[NDArray[np.float64], ...] = ()
    """Places of things that ``tip`` follows from, where it is no place that can be seen."""


def at(point: NDArray[np.float64] | Point, height: float) -> NDArray[np.float64]:
    """The point at ``height`` above the table, over or under ``point``."""
    return np.array([point[0], point[1], height])


def aside(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Horizontal distance in metres."""
    return float(np.hypot(a[0] - b[0], a[1] - b[1]))


def low(tip: NDArray[np.float64]) -> bool:
    """Whether things on the table may be in the hand's way."""
    return bool(tip[2] < TRAVEL - 0.02)


def above(rig: Rig, name: str, grip: float) -> Intent:
    """Goes above a thing, at a height where nothing is in the way."""
    return over(rig.tip, rig.where(name), grip, f"go above the {name}")


def over(tip: NDArray[np.float64], point: NDArray[np.float64], grip: float, thought: str) -> Intent:
    """Goes over a point, at a height where nothing is in the way."""
    if low(tip):
        return Intent(at(tip, TRAVEL), grip, "rise over the things")
    return Intent(at(point, TRAVEL), grip, thought)


def pick(rig: Rig, name: str) -> Intent | None:
    """Goes above a thing, down around it, and closes; None once it is held."""
    thing, tip = rig.where(name), rig.tip
    if rig.held == name:
        return None
    if aside(tip, thing) > ALIGNED or rig.opening < 0.6:
        return above(rig, name, OPEN)
    if tip[2] - thing[2] > LEVEL:
        return Intent(thing, OPEN, f"lower the gripper around the {name}")
    return Intent(tip, CLOSED, f"grasp the {name}")


def carry(rig: Rig, name: str, goal: str) -> Intent:
    """Lifts the thing that is held and brings it over another."""
    there, tip = rig.where(goal), rig.tip
    if low(tip):
        return Intent(at(tip, TRAVEL), CLOSED, f"lift the {name}")
    return Intent(at(tip + there - rig.where(name), TRAVEL), CLOSED, f"carry the {name} over the {goal}")


def push(rig: Rig, name: str, spot: NDArray[np.float64] | Point, slack: float) -> Intent:
    """Pushes a thing over the table to ``spot``, with the fingers closed; see :func:`stroke`."""
    if rig.held:
        return _put_down(rig)
    thing, radius = rig.where(name), rig.setting.thing(name).radius
    found = stroke(name, rig.tip, rig.opening, thing, at(spot, thing[2]), radius, slack)
    return found or pick(rig, name) or _put_down(rig)  # too near to the edge: pulled inwards first


def stroke(
    name: str,
    tip: NDArray[np.float64],
    opening: float,
    thing: NDArray[np.float64],
    spot: NDArray[np.float64],
    radius: float,
    slack: float,
) -> Intent | None:
    """The next decision of pushing a thing to ``spot``: along x first, then along y.

    Strokes run along x or y because the fingers are a square that stays aligned with the world: a face pushes straight,
    an edge turns the thing away. An axis is done with where less than ``slack`` metres are missing. Which one comes
    first is fixed, so that each coordinate that a policy writes follows from what is missing along the axes up to it,
    and the first from no comparison of both (docs/log.md). On its way a stroke goes over to the middle of the thing.

    Returns:
        None where the hand cannot get behind the thing.
    """
    missing, looks, reach = (spot - thing)[:2], (thing, spot), radius + FINGER
    signs = np.where(missing > 0, 1.0, -1.0)
    gaps = signs * (thing - tip)[:2] - reach
    offs = np.abs(thing - tip)[1::-1]  # of a push along x what is off in y, and the other way round
    down = low(tip)
    axis = 0 if abs(missing[0]) > slack else 1
    ready = down and offs[axis] < STRAIGHT and gaps[axis] > -BEHIND
    behind = thing.copy()
    behind[axis] -= signs[axis] * (reach + RUN_UP)
    if abs(behind[axis]) > WORKSPACE.high[axis] + LEVEL:
        return None
    if down and opening > 0.3:  # whatever is between the fingers would be grasped
        return Intent(at(tip, TRAVEL), OPEN, "rise with open fingers", looks)
    if ready:
        end = at(thing, FLOOR)
        end[axis] = tip[axis] + signs[axis] * np.clip(abs(spot[axis] - tip[axis]) - reach, 0.0, STROKE)
        return Intent(end, CLOSED, f"push the {name}", looks)
    if down and gaps[axis] > 0 and offs[axis] < NEARLY:
        return Intent(at(behind, FLOOR), CLOSED, f"line up behind the {name}", looks)
    if not down and offs[axis] < STRAIGHT and RUN_UP / 3 < gaps[axis] < 2.5 * RUN_UP:
        return Intent(at(behind, FLOOR), CLOSED, f"lower the fingers behind the {name}", looks)
    return replace(over(tip, behind, CLOSED, f"go behind the {name}"), looks=looks)


@dataclass(frozen=True, slots=True)
class Push:
    """A moment of pushing: places in metres, the gripper's opening in [0, 1]."""

    tip: NDArray[np.float64]
    opening: float
    thing: NDArray[np.float64]
    spot: NDArray[np.float64]
    moved: NDArray[np.float64] | None
    """What the last decision moved the tip by; None where this is the first one."""


def imagined_push(rng: np.random.Generator) -> Push:
    """A moment of a push as :func:`stroke` would have it, without physics: the thing goes as far as the fingers do."""
    thing, spot = (np.array([*rng.uniform(-ROOM, ROOM, 2), BLOCK]) for _ in range(2))
    tip, opening = clip(rng.uniform(WORKSPACE.low, WORKSPACE.high)), float(rng.choice([0.0, 0.0, 0.5, 1.0]))
    moved = None
    slip = 0.03 if rng.random() < 0.3 else 0.004  # a policy's own slips are larger than an expert's
    for _ in range(int(rng.integers(8))):
        intent = stroke("thing", tip, opening, thing, spot, BLOCK, SLACK)
        if intent is None or aside(thing, spot) < SLACK:
            break
        before, tip = tip, clip(tip + np.clip(intent.tip - tip, -LEAP, LEAP) + rng.normal(0.0, slip, 3))
        opening, moved = (intent.grip + 1) / 2, tip - before
        if max(before[2], tip[2]) < PUSHING:
            axis = int(np.argmax(np.abs(tip - before)[:2]))
            ahead = np.sign(tip[axis] - before[axis])
            thing = thing.copy()
            thing[axis] = ahead * max(ahead * thing[axis], ahead * tip[axis] + BLOCK + FINGER)
    return Push(tip, opening, thing, spot, moved)


def _put_down(rig: Rig) -> Intent:
    """Gives the table back what the hand holds, so far from the edge that it can be pushed from any side."""
    held, tip = rig.where(rig.held), rig.tip
    inwards = np.clip(held, -ROOM, ROOM) - held
    inwards[2] = rig.setting.thing(rig.held).radius - held[2]
    if np.abs(inwards).max() > LEVEL:
        return Intent(tip + inwards, CLOSED, f"put the {rig.held} down")
    return Intent(tip, OPEN, f"let go of the {rig.held}")
