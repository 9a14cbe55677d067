"""How an application looks: palettes by name, disjoint for training and held-out, varied a little by every seed."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from episode import Split
from gui_env.toolkit.canvas import Color, contrast, mix


@dataclass(frozen=True, slots=True)
class Palette:
    """What a theme is made from."""

    name: str
    dark: bool
    hue: float
    """Of the accent, in [0, 1]."""
    tint: float
    """How much of the accent is in the greys, in [0, 1]."""
    radius: int
    raised: bool
    """Buttons shade from light to dark, else they are flat."""
    title: str
    """Title bar: ``accent``, ``plain`` or ``dark``."""
    align: str = "left"
    """Of the title."""


PALETTES: dict[Split, tuple[Palette, ...]] = {
    "train": (
        Palette("harbor", False, 0.58, 0.10, 3, True, "accent"),
        Palette("paper", False, 0.08, 0.16, 0, False, "plain"),
        Palette("meadow", False, 0.36, 0.10, 4, False, "accent", "center"),
        Palette("office", False, 0.60, 0.04, 0, True, "accent"),
        Palette("rose", False, 0.95, 0.12, 5, False, "plain", "center"),
        Palette("slate", False, 0.62, 0.18, 2, True, "dark"),
        Palette("night", True, 0.60, 0.16, 3, False, "plain"),
        Palette("forest", True, 0.40, 0.14, 2, True, "accent"),
        Palette("plum", True, 0.80, 0.14, 5, False, "dark", "center"),
        Palette("ember", True, 0.04, 0.08, 0, False, "accent"),
    ),
    "heldout": (
        Palette("lagoon", False, 0.48, 0.14, 2, False, "dark", "center"),
        Palette("amber", False, 0.12, 0.08, 4, True, "accent"),
        Palette("iris", True, 0.70, 0.18, 4, True, "plain"),
        Palette("graphite", True, 0.52, 0.04, 0, False, "dark"),
    ),
}


@dataclass(frozen=True, slots=True)
class Theme:
    """Every colour and measure that the widgets paint with."""

    name: str
    dark: bool
    colors: dict[str, Color]
    """By role: see :func:`theme_of`."""
    radius: int
    raised: bool
    align: str


def _hsl(hue: float, saturation: float, lightness: float) -> Color:
    r, g, b = colorsys.hls_to_rgb(hue % 1, min(max(lightness, 0), 1), min(max(saturation, 0), 1))
    return round(r * 255), round(g * 255), round(b * 255)


def theme_of(palette: Palette, hue: float, light: float) -> Theme:
    """A theme from a palette, its hue moved by ``hue`` and its lightness by ``light`` (both small)."""
    h = palette.hue + hue
    dark, t = palette.dark, palette.tint
    window = _hsl(h, t, (0.17 if dark else 0.93) + light)
    accent = _hsl(h, 0.55, (0.45 if dark else 0.42) + light)
    title = {"accent": accent, "plain": mix(window, (0, 0, 0), 0.35 if dark else 0.1), "dark": _hsl(h, t + 0.05, 0.22)}
    text = contrast(window)
    button = mix(window, (255, 255, 255), 0.16) if dark else mix(window, (0, 0, 0), 0.07 - light)
    colors = {
        "desktop": _hsl(h + 0.04, t + 0.15, (0.10 if dark else 0.66) + light),
        "desktop_low": _hsl(h - 0.04, t + 0.2, (0.22 if dark else 0.5) + light),
        "window": window,
        "border": mix(window, (130, 130, 140) if dark else (40, 40, 50), 0.5),
        "title": title[palette.title],
        "title_text": contrast(title[palette.title]),
        "text": text,
        "muted": mix(text, window, 0.4),
        "field": mix(window, (0, 0, 0), 0.4) if dark else mix(window, (255, 255, 255), 0.85),
        "field_text": text,
        "button": button,
        "button_text": contrast(button),
        "accent": accent,
        "accent_text": contrast(accent),
        "focus": _hsl(h, 0.9, 0.6 if dark else 0.5),
    }
    return Theme(palette.name, dark, colors, palette.radius, palette.raised, palette.align)


def draw_theme(rng: np.random.Generator, split: Split) -> Theme:
    """One of the split's palettes with a shade of its own."""
    pool = PALETTES[split]
    palette = pool[int(rng.integers(len(pool)))]
    return theme_of(palette, float(rng.uniform(-0.02, 0.02)), float(rng.uniform(-0.03, 0.03)))
