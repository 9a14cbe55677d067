"""Find an item in a list that is longer than its window, and select it."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from episode import Advice, Split
from gui_env import content
from gui_env.hands import PAGE
from gui_env.toolkit.containers import ListBox
from gui_env.toolkit.controls import Label
from gui_env.toolkit.desktop import Event
from gui_env.toolkit.geometry import Rect, box
from gui_env.world import Brief, Draw, Goal, GuiWorld

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        'Select "{}" in the list.',
        'Find "{}" in the list and click it.',
        'Scroll to "{}" and select it.',
        'Click the item "{}".',
        'Choose the item "{}" from the list.',
        'Scroll through the list to "{}" and choose it.',
        'Scroll to the item "{}" and click it.',
        'Click "{}" in the list.',
    ),
    "heldout": (
        'Find the item "{}" and select it.',
        'Scroll the list to "{}" and click it.',
        'Choose "{}" in the list.',
    ),
}
TITLES: dict[Split, tuple[str, ...]] = {
    "train": (
        *("Files", "Songs", "Cities", "People", "Notes", "Teams", "Rooms", "Orders", "Mails", "Letters", "Streets"),
        *("Events", "Fruits", "Tasks", "Shops", "Pets", "Trips"),
    ),
    "heldout": ("Books", "Places", "Games"),
}


class ScrollSelect(GuiWorld):
    task_id = "gui/scroll-select-v0"
    summary = "Scroll a list to the named item and click it."
    horizon = 10
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.05)}
    goal_names = ("visible", "selected")

    def build(self, draw: Draw) -> Brief:
        m = self.m
        rows = int(draw.layout.integers(3, 6))
        count = int(draw.task.integers(rows + 3, 15))
        items = content.labels(draw.content, self.split, count)
        if draw.layout.random() < 0.4:
            items.sort()
        row = m.row + m.px(int(draw.layout.integers(0, 2)))
        line = m.font.size + m.px(4)
        wide = m.px(int(draw.layout.integers(84, 122)))
        high = min(rows * row + 2, self.height - m.row - line - m.px(10))
        rows = max(PAGE, (high - 2) // row)
        high = rows * row + 2
        title = content.pick(draw.content, TITLES[self.split])
        window = self.window(draw, title, wide, high + line + 2 * m.px(3))
        room = Rect(0, 0, *window.room).inset(m.px(3))
        window.add(Label("hint", box(room.x0, room.y0, room.width, line), m.font, f"{count} items", role="muted"))
        frame = box(room.x0, room.y0 + line, room.width, high)
        self.list = window.add(ListBox("list", frame, m.font, items, row, title))
        below = bool(draw.task.random() < 0.7)
        index = int(draw.task.integers(rows, count)) if below else int(draw.task.integers(0, count - rows))
        self.list.offset = 0 if below else self.list.range
        self.item = self.list.rows[index]
        self.data["chosen"] = -1
        return Brief(
            draw.phrase(PHRASES).format(self.item.label),
            (Goal("visible", self.visible), Goal("selected", self.selected, after=("visible",))),
        )

    def visible(self) -> bool:
        top = self.item.rect.y0 - self.list.offset
        return top >= 0 and top + self.list.row <= self.list.view

    def selected(self) -> bool:
        return bool(self.data["chosen"] == self.item.index)

    def on_event(self, event: Event) -> None:
        # Not on "change": whoever runs the mark over the whole list would pass the item without reading any.
        if event.kind == "select":
            self.data["chosen"] = self.list.selected

    def solved(self) -> bool:
        return self.selected() and self.visible()

    def failed(self) -> bool:
        return self.data["chosen"] >= 0 and not self.selected()

    def plan(self) -> Advice:
        """With a look at the item in sight that the named one could be taken for, and what it says."""
        first = self.list.offset // self.list.row
        shown = self.list.rows[first : first + self.list.view // self.list.row]
        row = shown[content.most_alike(self.item.label, [r.label for r in shown])]
        advice = self.click(self.item, f"{self.item.label} is here.")
        return replace(advice, points=(self.middle(row),), reads=row.label)
