"""Measures of a screen: how large letters, rows and buttons are for a given frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gui_env.toolkit.fonts import Font

SMALLEST, LARGEST = (128, 128), (1280, 800)


@dataclass(frozen=True, slots=True)
class Metrics:
    """Everything grows with the square root of the screen's smaller side: 1 at 128 pixels, 2.5 at 800."""

    width: int
    height: int
    scale: float
    font: Font
    bold: Font

    def px(self, units: float) -> int:
        """``units`` pixels of a 128 × 128 screen, on this one."""
        return max(1, round(units * self.scale))

    @property
    def target(self) -> tuple[int, int]:
        """Least width and height of what can be clicked: more than a bin of the coarsest codec (1/32 of a side)."""
        return max(self.px(9), -(-self.width // 32) + 4), max(self.px(9), -(-self.height // 32) + 4)

    @property
    def control(self) -> int:
        """Height of a button or a field."""
        return max(self.font.size + self.px(6), self.target[1])

    @property
    def row(self) -> int:
        """Height of a list's row, and of a title bar."""
        return max(self.font.size + self.px(3), self.target[1])

    def button(self, text: str, pad: float = 5) -> int:
        """Width of a button with this caption."""
        return max(self.font.width(text) + 2 * self.px(pad), self.target[0])

    @property
    def pointer(self) -> int:
        return self.px(11)


def metrics(width: int, height: int, rng: np.random.Generator) -> Metrics:
    """Measures for a screen; letters vary by a fifth: 10 to 12 pixels on the smallest screen."""
    scale = math.sqrt(min(width, height) / 128)
    size = round(int(rng.integers(10, 13)) * scale)
    return Metrics(width, height, scale, Font(size), Font(size, bold=True))
