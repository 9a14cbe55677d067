"""Check the named boxes, uncheck whatever else is checked, and confirm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from episode import Advice, Split
from gui_env import content
from gui_env.form import FormWorld
from gui_env.layout import column
from gui_env.toolkit.controls import Checkbox
from gui_env.world import Brief, Draw, Goal

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        "Check only {}, then save.",
        "Check {} and nothing else, then confirm.",
        "Tick only {} and save.",
        "Select {} and no other box, then save.",
        "Select only {} and confirm.",
        "Tick {} and no other box, then confirm.",
        "Tick {}, nothing else, and confirm.",
    ),
    "heldout": ("Tick {} and nothing else, then save.", "Check only {} and confirm.", "Select only {}, then save."),
}


def listed(names: list[str]) -> str:
    """``"A"``, ``"A" and "B"``, ``"A", "B" and "C"``."""
    *head, last = [f'"{name}"' for name in names]
    return f"{', '.join(head)} and {last}" if head else last


NAMED = 3
"""Boxes that an instruction names, at most."""


def look_through(checked: Sequence[bool], named: Sequence[int]) -> tuple[list[int], list[int], int | None]:
    """Looks at one box after the other until one is wrong.

    Returns:
        The ``named`` boxes up to the first that is not ``checked``; where all are, the checked ones up to the first
        that is not named; and the wrong one, which is the last of these, or None where all is as it should be.
    """
    for seen, i in enumerate(named, 1):
        if not checked[i]:
            return list(named[:seen]), [], i
    ticked = [i for i, on in enumerate(checked) if on]
    for seen, i in enumerate(ticked, 1):
        if i not in named:
            return list(named), ticked[:seen], i
    return list(named), ticked, None


class SetCheckboxes(FormWorld):
    task_id = "gui/set-checkboxes-v0"
    summary = "Check exactly the named boxes among three to five, and confirm."
    horizon = 12
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.01)}
    goal_names = ("checked", "only", "confirmed")

    def build(self, draw: Draw) -> Brief:
        m, count = self.m, int(draw.task.integers(3, 6))
        named = sorted(draw.task.permutation(count)[: int(draw.task.integers(1, NAMED + 1))].tolist())
        words = content.labels(draw.content, self.split, count)
        widths = [max(m.font.size + m.px(5) + m.font.width(word), m.target[0]) for word in words]
        gap = m.px(2)
        form = self.form(draw, m.px(int(draw.layout.integers(88, 117))), count * (m.row + gap))
        started = (draw.task.random(count) < 0.35).tolist()
        # There is always something to check.
        started[named[int(draw.task.integers(len(named)))]] = False
        self.boxes = []
        for i, spot in enumerate(column(draw.layout, form.body, [(max(widths), m.row)] * count, gap)):
            spot = spot._replace(x1=spot.x0 + widths[i])
            self.boxes.append(form.window.add(Checkbox(f"box{i}", spot, m.font, words[i], checked=started[i])))
        self.named = [self.boxes[i] for i in named]
        confirmed = self.confirmed(draw, form, self.boxes, after=("only",))
        return Brief(
            draw.phrase(PHRASES).format(listed([b.label for b in self.named])),
            (
                Goal("checked", lambda: all(b.checked for b in self.named)),
                Goal("only", self.right, after=("checked",)),
                confirmed,
            ),
        )

    def right(self) -> bool:
        return [b for b in self.boxes if b.checked] == self.named

    def look_through(self) -> tuple[list[int], list[int], int | None]:
        return look_through([b.checked for b in self.boxes], [self.boxes.index(b) for b in self.named])

    def mend(self) -> Advice | None:
        *_, wrong = self.look_through()
        if wrong is None:
            return None
        box = self.boxes[wrong]
        return self.click(box, f"{box.label} must be {'unchecked' if box.checked else 'checked'}.")

    def plan(self) -> Advice:
        """With the boxes that one looks at on the way."""
        looks, ticked, _ = self.look_through()
        points, checked = (tuple(self.middle(self.boxes[i]) for i in seen) for seen in (looks, ticked))
        return replace(super().plan(), points=points, checked=checked)
