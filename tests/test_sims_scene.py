"""Cameras: what the scene graph says against what is drawn."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from episode import Frame, SceneObject
from sims.engine import mujoco
from sims.gallery import Gallery
from sims.look import draw_look
from sims.render import Eye
from sims.scene import MOUNTS, Outlines, build, describe, pose, project
from sims.setting import CameraShift, Setting, Thing
from sims.things import BUTTON_HEIGHT, ZONE

SIZE = (96, 96)
LOOK = draw_look(np.random.default_rng(0), "train")


def _draw(eye: Eye, setting: Setting) -> tuple[Any, Any, dict[str, Frame]]:
    model = build(setting)
    data = mujoco.MjData(model)
    pose(model, data, setting.start, setting.opening)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    return model, data, {name: eye.draw(model, data, name) for name in MOUNTS}


def test_projection_worked_by_hand() -> None:
    model = build(Setting("", (), LOOK))
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    # From above, 0.265 m at the table are 48 pixels; y runs up. At 0.3 m height all is 6 / 5.7 times larger.
    points = np.array([[0.0, 0.0, 0.0], [0.1, 0.2, 0.0], [0.1, 0.2, 0.3]])
    u, v, _ = project(model, data, "top", points, *SIZE)
    ten, twenty = 0.1 / 0.265 * 48, 0.2 / 0.265 * 48
    assert u == pytest.approx([48, 48 + ten, 48 + ten * 6 / 5.7])
    assert v == pytest.approx([48, 48 - twenty, 48 - twenty * 6 / 5.7])
    # From the front, 6 degrees above the horizon, the image's centre is at z = 0.13 and z shrinks by cos 6 degrees.
    u, v, _ = project(model, data, "front", np.array([[0.1, 0.0, 0.13], [0.0, 0.0, 0.23]]), *SIZE)
    assert u == pytest.approx([48 + ten, 48], abs=0.01)
    assert v == pytest.approx([48, 48 - ten * np.cos(np.deg2rad(6)) * 6 / (6 - 0.1 * np.sin(np.deg2rad(6)))], abs=0.01)


@pytest.mark.parametrize("kind", ["cube", "ball", "cylinder", "marker", "bowl", "zone", "button"])
def test_boxes_are_where_the_pixels_are(kind: str) -> None:
    """The pixels that change when a thing is added lie within one pixel of its box, in shifted cameras too."""
    size = (120, 96)
    eye = Eye(*size)
    rng = np.random.default_rng(3)
    for turn in range(6):
        x, y = rng.uniform(-0.17, 0.17, 2)
        z = {"marker": 0.15, "bowl": 0.0, "zone": 0.0, "button": BUTTON_HEIGHT}.get(kind, 0.02)
        radius = ZONE if kind == "zone" else 0.02
        thing = Thing("thing", kind, "", (0.9, 0.1, 0.9), (float(x), float(y), z), yaw=0.2, radius=radius)
        shift = CameraShift((0.004, -0.004, 0.003), 0.01, -0.015, 0.012) if turn % 2 else CameraShift()
        empty = Setting("", (), LOOK, start=(0.2, 0.2, 0.3), cameras={name: shift for name in MOUNTS})
        full = replace(empty, things=(thing,))
        model, data, frames = _draw(eye, full)
        _, _, before = _draw(eye, empty)
        found = describe(model, data, full, Outlines(model, full.things), tuple(MOUNTS), size)
        for item in (o for o in found if o.name == "thing"):
            changed = np.abs(frames[item.camera].astype(int) - before[item.camera]).sum(axis=2) > 6
            rows, columns = np.nonzero(changed)
            seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            # From the front a zone is two pixels high, and its pointed ends are too thin to be drawn.
            slack = 2.0 if kind == "zone" else 1.0
            assert np.abs(np.array(seen) - item.box).max() < slack, (item, seen)
    eye.close()


def _by_name(scene: list[SceneObject], camera: str) -> dict[str, SceneObject]:
    return {o.name: o for o in scene if o.camera == camera}


def test_gallery_is_repeatable_and_sees_what_it_names() -> None:
    gallery = Gallery(96, "train")
    kinds = set()
    for seed in range(30):
        frames, scene, proprio, body = gallery.sample(seed)
        again, scene_again, _, _ = gallery.sample(seed)
        assert scene == scene_again
        assert all(np.array_equal(frames[c], again[c]) and frames[c].shape == (96, 96, 3) for c in ("top", "front"))
        low, high = np.array(body.low, np.float32), np.array(body.high, np.float32)
        assert proprio.shape == (5,) and (proprio[:3] >= low).all() and (proprio[:3] <= high).all()
        kinds |= {o.kind for o in scene}
        held = [o for o in scene if o.state.get("held")]
        assert bool(held) == bool(proprio[4])
        assert all(np.linalg.norm(np.array(o.position) - proprio[:3]) < 0.01 for o in held)
    assert kinds == {"cube", "ball", "cylinder", "marker", "bowl", "zone", "button", "gripper"}
    gallery.close()


def test_the_gallery_shows_the_hand_over_things_and_low_beside_them() -> None:
    gallery, over, beside = Gallery(96, "train"), 0, 0
    for seed in range(400):
        setting, held = gallery._draw(seed)
        blocks = [t for t in setting.things if t.kind in ("cube", "cylinder", "ball") and t.name != held]
        tip, gap = (
            setting.start,
            min((np.hypot(*np.subtract(t.position, setting.start)[:2]) for t in blocks), default=1),
        )
        over += gap < 0.03 and 0.07 < tip[2] < 0.13
        beside += gap < 0.08 and tip[2] < 0.035
        # Not inside: the fingers are 1 cm to either side, a block is 17.5 mm at least.
        assert tip[2] > 0.07 or gap > 0.03
    gallery.close()
    assert over > 12 and beside > 12, (over, beside)


def test_colours_survive_drawing() -> None:
    """The middle of a thing's box has the hue of its colour, in every camera that nothing hides it from."""
    eye = Eye(*SIZE)
    thing = Thing("red cube", "cube", "red", (0.85, 0.1, 0.12), (0.0, -0.1, 0.02))
    setting = Setting("", (thing,), LOOK, start=(0.2, 0.2, 0.3))
    model, data, frames = _draw(eye, setting)
    scene = describe(model, data, setting, Outlines(model, setting.things), tuple(MOUNTS), SIZE)
    for camera in MOUNTS:
        x0, y0, x1, y1 = _by_name(scene, camera)["red cube"].box
        red, green, blue = frames[camera][int((y0 + y1) / 2), int((x0 + x1) / 2)].astype(int)
        assert red > 2 * max(green, blue)
    eye.close()
