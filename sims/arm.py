"""The arm's geometry: where its joints must be for the gripper to be somewhere.

The gripper always points down and stays aligned with the world.

Five joints: yaw about the base, lift and elbow in the vertical plane that yaw selects, pitch to keep the hand
vertical, roll to turn it back against the yaw. The end effector ("tip") is the point between the finger pads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from episode import Body

JOINTS = ("yaw", "lift", "elbow", "pitch", "roll")
FINGERS = ("finger_left", "finger_right")

# As in assets/mjcf/tabletop.xml, in metres.
BASE_Y = 0.5
SHOULDER = 0.24
LINK = 0.42
"""Upper arm and forearm have the same length, which makes the elbow an isosceles triangle."""
TOOL = 0.14
"""From the wrist's axis down to the tip."""
STROKE = 0.04
"""Each finger moves this far; the gripper opens twice as wide."""

WORKSPACE = Body(low=(-0.22, -0.22, 0.0), high=(0.22, 0.22, 0.30))
FLOOR = 0.012
"""Lowest target of the tip: the pads reach 1 cm below it and must not press into the table."""


def clip(tip: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest target that the arm accepts, [3]."""
    low = np.array([*WORKSPACE.low[:2], max(WORKSPACE.low[2], FLOOR)])
    return np.clip(tip, low, WORKSPACE.high)


def inverse(tips: NDArray[np.float64]) -> NDArray[np.float64]:
    """Joint angles [N, 5] that put the tip at each of ``tips`` [N, 3] (world frame), elbow up.

    Every point of the workspace can be reached; a point beyond the arm's length is approached along its line.
    """
    x, y, z = tips.T
    yaw = np.arctan2(x, BASE_Y - y)
    out, up = np.hypot(x, BASE_Y - y), z + TOOL - SHOULDER
    line = np.arctan2(up, out)
    half = np.arccos(np.clip(np.hypot(out, up) / (2 * LINK), -1.0, 1.0))
    lift, fore = line + half, line - half
    return np.stack([yaw, lift, fore - lift, -fore, -yaw], axis=1)


def forward(joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the tip is for joint angles [N, 5], the hand being vertical: [N, 3]."""
    yaw, lift, elbow = joints.T[:3]
    out = LINK * (np.cos(lift) + np.cos(lift + elbow))
    up = LINK * (np.sin(lift) + np.sin(lift + elbow))
    return np.stack([out * np.sin(yaw), BASE_Y - out * np.cos(yaw), SHOULDER + up - TOOL], axis=1)
