"""Still scenes in the look of the tasks, for teaching perception: nothing moves, no physics is stepped."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from episode import Body, Frame, SceneObject, Split, stream
from sims.arm import FLOOR, STROKE, WORKSPACE, clip
from sims.draw import TABLE_HIGH, TABLE_LOW, button, choice, scatter, zone
from sims.engine import mujoco
from sims.look import BLOCKS, COLORS, allowed, draw_bowl, draw_cameras, draw_look, paint
from sims.render import Eye
from sims.scene import MOUNTS, Outlines, build, describe, pose
from sims.setting import Point, Setting, Thing
from sims.things import BOWL_RIM

HAND = 0.02
"""From the middle of the closed fingers to their outermost corner, in metres, and a little more."""


class Gallery:
    """Random scenes: markers in the air; blocks on the table, with a bowl, zones or buttons; one in the hand."""

    def __init__(self, image_size: int = 96, split: Split = "train") -> None:
        self._size = (image_size, image_size)
        self._split = split
        self._eye = Eye(*self._size)

    def sample(self, seed: int) -> tuple[dict[str, Frame], list[SceneObject], NDArray[np.float32], Body]:
        """Frames by camera, scene graph, proprioception [5] and body of the scene number ``seed``."""
        setting, held = self._draw(seed)
        model = build(setting)
        data = mujoco.MjData(model)
        pose(model, data, setting.start, setting.opening)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        frames = {name: self._eye.draw(model, data, name) for name in WORKSPACE.cameras}
        scene = describe(model, data, setting, Outlines(model, setting.things), WORKSPACE.cameras, self._size, held)
        proprio = np.array([*setting.start, setting.opening, bool(held)], np.float32)
        return frames, scene, proprio, WORKSPACE

    def close(self) -> None:
        """Frees the OpenGL context, on the thread that drew."""
        self._eye.close()

    def _draw(self, seed: int) -> tuple[Setting, str]:
        rng, looks = stream(seed, "gallery"), stream(seed, "gallery", "appearance")
        things = self._markers(rng, looks) if rng.random() < 0.35 else self._table(rng, looks)
        held = ""
        blocks = [t for t in things if t.kind in BLOCKS]
        opening = float(rng.random()) if rng.random() < 0.6 else 0.0
        tip = self._tip(rng, things, opening)
        if blocks and rng.random() < 0.25:
            thing = blocks[0]
            held, opening = thing.name, thing.radius / STROKE
            in_hand = Thing(thing.name, thing.kind, thing.color, thing.rgb, _offset(tip, rng, 0.006), 0.0, thing.radius)
            things = [in_hand if t is thing else t for t in things]
        setting = Setting(
            instruction="",
            things=tuple(things),
            look=draw_look(looks, self._split),
            start=tip,
            opening=opening,
            cameras=draw_cameras(looks, tuple(MOUNTS)),
        )
        return setting, held

    def _markers(self, rng: np.random.Generator, looks: np.random.Generator) -> list[Thing]:
        count = int(rng.integers(1, 5))
        colors = rng.permutation(list(COLORS))[:count]
        points = scatter(rng, count, apart=0.07, low=(-0.19, -0.19, 0.03), high=(0.19, 0.19, 0.28))
        return [
            Thing(f"{c} marker", "marker", str(c), paint(str(c), looks), p, radius=float(rng.uniform(0.02, 0.026)))
            for c, p in zip(colors, points, strict=True)
        ]

    def _table(self, rng: np.random.Generator, looks: np.random.Generator) -> list[Thing]:
        extra = choice(rng, ("bowl", "zones", "buttons", ""))
        count = int(rng.integers(1, 5))
        pairs = [(c, k) for c in COLORS for k in BLOCKS if allowed(c, k, self._split)]
        chosen = [pairs[i] for i in rng.permutation(len(pairs))[:count]]
        more = {"bowl": 1, "buttons": int(rng.integers(1, 4))}.get(extra, 0)
        spots = scatter(rng, count + more, apart=0.065, low=(-0.19, -0.19, 0.0), high=(0.19, 0.19, 0.0))
        others, spots = spots[:more], spots[more:]
        under: list[Thing] = []
        if extra == "bowl":
            x, y, _ = others[0]
            spots = [p for p in spots if np.hypot(p[0] - x, p[1] - y) > BOWL_RIM + 0.03]
            under = [Thing("bowl", "bowl", "", draw_bowl(looks, self._split), (x, y, 0.0))]
        elif extra == "buttons":
            under = [button(int(looks.integers(2**31)), c, p) for c, p in zip(_colors(rng), others, strict=False)]
        elif extra == "zones":  # wherever: things may stand on them
            places = scatter(rng, int(rng.integers(1, 3)), apart=0.11, low=TABLE_LOW, high=TABLE_HIGH)
            under = [zone(int(looks.integers(2**31)), c, p) for c, p in zip(_colors(rng), places, strict=False)]
        blocks = []
        for (color, kind), (x, y, _) in zip(chosen, spots, strict=False):
            radius, yaw = float(rng.uniform(0.0175, 0.021)), float(rng.uniform(-0.3, 0.3))
            blocks.append(Thing(f"{color} {kind}", kind, color, paint(color, looks), (x, y, radius), yaw, radius))
        return under + blocks

    def _tip(self, rng: np.random.Generator, things: list[Thing], opening: float) -> Point:
        """Anywhere, or over or beside one of the things, where the hand hides it; never low inside another thing."""
        blocks = [t for t in things if t.kind in BLOCKS]
        standing = [t for t in things if t.kind not in ("marker", "zone")]
        for _ in range(20):
            tip = rng.uniform([-0.21, -0.21, FLOOR], [0.21, 0.21, 0.29])
            if rng.random() < 0.7:
                among = blocks if blocks and rng.random() < 0.7 else things
                near = np.array(among[rng.integers(len(among))].position)
                tip = near + rng.normal(0.0, 0.045, 3)
                if near[2] < 0.03 and rng.random() < 0.8:  # on the table: as low as one pushes, or passes over it
                    tip[2] = rng.uniform(FLOOR, 0.03) if rng.random() < 0.5 else rng.uniform(0.07, 0.13)
            tip = clip(tip)
            room = [np.hypot(*(tip[:2] - t.position[:2])) - _width(t) for t in standing]
            if tip[2] > 0.07 or min(room, default=1.0) > HAND + opening * STROKE:
                break
        return float(tip[0]), float(tip[1]), float(tip[2])


def _width(thing: Thing) -> float:
    """From the middle of a thing to its outermost corner."""
    return BOWL_RIM if thing.kind == "bowl" else 1.42 * thing.radius


def _colors(rng: np.random.Generator) -> list[str]:
    return [str(color) for color in rng.permutation(list(COLORS))]


def _offset(point: Point, rng: np.random.Generator, spread: float) -> Point:
    y, z = rng.uniform(-spread, spread, 2)
    return point[0], point[1] + float(y), point[2] + float(z)
