"""Keeps what was last drawn and paints again only what has changed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episode import Frame
from gui_env.toolkit.canvas import Canvas
from gui_env.toolkit.containers import SHADOW, Window
from gui_env.toolkit.desktop import Desktop
from gui_env.toolkit.geometry import Rect
from gui_env.toolkit.icons import pointer_masks
from gui_env.toolkit.widget import Placed

DIM = 0.55
"""How much of what lies beneath a modal window goes to black."""

Drawn = dict[str, tuple[Rect, Rect, tuple[Any, ...]]]


class Painter:
    """Frames of one desktop."""

    def __init__(self, desk: Desktop, pointer: int) -> None:
        self.desk = desk
        self.pointer = pointer
        """Height of the mouse pointer in pixels; 0 for none."""
        self.canvas = Canvas(desk.width, desk.height)
        self.order: list[str] | None = None
        self.drawn: Drawn = {}

    def frame(self) -> Frame:
        """A frame of the desktop now; the caller owns it."""
        desk = self.desk
        layers = [desk.placed(desk.windows[name]) for name in desk.order]
        now: Drawn = {
            w.name: (rect, clip, (*w.look(), w.name == desk.focus)) for layer in layers for w, rect, clip in layer
        }
        for area in self._damage(now):
            self._repaint(layers, area)
        self.order, self.drawn = list(desk.order), now
        frame = self.canvas.pixels.copy()
        if self.pointer:
            self._point(frame)
        return frame

    def _damage(self, now: Drawn) -> list[Rect]:
        if self.order != self.desk.order:
            return [self.desk.screen]
        if now == self.drawn:
            return []
        areas: list[Rect] = []
        for name, spot in now.items():
            before = self.drawn.get(name)
            if before != spot:
                areas.append(spot[0].clip(spot[1]))
                if before is not None and before[:2] != spot[:2]:
                    areas.append(before[0].clip(before[1]))
                if name in self.desk.windows:
                    areas = [self.desk.screen]
                    break
        areas += [rect.clip(clip) for name, (rect, clip, _) in self.drawn.items() if name not in now]
        if len(areas) > 3:
            whole = areas[0]
            for area in areas[1:]:
                whole = whole.union(area)
            return [whole]
        return areas

    def _repaint(self, layers: list[list[Placed]], area: Rect) -> None:
        canvas, desk = self.canvas, self.desk
        colors = desk.theme.colors
        canvas.clip = area
        # What lies beneath a window that hides all of the area need not be drawn.
        hidden = [i for i, layer in enumerate(layers) if layer[0].rect.covers(area)]
        if not hidden:
            canvas.fill(desk.screen, colors["desktop"], colors["desktop_low"])
        for layer in layers[hidden[-1] if hidden else 0 :]:
            window = layer[0].widget
            if isinstance(window, Window) and window.modal:
                canvas.clip = area
                canvas.shade(desk.screen, DIM)
            for widget, rect, clip in layer:
                # A window's shadow lies outside its own box.
                reach = Rect(rect.x0, rect.y0, rect.x1 + SHADOW, rect.y1 + SHADOW) if widget is window else rect
                canvas.clip = area.clip(clip).clip(reach)
                if not canvas.clip.empty:
                    widget.paint(canvas, desk.theme, rect, widget.name == desk.focus)
        canvas.clip = desk.screen

    def _point(self, frame: Frame) -> None:
        """Draw the pointer: it is in every frame, so that what it makes of each value is looked up."""
        table, first = pointed(self.pointer)
        x, y, side = self.desk.pointer[0] - 1, self.desk.pointer[1] - 1, len(first)
        left, upper = max(-x, 0), max(-y, 0)
        right, lower = min(frame.shape[1] - x, side), min(frame.shape[0] - y, side)
        area = frame.reshape(len(frame), -1)[y + upper : y + lower, 3 * (x + left) : 3 * (x + right)]
        area[...] = table.take(first[upper:lower, 3 * left : 3 * right] + area)


@lru_cache(maxsize=16)
def pointed(size: int) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """A table of what values become beneath a pointer, and where that of value 0 stands, by place: [side, 3·side]."""
    rim, body = pointer_masks(size)
    side = len(rim)
    canvas, table = Canvas(side, side), np.empty((side, 3 * side, 256), np.uint8)
    for value in range(256):
        canvas.fill(canvas.clip, (value, value, value))
        canvas.mask(rim, 0, 0, (0, 0, 0))
        canvas.mask(body, 0, 0, (255, 255, 255))
        table[..., value] = canvas.rows
    return table.ravel(), np.arange(0, table.size, 256).reshape(side, 3 * side)
