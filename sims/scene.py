"""From a :class:`Setting` to a MuJoCo model, and from the model's state to what each camera sees where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episode import SceneObject
from sims.arm import FINGERS, JOINTS, STROKE, inverse
from sims.engine import mujoco
from sims.setting import RGB, CameraShift, Setting, Thing
from sims.things import KINDS, part

HALF_VIEW = 0.265
"""Half the height and width that the fixed cameras show, in metres, at their target."""
DISTANCE = 6.0
"""So far away that the view is nearly orthographic: 5 % smaller 0.3 m further back."""


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a fixed camera looks, and from what height (radians above the horizon, from the front)."""

    target: tuple[float, float, float]
    elevation: float


MOUNTS = {"top": Mount((0.0, 0.0, 0.0), np.pi / 2), "front": Mount((0.0, 0.0, 0.13), np.deg2rad(6.0))}
CAMERAS = ("top", "front", "wrist")
GRIPPER = "gripper"
GRIPPER_GEOMS = ("palm", *FINGERS)


def _turn(axis: int, angle: float) -> NDArray[np.float64]:
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[j, i], matrix[i, j] = np.sin(angle), -np.sin(angle)
    return matrix


def _aim(camera: Any, mount: Mount, shift: CameraShift) -> None:
    """Puts a camera of the spec where its mount and its mounting error say."""
    e = mount.elevation + shift.elevation
    back, up = np.array([0.0, -np.cos(e), np.sin(e)]), np.array([0.0, np.sin(e), np.cos(e)])
    frame = _turn(2, shift.azimuth) @ np.stack([[1.0, 0.0, 0.0], up, back], axis=1) @ _turn(2, shift.roll)
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, frame.ravel())
    camera.quat = quat
    camera.pos = np.array(mount.target) + np.array(shift.target) + DISTANCE * frame[:, 2]
    camera.fovy = float(np.rad2deg(2 * np.arctan(HALF_VIEW / DISTANCE)))


def _paint(spec: Any, setting: Setting) -> None:
    look = setting.look
    colors: tuple[tuple[RGB, tuple[str, ...]], ...] = (
        (look.wall, ("wall",)),
        (look.floor, ("floor",)),
        (look.table, ("table", "leg_left", "leg_right")),
        (look.link, ("foot", "column", "upper_arm", "forearm")),
        (look.joint, ("shoulder", "elbow", "wrist", "stem")),
        (look.hand, ("palm",)),
        (look.finger, FINGERS),
    )
    for rgb, names in colors:
        for name in names:
            spec.geom(name).rgba = [*rgb, 1.0]
    lamp = spec.light("lamp")
    lamp.dir = [-v for v in look.lamp_from]
    lamp.diffuse = [look.lamp] * 3
    spec.visual.headlight.ambient = [look.ambient] * 3


def build(setting: Setting) -> Any:
    """The compiled model of a setting; the same setting always gives the same model."""
    spec = part("tabletop.xml").copy()
    _paint(spec, setting)
    for name, mount in MOUNTS.items():
        _aim(spec.camera(name), mount, setting.cameras.get(name, CameraShift()))
    for thing in setting.things:
        KINDS[thing.kind].build(spec, thing)
    model = spec.compile()
    _tune(model, setting)
    return model


def _tune(model: Any, setting: Setting) -> None:
    """Randomised physics. Stiffness and damping scale together, so that the arm stays damped."""
    arm = [model.actuator(name).id for name in JOINTS]
    model.actuator_gainprm[arm, 0] *= setting.physics.gain
    model.actuator_biasprm[arm, 1:3] *= setting.physics.gain
    fingers = [model.geom(name).id for name in FINGERS]
    model.geom_friction[fingers, 0] *= setting.physics.grip_friction
    model.geom_friction[model.geom("table").id, 0] = setting.physics.table_friction


def pose(model: Any, data: Any, tip: Sequence[float], opening: float) -> None:
    """Puts the arm, at rest, with its tip at ``tip`` and the gripper open by ``opening`` (0 to 1)."""
    angles = inverse(np.asarray(tip, np.float64)[None])[0]
    for name, angle in zip(JOINTS, angles, strict=True):
        data.joint(name).qpos[0] = angle
    for name in FINGERS:
        data.joint(name).qpos[0] = opening * STROKE


# --- what the cameras see


class Outlines:
    """For each thing of a model, the points that span its silhouette: corners, rims, and the centres of spheres."""

    def __init__(self, model: Any, things: Sequence[Thing]) -> None:
        self.names = [t.name for t in things] + [GRIPPER]
        rows: list[tuple[int, int, list[float], float]] = []
        for index, thing in enumerate(things):
            for geom in _geoms_of(model, thing):
                rows += [(index, geom, *point) for point in _points(model, geom)]
        for name in GRIPPER_GEOMS:
            geom = model.geom(name).id
            rows += [(len(things), geom, *point) for point in _points(model, geom)]
        self._owner = np.array([r[0] for r in rows])
        self._geom = np.array([r[1] for r in rows])
        self._local = np.array([r[2] for r in rows])
        self._radius = np.array([r[3] for r in rows])

    def boxes(self, model: Any, data: Any, camera: str, width: int, height: int) -> list[tuple[float, ...] | None]:
        """x0, y0, x1, y1 for each of ``names``, in pixels, clipped to the frame; None for what is outside of it."""
        turn = data.geom_xmat[self._geom].reshape(-1, 3, 3)
        world = data.geom_xpos[self._geom] + np.einsum("pij,pj->pi", turn, self._local)
        u, v, focal = project(model, data, camera, world, width, height)
        reach = focal * self._radius
        result: list[tuple[float, ...] | None] = []
        for index in range(len(self.names)):
            own = self._owner == index
            if not np.isfinite(u[own]).all():
                result.append(None)
                continue
            x0, x1 = (u - reach)[own].min(), (u + reach)[own].max()
            y0, y1 = (v - reach)[own].min(), (v + reach)[own].max()
            seen = x1 > 0 and y1 > 0 and x0 < width and y0 < height
            box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
            result.append(tuple(map(float, box)) if seen else None)
        return result


def _geoms_of(model: Any, thing: Thing) -> list[int]:
    prefix = f"{thing.name}/"
    names = ((g, model.geom(g).name) for g in range(model.ngeom))
    return [g for g, name in names if name == thing.name or name.startswith(prefix)]


def _points(model: Any, geom: int) -> list[tuple[list[float], float]]:
    """(point in the geom's frame, radius around it) that span the geom."""
    kind, size = int(model.geom_type[geom]), model.geom_size[geom]
    if kind == int(mujoco.mjtGeom.mjGEOM_SPHERE):
        return [([0.0, 0.0, 0.0], float(size[0]))]
    if kind == int(mujoco.mjtGeom.mjGEOM_CYLINDER):
        angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        return [([size[0] * np.cos(a), size[0] * np.sin(a), s * size[1]], 0.0) for a in angles for s in (-1, 1)]
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
    return [([float(v) for v in row * size], 0.0) for row in signs]


def project(
    model: Any, data: Any, camera: str, points: NDArray[np.float64], width: int, height: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Pixels u, v of world ``points`` [N, 3], and pixels a metre at their depth; NaN for points behind the camera."""
    index = model.camera(camera).id
    local = (points - data.cam_xpos[index]) @ data.cam_xmat[index].reshape(3, 3)
    depth = np.where(local[:, 2] < -1e-3, -local[:, 2], np.nan)
    focal = height / (2 * np.tan(np.deg2rad(model.cam_fovy[index]) / 2)) / depth
    return width / 2 + focal * local[:, 0], height / 2 - focal * local[:, 1], focal


def describe(
    model: Any,
    data: Any,
    setting: Setting,
    outlines: Outlines,
    cameras: Sequence[str],
    size: tuple[int, int],
    held: str = "",
) -> list[SceneObject]:
    """The scene graph: every thing and the gripper, once for each camera that has it in its frame."""
    tip = data.site("tip").xpos
    opening = sum(float(data.joint(name).qpos[0]) for name in FINGERS) / (2 * STROKE)
    found = []
    for camera in cameras:
        for name, box in zip(outlines.names, outlines.boxes(model, data, camera, *size), strict=True):
            if box is None:
                continue
            x0, y0, x1, y1 = box
            if name == GRIPPER:
                kind, color, at, state = GRIPPER, "", tip, {"opening": opening}
            else:
                thing = setting.thing(name)
                kind, color, at, state = thing.kind, thing.color, position(model, data, thing), {"held": name == held}
            found.append(
                SceneObject(
                    name=name,
                    kind=kind,
                    camera=camera,
                    box=(x0, y0, x1, y1),
                    label=name,
                    color=color,
                    position=(float(at[0]), float(at[1]), float(at[2])),
                    state=state,
                )
            )
    return found


def position(model: Any, data: Any, thing: Thing) -> NDArray[np.float64]:
    """Where a thing's centre is now (of a bowl: its foot), [3]."""
    if KINDS[thing.kind].fixed:
        return np.array(thing.position)
    return np.array(data.body(thing.name).xpos)
