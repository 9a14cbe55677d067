"""One of several: radio buttons, and a box that opens a list of options over everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gui_env.toolkit.canvas import Canvas, mix
from gui_env.toolkit.containers import ListBox, Window
from gui_env.toolkit.controls import Checkbox
from gui_env.toolkit.fonts import Caption, Font, caption
from gui_env.toolkit.geometry import Rect, box
from gui_env.toolkit.icons import icon_mask
from gui_env.toolkit.themes import Theme
from gui_env.toolkit.widget import Widget

if TYPE_CHECKING:
    from gui_env.toolkit.desktop import Desktop

EMPTY = "..."
"""What a dropdown shows where nothing is chosen."""


class Radio(Checkbox):
    """A round box with a caption: of those in one ``group`` of a window, one at the most is checked."""

    kind = "radio"

    def __init__(self, name: str, rect: Rect, font: Font, label: str, group: str, checked: bool = False) -> None:
        super().__init__(name, rect, font, label, checked)
        self.group = group

    def paint(self, canvas: Canvas, theme: Theme, rect: Rect, focused: bool) -> None:
        c, tick = theme.colors, self.tick(rect)
        canvas.mask(icon_mask("disc", tick.width), tick.x0, tick.y0, c["focus" if focused else "border"])
        rim = 2 if focused else 1
        canvas.mask(icon_mask("disc", tick.width - 2 * rim), tick.x0 + rim, tick.y0 + rim, c["field"])
        if self.checked:
            rim = max(3, tick.width // 4)
            canvas.mask(icon_mask("disc", tick.width - 2 * rim), tick.x0 + rim, tick.y0 + rim, c["accent"])
        self.paint_text(canvas, theme, rect)

    def click(self, desk: Desktop, rect: Rect, x: int, y: int) -> None:
        for other in self.parent.children if self.parent is not None else ():
            if isinstance(other, Radio) and other.group == self.group:
                other.checked = other is self
        desk.emit(self.name, "change", "true")


class Menu(Window):
    """The window in which a dropdown's options open. While it is closed its list is as new."""

    kind = "menu"
    unseen = ("rect",)
    """Where it opened last says nothing about the form; the painter asks for its place by itself."""

    def __init__(self, dropdown: Dropdown, row: int, shown: int) -> None:
        name, font, high = f"{dropdown.name}/menu", dropdown.font, min(shown, len(dropdown.items)) * row + 2
        width = dropdown.rect.width
        super().__init__(name, box(0, 0, width, high + 2), font, dropdown.label, bar=0, transient=True)
        self.list = self.add(Options(dropdown, box(0, 0, width - 2, high), row))

    def closed(self) -> None:
        self.list.selected, self.list.offset, self.list.heading = -1, 0, 0


class Options(ListBox):
    """A dropdown's list: a click or Enter chooses, the arrow keys go about in it."""

    def __init__(self, dropdown: Dropdown, rect: Rect, row: int) -> None:
        super().__init__(f"{dropdown.name}/list", rect, dropdown.font, dropdown.items, row, dropdown.label)
        self.dropdown = dropdown

    def select(self, desk: Desktop, index: int) -> None:
        self.dropdown.choose(desk, index)

    def key(self, desk: Desktop, key: str) -> bool:
        if key in ("enter", "space") and self.selected >= 0:
            self.dropdown.choose(desk, self.selected)
            return True
        return super().key(desk, key)


class Dropdown(Widget):
    """The chosen option and an arrow. A click opens ``menu``, which must be on the desktop too, closed.

    ``shown`` rows of ``row`` pixels are seen at once, the others by scrolling. Escape and a click beside the menu
    close it and leave the choice as it was.
    """

    kind = "dropdown"
    stored = ("visible", "enabled", "selected")
    focusable = True

    def __init__(
        self,
        name: str,
        rect: Rect,
        font: Font,
        label: str,
        items: Sequence[str],
        *,
        row: int,
        shown: int,
        selected: int = -1,
    ) -> None:
        super().__init__(name, rect, font, label)
        self.items = list(items)
        self.selected = selected
        """Index of the chosen option; -1: none yet."""
        self.menu = Menu(self, row, shown)
        self.list = self.menu.list

    @staticmethod
    def width(font: Font, items: Sequence[str]) -> int:
        """Wide enough for every option, in the box beside the arrow and in the list beside its scroll bar."""
        return max(map(font.width, items)) + 2 * font.size + 8

    @property
    def value(self) -> str:
        return self.items[self.selected] if self.selected >= 0 else ""

    def describe(self) -> dict[str, Any]:
        return {"enabled": self.enabled, "value": self.value, "items": len(self.items)}

    def arrow(self, rect: Rect) -> Rect:
        """The part at the right in which the arrow stands."""
        return rect._replace(x0=rect.x1 - min(rect.height, 3 * self.font.size // 2)).inset(1)

    def text_clip(self, rect: Rect) -> Rect:
        return rect._replace(x1=self.arrow(rect).x0)

    def captions(self, rect: Rect) -> tuple[Caption, ...]:
        role = "field_text" if self.value else "muted"
        return (caption(self.value or EMPTY, self.font, rect, "left", role, 4),)

    def paint(self, canvas: Canvas, theme: Theme, rect: Rect, focused: bool) -> None:
        c, arrow = theme.colors, self.arrow(rect)
        face = c["field"] if self.enabled else mix(c["field"], c["window"], 0.7)
        radius = min(theme.radius, 3)
        canvas.outlined(rect, radius, c["focus" if focused else "border"], c["button"], None, 2 if focused else 1)
        canvas.fill(Rect(rect.x0 + 2, rect.y0 + 2, arrow.x0, rect.y1 - 2), face)
        size = max(5, self.font.size // 2 + 1)
        x, y = arrow.center
        canvas.mask(icon_mask("down", size), x - size // 2, y - size // 2, c["text" if self.enabled else "muted"])
        self.paint_text(canvas, theme, rect)

    def open(self, desk: Desktop, rect: Rect) -> None:
        """Below ``rect``, or above where there is no room."""
        high = self.menu.rect.height
        y = rect.y1 if rect.y1 + high <= desk.height else max(0, rect.y0 - high)
        self.menu.rect = box(rect.x0, y, rect.width, high)
        desk.open(self.menu.name)
        desk.focus = self.list.name
        self.list.selected = self.selected
        if self.selected >= 0:
            self.list.show(self.selected * self.list.row, (self.selected + 1) * self.list.row)

    def choose(self, desk: Desktop, index: int) -> None:
        self.selected = index
        desk.close(self.menu.name)
        desk.focus = self.name
        desk.emit(self.name, "change", self.value)

    def click(self, desk: Desktop, rect: Rect, x: int, y: int) -> None:
        self.open(desk, rect)

    def key(self, desk: Desktop, key: str) -> bool:
        spot = desk.find(self)
        if key == "space" and spot is not None:
            self.open(desk, spot.rect)
        elif key in ("up", "down"):
            step = 1 if key == "down" else -1
            self.choose(desk, min(max(self.selected + step, 0), len(self.items) - 1))
        else:
            return False
        return True
