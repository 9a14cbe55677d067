"""The arm's inverse kinematics, against a triangle worked by hand and against MuJoCo's own."""

import numpy as np
import pytest

from sims.arm import FLOOR, WORKSPACE, clip, forward, inverse
from sims.engine import mujoco
from sims.look import draw_look
from sims.scene import build, pose
from sims.setting import Setting


def test_inverse_of_an_equilateral_triangle() -> None:
    # Wrist level with the shoulder (0.24 + 0 = 0.10 + 0.14) and 0.42 in front of it, as long as either link: all angles
    # are 60 degrees. The upper arm rises by 60, the forearm turns down by 120, the wrist turns the hand back by 60.
    angles = inverse(np.array([[0.0, 0.5 - 0.42, 0.10]]))[0]
    assert np.rad2deg(angles) == pytest.approx([0.0, 60.0, -120.0, 60.0, 0.0])


def test_yaw_turns_towards_the_point_and_roll_turns_back() -> None:
    # 0.5 to the right of the base and 0.5 in front of it: 45 degrees.
    angles = inverse(np.array([[0.5, 0.0, 0.10]]))[0]
    assert np.rad2deg(angles[[0, 4]]) == pytest.approx([45.0, -45.0])


def test_forward_undoes_inverse_everywhere() -> None:
    rng = np.random.default_rng(0)
    tips = rng.uniform(WORKSPACE.low, WORKSPACE.high, (500, 3))
    assert np.abs(forward(inverse(tips)) - tips).max() < 1e-9


def test_the_model_has_the_lengths_that_the_kinematics_assume() -> None:
    model = build(Setting("", (), draw_look(np.random.default_rng(0), "train")))
    data = mujoco.MjData(model)
    for tip in np.random.default_rng(1).uniform(WORKSPACE.low, WORKSPACE.high, (50, 3)):
        pose(model, data, tip.tolist(), 0.5)
        mujoco.mj_kinematics(model, data)
        assert np.abs(data.site("tip").xpos - tip).max() < 1e-9
        assert np.abs(data.body("hand").xmat.reshape(3, 3) - np.eye(3)).max() < 1e-9
        gap = data.geom("finger_right").xpos[0] - data.geom("finger_left").xpos[0]
        assert gap == pytest.approx(0.04 + 2 * 0.005)  # half of 8 cm, and half a finger on either side


def test_targets_stay_in_the_workspace() -> None:
    assert clip(np.array([1.0, -1.0, 9.0])).tolist() == [0.22, -0.22, 0.30]
    assert clip(np.array([0.1, 0.0, -1.0])).tolist() == [0.1, 0.0, FLOOR]
