"""Forms: something is set, then confirmed by a button; what was confirmed wrongly cannot be mended."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from episode import Advice, Split, screen_action
from gui_env import content
from gui_env.hands import say
from gui_env.layout import across, labelled
from gui_env.toolkit.choices import Dropdown
from gui_env.toolkit.containers import Window
from gui_env.toolkit.controls import Button, Label
from gui_env.toolkit.desktop import Event
from gui_env.toolkit.fonts import Font
from gui_env.toolkit.geometry import Rect
from gui_env.toolkit.widget import Widget
from gui_env.world import Draw, Goal, GuiWorld

CONFIRM: dict[Split, tuple[str, ...]] = {
    "train": (
        *("Save", "OK", "Apply", "Done", "Accept", "Submit", "Update", "Set", "Send", "Yes", "Keep", "Use", "Create"),
        *("Add", "Store", "Next", "Go", "Ready", "Commit", "Publish", "Post", "Book", "Order", "Print", "Agree"),
        *("Share", "Choose", "Upload", "Record", "Pay", "Start", "Check", "Take it", "Log it"),
    ),
    "heldout": ("Confirm", "Finish"),
}
"""Captions of the button that confirms: many, so that one learns to go by its place and colour and not by its word.

Too few for that by themselves (docs/results.md, what of the held-out split is hard): see :func:`confirming`."""
RESET = "Reset"
SHOWN = 4
"""Options that an open dropdown shows at once: not fewer than experts scroll by."""


def confirming(rng: np.random.Generator, split: Split, font: Font) -> str:
    """A caption for the button that confirms; in training half of the time any word that is no wider than those."""
    widest = max(map(font.width, CONFIRM[split]))
    while split == "train" and rng.random() < 0.5:
        word = content.label(rng, split)
        if font.width(word) <= widest and word not in (RESET, *CONFIRM["heldout"]):
            return word
    return content.pick(rng, CONFIRM[split])


class Form(NamedTuple):
    """An empty form: ``body`` for what is set, ``foot`` for its buttons, both in the window's content."""

    window: Window
    body: Rect
    foot: Rect


class FormWorld(GuiWorld):
    """A task whose screen is one form. Enter confirms too, as in any dialogue."""

    @abstractmethod
    def right(self) -> bool:
        """Everything is set as it should be."""

    @abstractmethod
    def mend(self) -> Advice | None:
        """The expert's next move towards :meth:`right`; None when it holds."""

    # --- for builders

    def form(self, draw: Draw, width: int, height: int) -> Form:
        """A window whose body has room for ``width`` × ``height`` pixels."""
        pad = self.m.px(4)
        buttons = max(map(self.m.button, CONFIRM[self.split])) + pad + self.m.button(RESET)
        width = max(width, buttons)
        title = content.label(draw.content, self.split)
        window = self.window(
            draw, title, width + 2 * pad, height + self.m.control + 3 * pad, name="form", default="confirm"
        )
        self.data["answer"] = ""
        room = Rect(0, 0, *window.room).inset(pad, self.m.px(3))
        foot = Rect(room.x0, room.y1 - self.m.control, room.x1, room.y1)
        return Form(window, Rect(room.x0, room.y0, room.x1, foot.y0 - self.m.px(3)), foot)

    def labelled_form(
        self, draw: Draw, captions: Sequence[str], beside: bool = False, width: int = 0
    ) -> tuple[Form, list[Rect]]:
        """A form of at least ``width`` pixels with a caption to each of its controls; returns where the controls go."""
        m = self.m
        line, height, gap = m.font.size + m.px(2), m.control, m.px(int(draw.layout.integers(3, 5)))
        column = max(map(m.font.width, captions)) + m.px(4) if beside else 0
        step = height + gap + (0 if beside else line)
        form = self.form(draw, max(m.px(116), width), len(captions) * step - gap)
        pairs = labelled(form.body, len(captions), line, column, height, gap)
        for i, (text, (place, _)) in enumerate(zip(captions, pairs, strict=True)):
            place = place._replace(x1=place.x0 + m.font.width(text))
            form.window.add(Label(f"caption{i}", place, m.font, text))
        return form, [control for _, control in pairs]

    def confirmed(self, draw: Draw, form: Form, inputs: Sequence[Widget], after: tuple[str, ...]) -> Goal:
        """Adds the button that confirms, sometimes one that sets ``inputs`` back; returns the sub-goal for it."""
        captions = [confirming(draw.content, self.split, self.m.font)]
        if draw.layout.random() < 0.4:
            captions.insert(int(draw.layout.integers(2)), RESET)
        align = content.pick(draw.layout, ("left", "center", "right"))
        spots = across(form.foot, [self.m.button(c) for c in captions], self.m.control, self.m.px(4), align)
        for caption, spot in zip(captions, spots, strict=True):
            name = "reset" if caption == RESET else "confirm"
            form.window.add(Button(name, spot, self.m.font, caption, primary=name == "confirm"))
        self.inputs = inputs
        self.blank: list[dict[str, Any]] = [widget.save() for widget in inputs]
        """The inputs as they were at the start."""
        return Goal("confirmed", self.accepted, after=after)

    def add_dropdown(
        self, window: Window, name: str, spot: Rect, label: str, items: Sequence[str], selected: int = -1
    ) -> Dropdown:
        """A dropdown in a window, with its closed menu."""
        made = Dropdown(name, spot, self.m.font, label, items, row=self.m.row, shown=SHOWN, selected=selected)
        self.desk.add(made.menu, opened=False)
        return window.add(made)

    # --- for experts

    def choose(self, dropdown: Dropdown, index: int) -> Advice | None:
        """The next move towards a closed dropdown with this option; None when it is so."""
        done, wanted = dropdown.selected == index, dropdown.items[index]
        if self.desk.is_open(dropdown.menu.name):
            if done:
                return say(screen_action("key", text="escape"), f"{wanted} is chosen already.")
            return self.click(dropdown.list.rows[index], f"{wanted} is here.")
        return None if done else self.click(dropdown, f"{dropdown.label} must be {wanted}.")

    # --- the run of an episode

    def accepted(self) -> bool:
        return bool(self.data["answer"] == "right")

    def on_event(self, event: Event) -> None:
        if event.kind == "click" and event.source == "confirm":
            self.data["answer"] = "right" if self.right() else "wrong"
        elif event.kind == "click" and event.source == "reset":
            for widget, state in zip(self.inputs, self.blank, strict=True):
                widget.load(state)

    def solved(self) -> bool:
        return self.accepted() and self.right()

    def failed(self) -> bool:
        return bool(self.data["answer"] == "wrong")

    def plan(self) -> Advice:
        return self.mend() or self.click(self.desk.widget("confirm"), "Everything is set.")
