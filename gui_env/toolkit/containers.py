"""Things that hold others: windows, scrolled areas, lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from gui_env.toolkit.canvas import Canvas, mix
from gui_env.toolkit.controls import Button
from gui_env.toolkit.fonts import Caption, Font, caption
from gui_env.toolkit.geometry import Rect, box
from gui_env.toolkit.themes import Theme
from gui_env.toolkit.widget import Widget

if TYPE_CHECKING:
    from gui_env.toolkit.desktop import Desktop

SHADOW = 2
"""How far a window's shadow reaches beyond its box, in pixels."""


class TitleBar(Widget):
    """The bar at a window's top: its title, and the handle by which it is moved."""

    kind = "title"

    def __init__(self, name: str, rect: Rect, font: Font, label: str, align: str) -> None:
        super().__init__(name, rect, font, label)
        self.align = align

    def captions(self, rect: Rect) -> tuple[Caption, ...]:
        return (caption(self.label, self.font, rect, self.align, "title_text", 4),) if self.label else ()

    def drag(self, desk: Desktop, rect: Rect, start: tuple[int, int], end: tuple[int, int]) -> None:
        window = self.parent
        if window is not None:
            x = min(max(window.rect.x0 + end[0] - start[0], 0), max(0, desk.width - window.rect.width))
            y = min(max(window.rect.y0 + end[1] - start[1], 0), max(0, desk.height - window.rect.height))
            window.rect = box(x, y, window.rect.width, window.rect.height)


class Window(Widget):
    """A window; children stand below its title bar.

    ``modal``: while it is open, nothing beneath it answers. ``transient``: so it is too, but a click beside it, or
    Escape, closes it. ``default`` names the button that Enter presses; ``cross`` is the width of the button with a
    cross in the title bar, 0 for none.
    """

    kind = "window"
    stored = ("visible", "enabled", "rect")

    def __init__(
        self,
        name: str,
        rect: Rect,
        font: Font,
        title: str,
        *,
        bar: int,
        modal: bool = False,
        transient: bool = False,
        cross: int = 0,
        default: str = "",
        align: str = "left",
    ) -> None:
        super().__init__(name, rect, font, title)
        self.bar = bar
        """Height of the title bar; 0 for none."""
        self.modal = modal
        self.transient = transient
        self.default = default
        # The bar's widgets stand above the content's origin.
        if bar:
            self.add(TitleBar(f"{name}/title", box(0, -bar, rect.width - 2 - cross, bar), font, title, align))
        if cross:
            corner = box(rect.width - 2 - cross, -bar, cross, bar)
            self.add(Button(f"{name}/close", corner, font, "Close", icon="close", bare=True))

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self.rect = Rect(*self.rect)

    def closed(self) -> None:
        """The desktop has just closed it."""

    def describe(self) -> dict[str, Any]:
        return {"modal": self.modal}

    def content(self, rect: Rect) -> tuple[int, int, Rect]:
        return rect.x0 + 1, rect.y0 + 1 + self.bar, rect.inset(1)

    @property
    def room(self) -> tuple[int, int]:
        """Width and height that its children have."""
        return self.rect.width - 2, self.rect.height - 2 - self.bar

    def paint(self, canvas: Canvas, theme: Theme, rect: Rect, focused: bool) -> None:
        c = theme.colors
        canvas.shade(Rect(rect.x1, rect.y0 + SHADOW, rect.x1 + SHADOW, rect.y1 + SHADOW), 0.3)
        canvas.shade(Rect(rect.x0 + SHADOW, rect.y1, rect.x1, rect.y1 + SHADOW), 0.3)
        canvas.fill(rect, c["border"])
        canvas.fill(rect.inset(1), c["window"])
        bar = box(rect.x0 + 1, rect.y0 + 1, rect.width - 2, self.bar)
        if theme.raised:
            canvas.fill(bar, mix(c["title"], (255, 255, 255), 0.2), mix(c["title"], (0, 0, 0), 0.1))
        else:
            canvas.fill(bar, c["title"])


class ScrollArea(Widget):
    """A box that shows a part of taller content, with a scroll bar at its right; ``step`` pixels a notch."""

    kind = "area"
    stored: ClassVar[tuple[str, ...]] = ("visible", "enabled", "offset", "heading")
    unseen = ("heading",)

    def __init__(self, name: str, rect: Rect, font: Font, height: int, step: int, label: str = "") -> None:
        super().__init__(name, rect, font, label)
        self.height = height
        """Of the content, in pixels."""
        self.step = step
        self.offset = 0
        """Pixels of content above the view; a multiple of ``step`` unless at the end."""
        self.heading = 0
        """Which way it was moved last: −1 up, 1 down, 0 not yet. An expert goes on that way, as one who sees would."""
        self.bar = max(8, round(0.75 * font.size))

    def describe(self) -> dict[str, Any]:
        return {"enabled": self.enabled, "offset": self.offset, "range": self.range}

    @property
    def view(self) -> int:
        return self.rect.height - 2

    @property
    def range(self) -> int:
        """Largest offset."""
        return max(0, self.height - self.view)

    def content(self, rect: Rect) -> tuple[int, int, Rect]:
        return rect.x0 + 1, rect.y0 + 1 - self.offset, rect.inset(1, 1, 1 + (self.bar if self.range else 0), 1)

    def track(self, rect: Rect) -> Rect:
        return Rect(rect.x1 - 1 - self.bar, rect.y0 + 1, rect.x1 - 1, rect.y1 - 1)

    def thumb(self, rect: Rect) -> Rect:
        track = self.track(rect)
        size = max(8, track.height * self.view // max(self.height, 1))
        top = track.y0 + ((track.height - size) * self.offset // self.range if self.range else 0)
        return Rect(track.x0, top, track.x1, top + size)

    def paint(self, canvas: Canvas, theme: Theme, rect: Rect, focused: bool) -> None:
        c = theme.colors
        canvas.outlined(rect, 0, c["focus" if focused else "border"], c["field"])
        if self.range:
            canvas.fill(self.track(rect), mix(c["field"], c["border"], 0.25))
            canvas.rounded(self.thumb(rect).inset(1, 0), theme.radius, mix(c["field"], c["border"], 0.9))

    def move(self, offset: int) -> bool:
        """To the nearest step; True where that changed anything."""
        before = self.offset
        near = round(offset / self.step) * self.step
        self.offset = min(max(near, 0), self.range)
        if self.offset != before:
            self.heading = 1 if self.offset > before else -1
        return self.offset != before

    def show(self, top: int, bottom: int) -> None:
        """Scroll as little as needed for these rows of the content to be seen."""
        if top < self.offset:
            self.offset = top
        elif bottom > self.offset + self.view:
            self.offset = min(bottom - self.view, self.range)

    def scroll(self, desk: Desktop, notches: int) -> bool:
        return self.move(self.offset + notches * self.step)

    def press(self, desk: Desktop, rect: Rect, x: int, y: int) -> None:
        if self.range and self.track(rect).has(x, y):
            thumb = self.thumb(rect)
            page = max(self.step, self.view - self.step)
            if y < thumb.y0:
                self.move(self.offset - page)
            elif y >= thumb.y1:
                self.move(self.offset + page)

    def drag(self, desk: Desktop, rect: Rect, start: tuple[int, int], end: tuple[int, int]) -> None:
        track = self.track(rect)
        way = track.height - self.thumb(rect).height
        if self.range and way > 0 and track.has(*start):
            self.move(self.offset + round((end[1] - start[1]) * self.range / way))


class Row(Widget):
    """One item of a list."""

    kind = "item"

    def __init__(self, name: str, rect: Rect, font: Font, label: str, index: int) -> None:
        super().__init__(name, rect, font, label)
        self.index = index
        self.owner: ListBox | None = None

    @property
    def selected(self) -> bool:
        return self.owner is not None and self.owner.selected == self.index

    def look(self) -> tuple[Any, ...]:
        return (self.visible, self.enabled, self.selected)

    def describe(self) -> dict[str, Any]:
        return {"enabled": self.enabled, "selected": self.selected, "index": self.index}

    def captions(self, rect: Rect) -> tuple[Caption, ...]:
        return (caption(self.label, self.font, rect, "left", "accent_text" if self.selected else "field_text", 4),)

    def paint(self, canvas: Canvas, theme: Theme, rect: Rect, focused: bool) -> None:
        c = theme.colors
        plain = mix(c["field"], c["border"], 0.08) if self.index % 2 else c["field"]
        canvas.fill(rect, c["accent"] if self.selected else plain)
        self.paint_text(canvas, theme, rect)

    def click(self, desk: Desktop, rect: Rect, x: int, y: int) -> None:
        if self.owner is not None:
            self.owner.select(desk, self.index)


class ListBox(ScrollArea):
    """Rows of text of which one may be chosen (``select``), by a click, or by the arrow keys and then Enter or Space.

    The arrow keys alone move the mark (``change``) and choose nothing yet.
    """

    kind = "list"
    stored = ("visible", "enabled", "offset", "heading", "selected")
    focusable = True

    def __init__(self, name: str, rect: Rect, font: Font, items: Sequence[str], row: int, label: str = "") -> None:
        super().__init__(name, rect, font, len(items) * row, row, label)
        self.row = row
        self.selected = -1
        width = rect.width - 2 - (self.bar if self.range else 0)
        self.rows = [
            self.add(Row(f"{name}/{i}", box(0, i * row, width, row), font, text, i)) for i, text in enumerate(items)
        ]
        for r in self.rows:
            r.owner = self

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "selected": self.selected, "items": len(self.rows)}

    def select(self, desk: Desktop, index: int) -> None:
        self.selected = index
        desk.emit(self.name, "select", self.rows[index].label)

    def key(self, desk: Desktop, key: str) -> bool:
        page = max(1, self.view // self.row - 1)
        last = len(self.rows) - 1
        steps = {"up": -1, "down": 1, "pageup": -page, "pagedown": page, "home": -last - 1, "end": last + 1}
        if key in ("enter", "space") and self.selected >= 0:
            self.select(desk, self.selected)
            return True
        if key not in steps or not self.rows:
            return False
        self.selected = min(max(self.selected + steps[key], 0), last)
        self.show(self.selected * self.row, (self.selected + 1) * self.row)
        desk.emit(self.name, "change", self.rows[self.selected].label)
        return True
