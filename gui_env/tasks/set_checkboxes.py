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
    ),
    "heldout": ("Tick {} and nothing else, then save.", "Check only {} and confirm.", "Select only {}, then save."),
}


def listed(names: list[str]) -> str:
    """``"A"``, ``"A" and "B"``, ``"A", "B" and "C"``."""
    *head, last = [f'"{name}"' for name in names]
    return f"{', '.join(head)} and {last}" if head else last


NAMED = 3
"""Boxes that an instruction names, at most."""


def first_wrong(checked: Sequence[bool], named: Sequence[int]) -> int | None:
    """Which box to click next so that the ``named`` ones are ``checked`` and no others; None when it is so."""
    missing = [i for i in named if not checked[i]]
    return next(iter(missing + [i for i, on in enumerate(checked) if on and i not in named]), None)


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

    def mend(self) -> Advice | None:
        wrong = first_wrong([b.checked for b in self.boxes], [self.boxes.index(b) for b in self.named])
        if wrong is None:
            return None
        box = self.boxes[wrong]
        return self.click(box, f"{box.label} must be {'unchecked' if box.checked else 'checked'}.")

    def plan(self) -> Advice:
        """With what one has to look at: where the named boxes are, and which of all are checked."""
        checked = tuple(self.middle(b) for b in self.boxes if b.checked)
        return replace(super().plan(), points=tuple(map(self.middle, self.named)), checked=checked)
