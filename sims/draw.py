"""Drawing a scene at random: which things, where, and how they feel. Used by tasks and by the gallery."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from episode import Split, stream
from sims.look import BLOCKS, COLORS, HELDOUT_NEIGHBOURS, HELDOUT_PAIRS, allowed, draw_cameras, draw_look, paint
from sims.scene import MOUNTS
from sims.setting import Physics, Point, Setting, Thing
from sims.things import BUTTON_HEIGHT, ZONE

TABLE_LOW, TABLE_HIGH = (-0.17, -0.17, 0.0), (0.17, 0.17, 0.0)
"""Where things stand, so that the gripper gets around each of them."""

APART = 0.08
"""The hand starts at least this far from what its task is about, so that doing nothing solves nothing."""
SMOOTH, SLIDING = 0.4, (0.4, 0.55)
"""Friction of a table over which things are pushed, and of those things.

On a rougher one a push jams: under load the arm bends a little downwards, the fingers cling to the thing's side and
press it onto the table, and with the product of both coefficients above 1 no force gets it going.
"""
SIDEWAYS = 0.06
"""Metres in x from which one of two things is clearly the left one."""


def choice(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def scatter(rng: np.random.Generator, count: int, apart: float, low: Point, high: Point) -> list[Point]:
    """``count`` points in a box, each pair at least ``apart`` in x or y, and in x or z where the box has a height.

    Where they do not fit, the distance shrinks until they do.
    """
    while True:
        points: list[Point] = []
        for _ in range(200):
            x, y, z = rng.uniform(low, high)
            from_above = all(max(abs(x - q[0]), abs(y - q[1])) > apart for q in points)
            from_front = low[2] == high[2] or all(max(abs(x - q[0]), abs(z - q[2])) > apart for q in points)
            if from_above and from_front:
                points.append((float(x), float(y), float(z)))
            if len(points) == count:
                return points
        apart *= 0.8


def clear_of(others: Sequence[Point], start: Point, end: Point) -> bool:
    """Whether nothing stands in the way of a push from ``start`` to ``end`` (``sims.moves.push``: x, then y).

    Nor where the hand comes down behind the thing that it pushes.
    """
    way = np.subtract(end, start)[:2]
    corner = np.array(start[:2])
    for axis in (0, 1):
        stroke = np.where(np.arange(2) == axis, way, 0.0)
        first, last = corner - np.sign(stroke) * 0.06, corner + stroke
        low, high = np.minimum(first, last) - 0.065, np.maximum(first, last) + 0.065
        if any(np.all((low < other[:2]) & (other[:2] < high)) for other in others):
            return False
        corner = last
    return True


def block_names(
    rng: np.random.Generator, count: int, split: Split, kinds: Sequence[str] = BLOCKS
) -> list[tuple[str, str]]:
    """``count`` pairs of colour and kind, each colour once; the first is the target's, a held-out pair if held out."""
    pairs = sorted(HELDOUT_PAIRS) if split == "heldout" else [(c, k) for c in COLORS for k in kinds]
    pairs = [pair for pair in pairs if pair[1] in kinds and allowed(*pair, split)]
    chosen = [pairs[int(rng.integers(len(pairs)))]]
    for color in rng.permutation([c for c in COLORS if c != chosen[0][0]])[: count - 1]:
        free = [k for k in kinds if allowed(str(color), k, split)]
        chosen.append((str(color), choice(rng, free)))
    return chosen


def neighbours(rng: np.random.Generator, fewest: int, most: int, split: Split) -> list[str]:
    """Colours of things of one kind: the target's, then the others'; together only in this split."""
    while True:
        colors = [str(c) for c in rng.permutation(list(COLORS))[: fewest + rng.integers(most - fewest + 1)]]
        heldout = any({colors[0], other} in HELDOUT_NEIGHBOURS for other in colors[1:])
        if heldout == (split == "heldout"):
            return colors


def called(rng: np.random.Generator, thing: Thing, things: Sequence[Thing]) -> str:
    """What an instruction calls ``thing``: "red cube", or half the time "left cube" where that names it as well.

    It does where there are two of its kind, well apart as the front camera (and the top one) sees them: x is to the
    right. Which one is meant is settled at the start; that things move later does not change it.
    """
    twins = [t for t in things if t.kind == thing.kind and t is not thing]
    by_side = rng.random() < 0.5
    if len(twins) != 1 or not by_side or abs(twins[0].position[0] - thing.position[0]) < SIDEWAYS:
        return thing.name
    return f"{'left' if thing.position[0] < twins[0].position[0] else 'right'} {thing.kind}"


def zone(seed: int, color: str, spot: Point) -> Thing:
    """A coloured disc painted on the table around ``spot``."""
    name = f"{color} zone"
    return Thing(
        name, "zone", color, paint(color, stream(seed, "appearance", name)), (spot[0], spot[1], 0.0), radius=ZONE
    )


def block(seed: int, color: str, kind: str, spot: Point, friction: tuple[float, float] = (0.8, 1.2)) -> Thing:
    """A block on the table at ``spot``, of a size that the gripper can take."""
    name = f"{color} {kind}"
    layout, looks, physics = (stream(seed, part, name) for part in ("layout", "appearance", "physics"))
    radius = float(layout.uniform(0.0175, 0.02))
    return Thing(
        name,
        kind,
        color,
        paint(color, looks),
        (spot[0], spot[1], radius),
        yaw=float(layout.uniform(-0.2, 0.2)),
        radius=radius,
        mass=float(physics.uniform(0.03, 0.08)),
        friction=float(physics.uniform(*friction)),
    )


def button(seed: int, color: str, spot: Point) -> Thing:
    """A button on the table at ``spot``."""
    name = f"{color} button"
    return Thing(name, "button", color, paint(color, stream(seed, "appearance", name)), (*spot[:2], BUTTON_HEIGHT))


def finish(
    seed: int,
    split: Split,
    instruction: str,
    things: Sequence[Thing],
    target: str,
    goal: str = "",
    opening: float = 1.0,
    table_friction: float = 1.0,
) -> Setting:
    """A setting with the rest drawn: the arm's start, its gains, the look and the cameras."""
    looks, physics = stream(seed, "appearance"), stream(seed, "physics")
    arm, aim = stream(seed, "layout", "arm"), next(t.position for t in things if t.name == target)
    while True:
        x, y, z = arm.uniform([-0.18, -0.18, 0.12], [0.18, 0.18, 0.27])
        if np.linalg.norm(np.array(aim) - (x, y, z)) > APART:
            break
    return Setting(
        instruction=instruction,
        things=tuple(things),
        look=draw_look(looks, split),
        target=target,
        goal=goal,
        start=(float(x), float(y), float(z)),
        opening=opening,
        physics=Physics(float(physics.uniform(0.85, 1.15)), float(physics.uniform(0.85, 1.15)), table_friction),
        cameras=draw_cameras(looks, tuple(MOUNTS)),
    )
