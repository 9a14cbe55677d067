"""Rectangles in whole pixels, half open: ``x0 <= x < x1``."""

from __future__ import annotations

from typing import NamedTuple


class Rect(NamedTuple):
    """A box in pixels; empty where ``x1 <= x0`` or ``y1 <= y0``."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def empty(self) -> bool:
        return self.x1 <= self.x0 or self.y1 <= self.y0

    @property
    def center(self) -> tuple[int, int]:
        return (self.x0 + self.x1) // 2, (self.y0 + self.y1) // 2

    def shift(self, dx: int, dy: int) -> Rect:
        return Rect(self.x0 + dx, self.y0 + dy, self.x1 + dx, self.y1 + dy)

    def inset(self, left: int, top: int | None = None, right: int | None = None, bottom: int | None = None) -> Rect:
        """Smaller by ``left`` on every side, or by the four given amounts."""
        top = left if top is None else top
        return Rect(
            self.x0 + left,
            self.y0 + top,
            self.x1 - (left if right is None else right),
            self.y1 - (top if bottom is None else bottom),
        )

    def clip(self, other: Rect) -> Rect:
        """What lies in both. Mostly it is all of a box: that is seen first."""
        x0, y0, x1, y1 = self
        left, upper, right, lower = other
        if x0 >= left and y0 >= upper and x1 <= right and y1 <= lower:
            return self
        return Rect(max(x0, left), max(y0, upper), min(x1, right), min(y1, lower))

    def union(self, other: Rect) -> Rect:
        return Rect(min(self.x0, other.x0), min(self.y0, other.y0), max(self.x1, other.x1), max(self.y1, other.y1))

    def has(self, x: float, y: float) -> bool:
        return self.x0 <= x < self.x1 and self.y0 <= y < self.y1

    def meets(self, other: Rect) -> bool:
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1

    def covers(self, other: Rect) -> bool:
        return self.x0 <= other.x0 and self.y0 <= other.y0 and self.x1 >= other.x1 and self.y1 >= other.y1


def box(x: int, y: int, width: int, height: int) -> Rect:
    return Rect(x, y, x + width, y + height)
