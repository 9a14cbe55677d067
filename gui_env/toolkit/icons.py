"""Small pictures as alpha masks: drawn large once, averaged down, cached by size."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gui_env.toolkit.fonts import Mask, mask_of

Pen = ImageDraw.ImageDraw
OVER = 8
"""Drawn at this many times the size."""


def _poly(pen: Pen, s: float, *points: tuple[float, float], fill: int = 255) -> None:
    pen.polygon([(x * s, y * s) for x, y in points], fill=fill)


def _line(pen: Pen, s: float, *points: tuple[float, float], width: float = 0.13) -> None:
    pen.line([(x * s, y * s) for x, y in points], fill=255, width=round(width * s), joint="curve")


def _disc(pen: Pen, s: float, x: float, y: float, r: float, fill: int = 255) -> None:
    pen.ellipse([(x - r) * s, (y - r) * s, (x + r) * s, (y + r) * s], fill=fill)


def _box(pen: Pen, s: float, x0: float, y0: float, x1: float, y1: float, fill: int = 255) -> None:
    pen.rectangle([x0 * s, y0 * s, x1 * s, y1 * s], fill=fill)


def _close(pen: Pen, s: float) -> None:
    _line(pen, s, (0.2, 0.2), (0.8, 0.8), width=0.15)
    _line(pen, s, (0.8, 0.2), (0.2, 0.8), width=0.15)


def _check(pen: Pen, s: float) -> None:
    _line(pen, s, (0.15, 0.52), (0.4, 0.78), (0.86, 0.22), width=0.16)


def _plus(pen: Pen, s: float) -> None:
    _box(pen, s, 0.43, 0.12, 0.57, 0.88)
    _box(pen, s, 0.12, 0.43, 0.88, 0.57)


def _menu(pen: Pen, s: float) -> None:
    for y in (0.18, 0.44, 0.7):
        _box(pen, s, 0.1, y, 0.9, y + 0.13)


def _star(pen: Pen, s: float) -> None:
    points = []
    for i in range(10):
        r = 0.48 if i % 2 == 0 else 0.2
        a = math.pi * i / 5 - math.pi / 2
        points.append((0.5 + r * math.cos(a), 0.52 + r * math.sin(a)))
    _poly(pen, s, *points)


def _heart(pen: Pen, s: float) -> None:
    _disc(pen, s, 0.29, 0.34, 0.22)
    _disc(pen, s, 0.71, 0.34, 0.22)
    _poly(pen, s, (0.09, 0.43), (0.91, 0.43), (0.5, 0.92))


def _home(pen: Pen, s: float) -> None:
    _poly(pen, s, (0.04, 0.52), (0.5, 0.08), (0.96, 0.52))
    _box(pen, s, 0.18, 0.5, 0.82, 0.9)
    _box(pen, s, 0.42, 0.6, 0.58, 0.9, fill=0)


def _mail(pen: Pen, s: float) -> None:
    _box(pen, s, 0.05, 0.2, 0.95, 0.82)
    pen.line([(0.07 * s, 0.24 * s), (0.5 * s, 0.58 * s), (0.93 * s, 0.24 * s)], fill=0, width=round(0.09 * s))


def _search(pen: Pen, s: float) -> None:
    _disc(pen, s, 0.4, 0.4, 0.33)
    _disc(pen, s, 0.4, 0.4, 0.2, fill=0)
    _line(pen, s, (0.62, 0.62), (0.9, 0.9), width=0.17)


def _gear(pen: Pen, s: float) -> None:
    for i in range(8):
        a = math.pi * i / 4
        _disc(pen, s, 0.5 + 0.36 * math.cos(a), 0.5 + 0.36 * math.sin(a), 0.12)
    _disc(pen, s, 0.5, 0.5, 0.36)
    _disc(pen, s, 0.5, 0.5, 0.15, fill=0)


def _trash(pen: Pen, s: float) -> None:
    _box(pen, s, 0.14, 0.18, 0.86, 0.29)
    _box(pen, s, 0.38, 0.07, 0.62, 0.2)
    _poly(pen, s, (0.2, 0.35), (0.8, 0.35), (0.73, 0.93), (0.27, 0.93))


def _play(pen: Pen, s: float) -> None:
    _poly(pen, s, (0.2, 0.1), (0.88, 0.5), (0.2, 0.9))


def _bell(pen: Pen, s: float) -> None:
    _disc(pen, s, 0.5, 0.38, 0.28)
    _poly(pen, s, (0.22, 0.38), (0.78, 0.38), (0.9, 0.76), (0.1, 0.76))
    _disc(pen, s, 0.5, 0.85, 0.1)


def _user(pen: Pen, s: float) -> None:
    _disc(pen, s, 0.5, 0.3, 0.21)
    pen.pieslice([0.1 * s, 0.54 * s, 0.9 * s, 1.34 * s], 180, 360, fill=255)


def _folder(pen: Pen, s: float) -> None:
    _box(pen, s, 0.06, 0.2, 0.45, 0.4)
    _box(pen, s, 0.06, 0.3, 0.94, 0.82)


def _lock(pen: Pen, s: float) -> None:
    _disc(pen, s, 0.5, 0.36, 0.27)
    _disc(pen, s, 0.5, 0.36, 0.15, fill=0)
    _box(pen, s, 0.16, 0.44, 0.84, 0.92)


def _down(pen: Pen, s: float) -> None:
    _poly(pen, s, (0.1, 0.3), (0.9, 0.3), (0.5, 0.76))


def _up(pen: Pen, s: float) -> None:
    _poly(pen, s, (0.1, 0.7), (0.9, 0.7), (0.5, 0.24))


def _disc_icon(pen: Pen, s: float) -> None:
    _disc(pen, s, 0.5, 0.5, 0.48)


def _pointer(pen: Pen, s: float) -> None:
    _poly(pen, s, (0.0, 0.0), (0.0, 0.8), (0.19, 0.62), (0.33, 0.97), (0.49, 0.9), (0.35, 0.57), (0.6, 0.56))


ICONS: dict[str, Callable[[Pen, float], None]] = {
    "close": _close,
    "check": _check,
    "plus": _plus,
    "menu": _menu,
    "star": _star,
    "heart": _heart,
    "home": _home,
    "mail": _mail,
    "search": _search,
    "gear": _gear,
    "trash": _trash,
    "play": _play,
    "bell": _bell,
    "user": _user,
    "folder": _folder,
    "lock": _lock,
}
"""Pictures that a widget may show, by name."""
SHAPES: dict[str, Callable[[Pen, float], None]] = {
    **ICONS,
    "up": _up,
    "down": _down,
    "disc": _disc_icon,
    "pointer": _pointer,
}


@lru_cache(maxsize=512)
def icon_mask(name: str, size: int) -> Mask:
    """Coverage of ``SHAPES[name]``, [size, 3·size]."""
    return mask_of(_coverage(name, size))


def _coverage(name: str, size: int) -> NDArray[np.float32]:
    """[size, size]."""
    image = Image.new("L", (size * OVER, size * OVER))
    SHAPES[name](ImageDraw.Draw(image), float(size * OVER))
    tiles = np.asarray(image, np.float32).reshape(size, OVER, size, OVER) / 255
    coverage: NDArray[np.float32] = tiles.mean((1, 3)).astype(np.float32)
    return coverage


@lru_cache(maxsize=16)
def pointer_masks(size: int) -> tuple[Mask, Mask]:
    """The mouse pointer: its rim (one pixel wider all round) and its body, both [size + 2, 3·(size + 2)]."""
    body = np.pad(_coverage("pointer", size), 1)
    rim = body.copy()
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            rim = np.maximum(rim, np.roll(body, (dy, dx), (0, 1)))
    return mask_of(rim), mask_of(body)
