"""Drawing on a numpy frame: fills, rounded boxes, gradients, masks; everything is cut to the canvas's clip."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from episode import Frame
from gui_env.toolkit.fonts import Caption, Mask, mask_of, text_mask
from gui_env.toolkit.geometry import Rect

Color = tuple[int, int, int]


def mix(a: Color, b: Color, share: float) -> Color:
    """``a`` moved towards ``b`` by ``share`` in [0, 1]."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


def luminance(color: Color) -> float:
    """Perceived brightness in [0, 1]."""
    return (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]) / 255


def contrast(color: Color) -> Color:
    """Near black or near white, whichever is read better on ``color``."""
    return (20, 20, 24) if luminance(color) > 0.52 else (250, 250, 252)


class Canvas:
    """A frame and the part of it that may be drawn on."""

    def __init__(self, width: int, height: int) -> None:
        self.pixels: Frame = np.zeros((height, width, 3), np.uint8)
        self.rows = self.pixels.reshape(height, -1)
        """The same memory, [h, 3·w]."""
        self.clip = Rect(0, 0, width, height)

    def fill(self, rect: Rect, top: Color, bottom: Color | None = None) -> None:
        """A plain box, or one that shades from ``top`` to ``bottom``."""
        r = rect.clip(self.clip)
        if r.empty:
            return
        if bottom is None or bottom == top:
            self.rows[r.y0 : r.y1, 3 * r.x0 : 3 * r.x1] = _row(top, r.x1 - r.x0)
        else:
            # All rows of a part, which is then copied beside itself: the fewer pieces, the quicker.
            area, done = self.rows[r.y0 : r.y1, 3 * r.x0 : 3 * r.x1], min(24, 3 * r.width)
            colors = ramp(top, bottom, rect.height)[r.y0 - rect.y0 : r.y1 - rect.y0]
            area[:, :done] = colors.repeat(done // 3, axis=1).reshape(r.height, done)
            while done < area.shape[1]:
                more = min(done, area.shape[1] - done)
                area[:, done : done + more] = area[:, :more]
                done += more

    def shade(self, rect: Rect, share: float) -> None:
        """Everything in ``rect`` moved towards black by ``share``: dimming, shadows."""
        r = rect.clip(self.clip)
        if not r.empty:
            area = self.rows[r.y0 : r.y1, 3 * r.x0 : 3 * r.x1]
            area[...] = np.multiply(area, round(256 * (1 - share)), dtype=np.uint16) >> 8

    def mask(self, mask: Mask, x: int, y: int, color: Color | NDArray[np.uint8]) -> None:
        """``color`` (or a column of colours, [h, 1, 3]) laid through ``mask`` with its top left corner at x, y."""
        height, width = len(mask), mask.shape[1] // 3
        c = self.clip
        x0, y0, x1, y1 = max(x, c.x0), max(y, c.y0), min(x + width, c.x1), min(y + height, c.y1)
        if x1 <= x0 or y1 <= y0:
            return
        area = self.rows[y0:y1, 3 * x0 : 3 * x1]
        part = mask[y0 - y : y1 - y, 3 * (x0 - x) : 3 * (x1 - x)]
        if isinstance(color, np.ndarray):
            row = color[y0 - y : y1 - y].repeat(x1 - x0, axis=1).reshape(y1 - y0, -1)
        else:
            row = _row(color, x1 - x0)
        under = area.astype(np.float32)
        soft = row - under
        soft *= part
        soft += under
        soft += 0.5
        area[...] = soft

    def text(self, line: Caption, color: Color) -> None:
        self.mask(text_mask(line.font, line.text), line.x, line.baseline - line.font.ascent, color)

    def rounded(self, rect: Rect, radius: int, top: Color, bottom: Color | None = None) -> None:
        """A filled box with round corners."""
        radius = min(radius, rect.width // 2, rect.height // 2)
        if radius <= 0:
            self.fill(rect, top, bottom)
            return
        if not rect.meets(self.clip):
            return
        upper, lower = corners(rect.width, radius)
        middle = rect.inset(0, radius)
        if bottom is None or bottom == top:
            self.mask(upper, rect.x0, rect.y0, top)
            self.mask(lower, rect.x0, rect.y1 - radius, top)
            self.fill(middle, top)
            return
        colors = ramp(top, bottom, rect.height)
        self.mask(upper, rect.x0, rect.y0, colors[:radius])
        self.mask(lower, rect.x0, rect.y1 - radius, colors[-radius:])
        if not middle.empty:
            self.fill(middle, _color(colors[radius]), _color(colors[-radius - 1]))

    def outlined(
        self, rect: Rect, radius: int, border: Color, top: Color, bottom: Color | None = None, line: int = 1
    ) -> None:
        """A rounded box with a border of ``line`` pixels."""
        self.rounded(rect, radius, border)
        self.rounded(rect.inset(line), radius - line, top, bottom)


def _color(row: NDArray[np.uint8]) -> Color:
    red, green, blue = row[0].tolist()
    return red, green, blue


def _row(color: Color, width: int) -> NDArray[np.uint8]:
    """``width`` pixels, [3·width]."""
    return np.frombuffer(bytes(color) * width, np.uint8)


@lru_cache(maxsize=1024)
def _shares(height: int) -> NDArray[np.float32]:
    return np.linspace(0, 1, height, dtype=np.float32)[:, None, None]


@lru_cache(maxsize=4096)
def ramp(top: Color, bottom: Color, height: int) -> NDArray[np.uint8]:
    """Colours of ``height`` rows, [height, 1, 3]."""
    share = _shares(height)
    a, b = np.array(top, np.float32), np.array(bottom, np.float32)
    return (a + (b - a) * share + 0.5).astype(np.uint8)


@lru_cache(maxsize=4096)
def corners(width: int, radius: int) -> tuple[Mask, Mask]:
    """The first and the last ``radius`` rows of a rounded box, as coverage."""
    center = np.arange(radius, dtype=np.float32) + 0.5
    distance = np.hypot(radius - center[:, None], radius - center[None])
    corner = np.clip(radius - distance + 0.5, 0, 1)
    upper = np.ones((radius, width), np.float32)
    upper[:, :radius] = corner
    upper[:, width - radius :] = corner[:, ::-1]
    return mask_of(upper), mask_of(upper[::-1])
