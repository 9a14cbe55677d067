"""Choose the named option of the named dropdown, and confirm."""

from __future__ import annotations

from typing import ClassVar

from episode import Advice, Split
from gui_env import content
from gui_env.form import FormWorld
from gui_env.toolkit.choices import Dropdown
from gui_env.world import Brief, Draw, Goal

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        'Choose "{option}" for "{label}" and save.',
        'Set "{label}" to "{option}", then confirm.',
        'Select "{option}" in the "{label}" menu and save.',
        'Open "{label}", select "{option}" and confirm.',
        'Change "{label}" to "{option}" and save.',
    ),
    "heldout": (
        'Choose "{option}" in the "{label}" menu, then save.',
        'Set "{label}" to "{option}" and confirm.',
        'Select "{option}" for "{label}" and save.',
    ),
}


class ChooseOption(FormWorld):
    task_id = "gui/choose-option-v0"
    summary = "Choose the named option of a dropdown, one of one or two, and confirm."
    horizon = 10
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.01)}
    goal_names = ("opened", "chosen", "confirmed")

    def build(self, draw: Draw) -> Brief:
        count = 1 if draw.task.random() < 0.3 else 2
        sizes = [int(draw.task.integers(3, 8)) for _ in range(count)]
        names = content.labels(draw.content, self.split, count + sum(sizes))
        labels, options = names[:count], [names[count : count + sizes[0]], names[count + sizes[0] :]]
        need = max(map(self.m.font.width, labels)) + self.m.px(4) + Dropdown.width(self.m.font, names[count:])
        beside = bool(draw.layout.random() < 0.6) and need <= self.m.px(116)
        form, spots = self.labelled_form(draw, labels, beside)
        self.start = [int(draw.task.integers(size)) for size in sizes]
        self.dropdowns = [
            self.add_dropdown(form.window, f"dropdown{i}", spot, labels[i], options[i], self.start[i])
            for i, spot in enumerate(spots)
        ]
        self.target = self.dropdowns[int(draw.task.integers(count))]
        self.option = int(draw.task.choice([i for i in range(len(self.target.items)) if i != self.target.selected]))
        confirmed = self.confirmed(draw, form, self.dropdowns, after=("chosen",))
        return Brief(
            draw.phrase(PHRASES).format(label=self.target.label, option=self.target.items[self.option]),
            (
                Goal("opened", lambda: self.chosen() or self.desk.is_open(self.target.menu.name)),
                Goal("chosen", self.chosen, after=("opened",)),
                confirmed,
            ),
        )

    def chosen(self) -> bool:
        return self.target.selected == self.option

    def wanted(self, dropdown: Dropdown) -> int:
        return self.option if dropdown is self.target else self.start[self.dropdowns.index(dropdown)]

    def right(self) -> bool:
        return all(d.selected == self.wanted(d) for d in self.dropdowns)

    def mend(self) -> Advice | None:
        # An open menu comes first: nothing else answers.
        for dropdown in sorted(self.dropdowns, key=lambda d: not self.desk.is_open(d.menu.name)):
            move = self.choose(dropdown, self.wanted(dropdown))
            if move is not None:
                return move
        return None
