"""What a desktop has beside its applications."""

from __future__ import annotations

import numpy as np

from gui_env.metrics import Metrics
from gui_env.toolkit.containers import Window
from gui_env.toolkit.controls import Label, Picture
from gui_env.toolkit.desktop import Desktop
from gui_env.toolkit.geometry import box

ROOMY = 400
"""Screens whose sides are this long show a task bar."""


def taskbar(desk: Desktop, m: Metrics, rng: np.random.Generator) -> int:
    """A bar with a menu and a clock along the bottom of a desktop; returns its upper edge."""
    height = m.font.size + m.px(6)
    bar = desk.add(Window("taskbar", box(0, desk.height - height, desk.width, height), m.font, "", bar=0))
    side = m.font.size
    bar.add(Picture("taskbar/menu", box(m.px(4), (height - side) // 2, side, side), m.font, "menu"))
    clock = f"{int(rng.integers(24)):02d}:{int(rng.integers(60)):02d}"
    wide = m.font.width(clock)
    bar.add(Label("taskbar/clock", box(desk.width - wide - m.px(5), 1, wide, height - 3), m.font, clock))
    return desk.height - height
