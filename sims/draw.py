"""Drawing a scene at random: which things, where, and how they feel. Used by tasks and by the gallery."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from episode import Split, stream
from sims.look import BLOCKS, COLORS, HELDOUT_PAIRS, allowed, draw_cameras, draw_look, paint
from sims.scene import MOUNTS
from sims.setting import Physics, Point, Setting, Thing

TABLE_LOW, TABLE_HIGH = (-0.17, -0.17, 0.0), (0.17, 0.17, 0.0)
"""Where things stand, so that the gripper gets around each of them."""

APART = 0.08
"""The hand starts at least this far from what its task is about, so that doing nothing solves nothing."""


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


def block_names(rng: np.random.Generator, count: int, split: Split) -> list[tuple[str, str]]:
    """``count`` pairs of colour and kind, each colour once; the first is the target's, a held-out pair if held out."""
    pairs = sorted(HELDOUT_PAIRS) if split == "heldout" else [(c, k) for c in COLORS for k in BLOCKS]
    pairs = [pair for pair in pairs if allowed(*pair, split)]
    chosen = [pairs[int(rng.integers(len(pairs)))]]
    for color in rng.permutation([c for c in COLORS if c != chosen[0][0]])[: count - 1]:
        kinds = [k for k in BLOCKS if allowed(str(color), k, split)]
        chosen.append((str(color), choice(rng, kinds)))
    return chosen


def block(seed: int, color: str, kind: str, spot: Point) -> Thing:
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
        friction=float(physics.uniform(0.8, 1.2)),
    )


def finish(
    seed: int,
    split: Split,
    instruction: str,
    things: Sequence[Thing],
    target: str,
    goal: str = "",
    opening: float = 1.0,
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
        physics=Physics(gain=float(physics.uniform(0.85, 1.15)), grip_friction=float(physics.uniform(0.85, 1.15))),
        cameras=draw_cameras(looks, tuple(MOUNTS)),
    )
