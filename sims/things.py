"""The kinds of things that can stand in a scene: how each is built.

A new kind is one function and one line in ``KINDS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import assets
from sims.engine import mujoco
from sims.setting import Thing

MJCF = Path(assets.__file__).parent / "mjcf"
GEOM = mujoco.mjtGeom


class Kind(NamedTuple):
    build: Callable[[Any, Thing], None]
    """Adds the thing to a spec."""
    fixed: bool
    """Whether it is part of the world, rather than something that can be moved."""


def quaternion(yaw: float) -> list[float]:
    return [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]


@cache
def part(file: str) -> Any:
    """A parsed MJCF file of ``assets/mjcf``; copy it before use."""
    return mujoco.MjSpec.from_file(str(MJCF / file))


def _loose(spec: Any, thing: Thing) -> Any:
    """A free body; its only geom has more grip than a table and rolls to a stop."""
    body = spec.worldbody.add_body(name=thing.name, pos=list(thing.position), quat=quaternion(thing.yaw))
    body.add_freejoint(name=thing.name)
    return body


def _geom(body: Any, thing: Thing, shape: Any, size: list[float]) -> None:
    body.add_geom(
        name=thing.name,
        type=shape,
        size=size,
        rgba=[*thing.rgb, 1.0],
        mass=thing.mass,
        friction=[thing.friction, 0.01, 0.002],
        condim=6 if shape == GEOM.mjGEOM_SPHERE else 4,
        contype=1,
        conaffinity=3,
    )


def _cube(spec: Any, thing: Thing) -> None:
    _geom(_loose(spec, thing), thing, GEOM.mjGEOM_BOX, [thing.radius] * 3)


def _ball(spec: Any, thing: Thing) -> None:
    _geom(_loose(spec, thing), thing, GEOM.mjGEOM_SPHERE, [thing.radius, 0.0, 0.0])


def _cylinder(spec: Any, thing: Thing) -> None:
    _geom(_loose(spec, thing), thing, GEOM.mjGEOM_CYLINDER, [thing.radius, thing.radius, 0.0])


def _marker(spec: Any, thing: Thing) -> None:
    """Seen, and touched by nothing."""
    body = spec.worldbody.add_body(name=thing.name, pos=list(thing.position))
    body.add_geom(
        name=thing.name,
        type=GEOM.mjGEOM_SPHERE,
        size=[thing.radius, 0.0, 0.0],
        rgba=[*thing.rgb, 1.0],
        contype=0,
        conaffinity=0,
    )


def _zone(spec: Any, thing: Thing) -> None:
    """A disc painted on the table: seen, and touched by nothing."""
    x, y, _ = thing.position
    spec.worldbody.add_geom(
        name=thing.name,
        type=GEOM.mjGEOM_CYLINDER,
        size=[thing.radius, PAINT / 2, 0.0],
        pos=[x, y, PAINT / 2],
        rgba=[*thing.rgb, 1.0],
        contype=0,
        conaffinity=0,
    )


def _button(spec: Any, thing: Thing) -> None:
    """A cap on a spring, in a grey ring. Its position is that of the cap's middle when nothing presses it."""
    x, y, z = thing.position
    meets: dict[str, Any] = {"contype": 0, "conaffinity": 3}  # fingers and loose things, but not the ring the cap
    ring = z - BUTTON_TRAVEL / 2
    spec.worldbody.add_geom(
        name=f"{thing.name}/ring",
        type=GEOM.mjGEOM_CYLINDER,
        size=[thing.radius + 0.01, ring / 2, 0.0],
        pos=[x, y, ring / 2],
        rgba=[0.25, 0.25, 0.27, 1.0],
        **meets,
    )
    cap = spec.worldbody.add_body(name=thing.name, pos=[x, y, z], gravcomp=1.0)
    cap.add_joint(
        name=thing.name,
        type=mujoco.mjtJoint.mjJNT_SLIDE,
        axis=[0, 0, 1],
        range=[-BUTTON_TRAVEL, 0.0],
        limited=True,
        stiffness=200.0,
        damping=2.0,
        armature=0.02,
    )
    cap.add_geom(
        name=f"{thing.name}/cap",
        type=GEOM.mjGEOM_CYLINDER,
        size=[thing.radius, 0.01, 0.0],
        rgba=[*thing.rgb, 1.0],
        mass=0.02,
        **meets,
    )


def _bowl(spec: Any, thing: Thing) -> None:
    """Stands fixed: its position is that of its foot."""
    bowl = part("bowl.xml").copy()
    for geom in bowl.body("bowl").geoms:
        geom.rgba = [*thing.rgb, 1.0]
    frame = spec.worldbody.add_frame(pos=list(thing.position), quat=quaternion(thing.yaw))
    frame.attach_body(bowl.body("bowl"), f"{thing.name}/")


KINDS: dict[str, Kind] = {
    "cube": Kind(_cube, fixed=False),
    "ball": Kind(_ball, fixed=False),
    "cylinder": Kind(_cylinder, fixed=False),
    "marker": Kind(_marker, fixed=True),
    "bowl": Kind(_bowl, fixed=True),
    "zone": Kind(_zone, fixed=True),
    "button": Kind(_button, fixed=True),
}

PAINT = 0.001
"""Thickness of a zone, in metres: enough for the renderer to tell it from the table."""
ZONE = 0.05
"""Radius of a zone."""
BUTTON_HEIGHT, BUTTON_TRAVEL = 0.02, 0.01
"""Of the cap's middle at rest, and how far it goes down; the ring stands 5 mm below the middle."""

BOWL_RIM = 0.065
"""Radius of the bowl's rim, outside, in metres."""
BOWL_HEIGHT = 0.042
BOWL_INSIDE = 0.044
"""Radius of its floor, inside."""
