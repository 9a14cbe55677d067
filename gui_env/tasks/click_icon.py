"""Click the icon of a given colour and shape among three to six; often neither word alone is enough."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from episode import Advice, Split
from gui_env import content
from gui_env.layout import arrange
from gui_env.tasks.click_button import ClickButton
from gui_env.toolkit.controls import Button
from gui_env.toolkit.geometry import Rect
from gui_env.world import Brief, Draw, Goal

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        "Click the {} {}.",
        "Press the {} {}.",
        "Click the {} {} icon.",
        "Find the {} {} and click it.",
        "Press the button with the {} {}.",
    ),
    "heldout": ("Press the {} {} icon.", "Find the {} {} and press it.", "Click the button with the {} {}."),
}
SHAPES = ("star", "heart", "home", "mail", "gear", "trash", "play", "bell", "user", "folder", "lock", "check")
"""Icons that are told apart at ten pixels and have a name of one word."""

Pair = tuple[str, str]
"""Colour and shape."""
PAIRS: tuple[Pair, ...] = tuple((color, shape) for color in content.COLORS for shape in SHAPES)
HELDOUT: frozenset[Pair] = frozenset(pair for i, pair in enumerate(PAIRS) if (i + i // len(SHAPES)) % 5 == 0)
"""Training never shows these; of the held-out screens one of them is the target."""


def draw_pairs(rng: np.random.Generator, count: int, split: Split) -> list[Pair]:
    """``count`` different pairs, the target first; mostly one shares its colour and another its shape."""
    held = split == "heldout"
    pool = [pair for pair in PAIRS if held or pair not in HELDOUT]
    targets = [pair for pair in pool if (pair in HELDOUT) == held]
    color, shape = targets[int(rng.integers(len(targets)))]
    others = [pair for pair in pool if pair != (color, shape)]
    chosen = [(color, shape)]
    for alike in ([p for p in others if p[0] == color], [p for p in others if p[1] == shape]):
        if rng.random() < 0.7:
            chosen.append(alike[int(rng.integers(len(alike)))])
    while len(chosen) < count:
        pair = others[int(rng.integers(len(others)))]
        if pair not in chosen:
            chosen.append(pair)
    return chosen


class ClickIcon(ClickButton):
    task_id = "gui/click-icon-v0"
    summary = "Click the icon of the named colour and shape among three to six."
    horizon = 5
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.08)}

    def build(self, draw: Draw) -> Brief:
        m = self.m
        pairs = draw_pairs(draw.task, int(draw.task.integers(3, 7)), self.split)
        title = content.label(draw.content, self.split)
        side, gap = m.px(int(draw.layout.integers(20, 27))), m.px(int(draw.layout.integers(3, 6)))
        size = (max(side, m.target[0]), max(side, m.target[1]))
        # Six stand in two rows at the least.
        wide = max(m.px(int(draw.layout.integers(96, 127))), 3 * size[0] + 2 * gap + 2 * m.px(4))
        window = self.window(draw, title, wide, m.px(int(draw.layout.integers(72, 109))))
        room = Rect(0, 0, *window.room).inset(m.px(4))
        spots = arrange(draw.layout, room, [size] * len(pairs), gap)
        self.buttons = []
        # Places are drawn one after the other: the target's must not be the first.
        for i, at in enumerate(draw.layout.permutation(len(pairs)).tolist()):
            color, shape = pairs[at]
            _, rgb = content.color(draw.appearance, self.split, (color,))
            icon = Button(f"icon{i}", spots[i], m.font, shape, icon=shape, color=color, rgb=rgb)
            self.buttons.append(window.add(icon))
        self.target = next(b for b in self.buttons if (b.color, b.label) == pairs[0])
        self.data["pressed"] = []
        return Brief(
            draw.phrase(PHRASES).format(*pairs[0]),
            (Goal("pressed", lambda: self.target.name in self.data["pressed"]),),
        )

    def plan(self) -> Advice:
        return self.click(self.target, f"The {self.target.color} {self.target.label} is here.")
