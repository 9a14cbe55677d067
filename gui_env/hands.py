"""What experts of GUI tasks are made of: the next move of a click, a scroll, a filled field, from what is shown now."""

from __future__ import annotations

from episode import Action, Advice, WorldError, screen_action
from gui_env.toolkit.containers import ListBox, ScrollArea
from gui_env.toolkit.controls import Field
from gui_env.toolkit.desktop import Desktop
from gui_env.toolkit.widget import Widget

PAGE = 3
"""Notches by which experts scroll: never more than the rows that a list shows."""


def say(action: Action, thought: str) -> Advice:
    """One native action and the sentence before it."""
    return Advice((action,), thought)


class Hands:
    """Moves on the desktop of a world."""

    desk: Desktop

    def click(self, widget: Widget, thought: str) -> Advice:
        """Click the middle of what is seen of ``widget``; scroll first where its list does not show it whole."""
        holder = widget.parent
        if isinstance(holder, ScrollArea):
            top, bottom = widget.rect.y0 - holder.offset, widget.rect.y1 - holder.offset
            if top < 0 or bottom > holder.view:
                notches = -PAGE if _upwards(holder, top, bottom) else PAGE
                return self.scroll(holder, notches, f"{widget.label} is out of sight.")
        x, y = self.middle(widget)
        return say(screen_action("click", x, y), thought)

    def scroll(self, area: ScrollArea | ListBox, notches: int, thought: str) -> Advice:
        x, y = self.middle(area)
        return say(screen_action("scroll", x, y, scroll=notches), thought)

    def fill(self, field: Field, text: str) -> Advice | None:
        """The next move towards ``field`` holding ``text``; None when it does."""
        if field.value == text:
            return None
        if self.desk.focus != field.name:
            return self.click(field, f"The field {field.label} comes next.")
        if field.value and not field.selected:
            if text.startswith(field.value) and field.caret == len(field.value):
                return say(screen_action("type", text=text[len(field.value) :]), "The rest is missing.")
            return say(screen_action("double_click", *self.middle(field)), "This text is wrong.")
        if not text:
            return say(screen_action("key", text="backspace"), "This field stays empty.")
        return say(screen_action("type", text=text), f"The field {field.label} has the focus.")

    def wait(self, thought: str = "It is busy.") -> Advice:
        return say(screen_action("wait"), thought)

    def middle(self, widget: Widget) -> tuple[int, int]:
        """Centre of what is seen of a widget."""
        spot = self.desk.find(widget)
        if spot is None:
            raise WorldError(f"{widget.name} is not shown: an expert must open its window or scroll first")
        return spot.rect.clip(spot.clip).center


def _upwards(area: ScrollArea, top: int, bottom: int) -> bool:
    """Whether to scroll up for what lies from ``top`` to ``bottom``, in pixels of the view.

    Where none of it is seen, it is looked for away from an end, else on as one came: where it lies is not on the
    screen, and an expert that knew would turn around for reasons that nobody can learn.
    """
    if bottom > 0 and top < area.view:
        return top < 0
    if area.offset in (0, area.range):
        return area.offset > 0
    return (area.heading or top) < 0
