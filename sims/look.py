"""Colours, light and cameras: what varies in a scene without changing the task.

Train and held-out pools are disjoint.
"""

from __future__ import annotations

import colorsys

import numpy as np

from episode import Split
from sims.setting import RGB, CameraShift, Look

COLORS: dict[str, RGB] = {
    "red": (0.85, 0.10, 0.12),
    "green": (0.12, 0.62, 0.18),
    "blue": (0.12, 0.25, 0.88),
    "yellow": (0.95, 0.85, 0.08),
    "orange": (0.98, 0.47, 0.04),
    "purple": (0.52, 0.14, 0.72),
    "cyan": (0.08, 0.78, 0.84),
}
"""Colours that an instruction names, in both splits; table, floor and arm keep to greys and browns."""

BLOCKS = ("cube", "ball", "cylinder")
HELDOUT_PAIRS = frozenset(
    {
        ("purple", "cylinder"),
        ("red", "ball"),
        ("cyan", "cube"),
        ("yellow", "cylinder"),
        ("green", "ball"),
    }
)
"""Colour and kind that never occur together in a train scene."""

HELDOUT_NEIGHBOURS = ({"red", "orange"}, {"blue", "purple"}, {"green", "cyan"}, {"yellow", "red"}, {"cyan", "blue"})
"""Colours of a marker, button or cube that is named and another of its kind: together in held-out scenes only.

The third thing of a stack, and what stands beside a block that is pushed, lifted or carried, may be of any colour."""

TABLES: dict[Split, tuple[RGB, ...]] = {
    "train": (
        (0.72, 0.56, 0.40),
        (0.85, 0.74, 0.58),
        (0.88, 0.88, 0.86),
        (0.72, 0.73, 0.75),
        (0.40, 0.41, 0.44),
        (0.44, 0.33, 0.25),
        (0.78, 0.72, 0.62),
        (0.50, 0.54, 0.58),
    ),
    "heldout": ((0.92, 0.86, 0.74), (0.60, 0.60, 0.57), (0.28, 0.29, 0.31), (0.56, 0.45, 0.36)),
}
FLOORS: dict[Split, tuple[RGB, ...]] = {
    "train": (
        (0.55, 0.55, 0.57),
        (0.30, 0.31, 0.34),
        (0.62, 0.57, 0.50),
        (0.80, 0.80, 0.78),
        (0.40, 0.43, 0.41),
        (0.20, 0.20, 0.22),
    ),
    "heldout": ((0.45, 0.41, 0.37), (0.68, 0.70, 0.72), (0.15, 0.16, 0.17)),
}
WALLS: dict[Split, tuple[RGB, ...]] = {
    "train": (
        (0.82, 0.83, 0.85),
        (0.90, 0.88, 0.84),
        (0.62, 0.66, 0.70),
        (0.52, 0.50, 0.48),
        (0.70, 0.74, 0.70),
        (0.36, 0.38, 0.42),
    ),
    "heldout": ((0.76, 0.72, 0.66), (0.46, 0.50, 0.52), (0.95, 0.95, 0.95)),
}
ARMS: dict[Split, tuple[tuple[RGB, RGB, RGB, RGB], ...]] = {
    # link, joint, hand, finger
    "train": (
        ((0.90, 0.90, 0.90), (0.25, 0.26, 0.28), (0.30, 0.31, 0.33), (0.15, 0.15, 0.16)),
        ((0.75, 0.77, 0.80), (0.40, 0.42, 0.45), (0.20, 0.20, 0.22), (0.55, 0.56, 0.58)),
        ((0.28, 0.29, 0.31), (0.75, 0.75, 0.77), (0.62, 0.63, 0.65), (0.85, 0.85, 0.85)),
        ((0.88, 0.84, 0.76), (0.45, 0.38, 0.32), (0.38, 0.32, 0.28), (0.22, 0.20, 0.19)),
    ),
    "heldout": (
        ((0.55, 0.57, 0.60), (0.12, 0.12, 0.13), (0.82, 0.82, 0.80), (0.32, 0.33, 0.35)),
        ((0.80, 0.74, 0.64), (0.30, 0.30, 0.30), (0.18, 0.18, 0.18), (0.70, 0.70, 0.68)),
    ),
}
BOWLS: dict[Split, tuple[RGB, ...]] = {
    "train": ((0.93, 0.92, 0.88), (0.30, 0.31, 0.34), (0.62, 0.50, 0.40), (0.66, 0.67, 0.70)),
    "heldout": ((0.82, 0.76, 0.66), (0.48, 0.48, 0.48), (0.38, 0.30, 0.26)),
}


def allowed(color: str, kind: str, split: Split) -> bool:
    """Whether such a thing may stand in a scene of this split (anywhere; targets of held-out scenes are stricter)."""
    return split == "heldout" or (color, kind) not in HELDOUT_PAIRS


def shade(base: RGB, rng: np.random.Generator, spread: float = 0.04) -> RGB:
    """A slightly different colour, still within [0, 1]."""
    r, g, b = np.clip(np.asarray(base) + rng.uniform(-spread, spread, 3), 0.0, 1.0)
    return float(r), float(g), float(b)


def paint(color: str, rng: np.random.Generator) -> RGB:
    """One of the shades that a person would call ``color``: hue within 5 degrees."""
    hue, saturation, value = colorsys.rgb_to_hsv(*COLORS[color])
    return colorsys.hsv_to_rgb(
        (hue + rng.uniform(-0.014, 0.014)) % 1.0,
        min(1.0, saturation * rng.uniform(0.9, 1.05)),
        min(1.0, value * rng.uniform(0.88, 1.05)),
    )


def draw_look(rng: np.random.Generator, split: Split) -> Look:
    def pick(pool: tuple[RGB, ...]) -> RGB:
        return shade(pool[rng.integers(len(pool))], rng, 0.025)

    link, joint, hand, finger = ARMS[split][rng.integers(len(ARMS[split]))]
    around = rng.uniform(-0.85 * np.pi, -0.15 * np.pi)  # from the front cameras' side, so that what they see is lit
    lean = rng.uniform(0.4, 0.9)
    return Look(
        wall=pick(WALLS[split]),
        floor=pick(FLOORS[split]),
        table=pick(TABLES[split]),
        link=shade(link, rng, 0.02),
        joint=shade(joint, rng, 0.02),
        hand=shade(hand, rng, 0.02),
        finger=shade(finger, rng, 0.02),
        lamp=float(rng.uniform(0.2, 0.4)),
        ambient=float(rng.uniform(0.35, 0.45)),
        lamp_from=(float(lean * np.cos(around)), float(lean * np.sin(around)), 1.0),
    )


def draw_bowl(rng: np.random.Generator, split: Split) -> RGB:
    return shade(BOWLS[split][rng.integers(len(BOWLS[split]))], rng, 0.025)


def draw_cameras(rng: np.random.Generator, names: tuple[str, ...]) -> dict[str, CameraShift]:
    """Mounting errors of the fixed cameras: ±5 mm and ±1 degree about what they look at."""

    def one() -> CameraShift:
        x, y, z = rng.uniform(-0.005, 0.005, 3)
        azimuth, elevation, roll = np.deg2rad(rng.uniform(-1.0, 1.0, 3))
        return CameraShift((float(x), float(y), float(z)), float(azimuth), float(elevation), float(roll))

    return {name: one() for name in names}
