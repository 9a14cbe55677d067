"""Labels, pictures, buttons, text fields, check boxes, sliders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gui_env.toolkit.canvas import Canvas, Color, contrast, mix
from gui_env.toolkit.fonts import Caption, Font, caption
from gui_env.toolkit.geometry import Rect, box
from gui_env.toolkit.icons import icon_mask
from gui_env.toolkit.themes import Theme
from gui_env.toolkit.widget import Widget

if TYPE_CHECKING:
    from gui_env.toolkit.desktop import Desktop


class Label(Widget):
    """A line of text that a program may change."""

    kind = "label"
    stored = ("visible", "enabled", "text")

    def __init__(self, name: str, rect: Rect, font: Font, text: str, align: str = "left", role: str = "text") -> None:
        super().__init__(name, rect, font, text)
        self.text = text
        self.align = align
        self.role = role

    def captions(self, rect: Rect) -> tuple[Caption, ...]:
        return (caption(self.text, self.font, rect, self.align, self.role),) if self.text else ()

    def extent(self, rect: Rect) -> Rect:
        line = caption(self.text, self.font, rect, self.align)
        return Rect(line.x, rect.y0, line.x + self.font.width(self.text), rect.y1).clip(rect)

    def describe(self) -> dict[str, Any]:
        return {"value": self.text}


class Picture(Widget):
    """An icon that does nothing."""

    kind = "icon"

    def __init__(self, name: str, rect: Rect, font: Font, icon: str, color: str = "", rgb: Color | None = None) -> None:
        super().__init__(name, rect, font, icon, color)
        self.icon = icon
        self.rgb = rgb

    def paint(self, canvas: Canvas, theme: Theme, rect: Rect, focused: bool) -> None:
        size = min(rect.width, rect.height)
        x, y = rect.x0 + (rect.width - size) // 2, rect.y0 + (rect.height - size) // 2
        canvas.mask(icon_mask(self.icon, size), x, y, self.rgb or theme.colors["text"])


class Button(Widget):
    """A caption or a picture on a shaded box; ``primary`` and ``rgb`` set its colour."""

    kind = "button"
    stored = ("visible", "enabled", "label")
    focusable = True

    def __init__(
        self,
        name: str,
        rect: Rect,
        font: Font,
        label: str,
        *,
        icon: str = "",
        primary: bool = False,
        color: str = "",
        rgb: Color | None = None,
        bare: bool = False,
    ) -> None:
        super().__init__(name, rect, font, label, color)
        self.icon = icon
        self.primary = primary
        self.rgb = rgb
        self.bare = bare
        """Only the picture is drawn, as on a title bar."""

    def face(self, theme: Theme) -> Color:
        if self.rgb is not None:
            return self.rgb
        return theme.colors["accent" if self.primary else "button"]

    def captions(self, rect: Rect) -> tuple[Caption, ...]:
        return () if self.icon else (caption(self.label, self.font, rect),)

    def paint(self, canvas: Canvas, theme: Theme, rect: Rect, focused: bool) -> None:
        face = self.face(theme)
        ink = theme.colors["title_text"] if self.bare else contrast(face)
        if not self.enabled:
            face = mix(face, theme.colors["window"], 0.6)
            ink = mix(ink, face, 0.5)
        if not self.bare:
            border = theme.colors["focus"] if focused else mix(face, ink, 0.45)
            top, low = (mix(face, (255, 255, 255), 0.22), mix(face, (0, 0, 0), 0.1)) if theme.raised else (face, face)
            canvas.outlined(rect, theme.radius, border, top, low, 2 if focused else 1)
        elif focused:
            canvas.outlined(rect, 0, theme.colors["focus"], theme.colors["title"])
        if self.icon:
            size = max(6, min(rect.width, rect.height) - (2 * rect.height) // 5)
            x, y = rect.x0 + (rect.width - size) // 2, rect.y0 + (rect.height - size) // 2
            canvas.mask(icon_mask(self.icon, size), x, y, ink)
        for line in self.captions(rect):
            canvas.text(line, ink)

    def click(self, desk: Desktop, rect: Rect, x: int, y: int) -> None:
        desk.emit(self.name, "click", self.label)

    def key(self, desk: Desktop, key: str) -> bool:
        if key in ("enter", "space"):
            desk.emit(self.name, "click", self.label)
            return True
        return False


class Field(Widget):
    """One line of text to fill in, with a caret; ``secret`` shows dots."""

    kind = "field"
    stored = ("visible", "enabled", "value", "caret", "selected")
    focusable = True

    def __init__(
        self,
        name: str,
        rect: Rect,
        font: Font,
        label: str = "",
        *,
        hint: str = "",
        secret: bool = False,
        limit: int = 32,
    ) -> None:
        super().__init__(name, rect, font, label)
        self.hint = hint
        self.secret = secret
        self.limit = limit
        """Most characters that it takes."""
        self.value = ""
        self.caret = 0
        self.selected = False
        """All of its text is selected: what is typed takes its place."""

    @property
    def pad(self) -> int:
        return max(3, self.font.size // 3)

    def describe(self) -> dict[str, Any]:
        shown = "" if self.secret else self.value
        return {"enabled": self.enabled, "value": shown, "length": len(self.value), "secret": self.secret}

    def text_clip(self, rect: Rect) -> Rect:
        return rect.inset(2)

    def edges(self) -> tuple[int, ...]:
        if self.secret:
            return tuple(range(0, (len(self.value) + 1) * self.dot, self.dot))
        return self.font.edges(self.value)

    @property
    def dot(self) -> int:
        """Width of a hidden character."""
        return max(4, self.font.size // 2)

    def origin(self, rect: Rect) -> int:
        """X of the text's left edge; long text moves left so that the caret is seen."""
        room = rect.width - 2 * self.pad - 1
        return rect.x0 + self.pad - max(0, self.edges()[self.caret] - room)

    def captions(self, rect: Rect) -> tuple[Caption, ...]:
        if not self.value:
            return (caption(self.hint, self.font, rect, "left", "muted", self.pad),) if self.hint else ()
        if self.secret:
            return ()
        place = caption(self.value, self.font, rect, "left", "field_text", self.pad)
        return (Caption(self.value, self.origin(rect), place.baseline, self.font, place.role),)

    def paint(self, canvas: Canvas, theme: Theme, rect: Rect, focused: bool) -> None:
        c = theme.colors
        face = c["field"] if self.enabled else mix(c["field"], c["window"], 0.7)
        canvas.outlined(
            rect, min(theme.radius, 3), c["focus" if focused else "border"], face, None, 2 if focused else 1
        )
        edges, x = self.edges(), self.origin(rect)
        middle = (rect.y0 + rect.y1) // 2
        half = (self.font.cap + 3) // 2
        outer = canvas.clip
        canvas.clip = outer.clip(self.text_clip(rect))
        if self.selected and self.value:
            canvas.fill(Rect(x, middle - half, x + edges[-1], middle + half + 1), mix(face, c["focus"], 0.45))
        if self.secret:
            size = self.dot - 1
            for edge in edges[:-1]:
                canvas.mask(icon_mask("disc", size), x + edge, middle - size // 2, c["field_text"])
        if focused:
            canvas.fill(
                Rect(x + edges[self.caret] - 1, middle - half, x + edges[self.caret], middle + half + 1), c["text"]
            )
        canvas.clip = outer
        self.paint_text(canvas, theme, rect)

    def press(self, desk: Desktop, rect: Rect, x: int, y: int) -> None:
        start = self.origin(rect)
        self.caret = min(range(len(self.value) + 1), key=lambda i: abs(start + self.edges()[i] - x))
        self.selected = False

    def double_click(self, desk: Desktop, rect: Rect, x: int, y: int) -> bool:
        self.select_all()
        return True

    def select_all(self) -> None:
        self.caret = len(self.value)
        self.selected = bool(self.value)

    def clear(self) -> None:
        self.value, self.caret, self.selected = "", 0, False

    def replace(self, value: str, caret: int, desk: Desktop) -> None:
        self.value, self.caret, self.selected = value, caret, False
        desk.emit(self.name, "change", value)

    def type(self, desk: Desktop, text: str) -> None:
        head, tail = ("", "") if self.selected else (self.value[: self.caret], self.value[self.caret :])
        text = "".join(char for char in text if " " <= char <= "~")[: max(0, self.limit - len(head) - len(tail))]
        if text:
            self.replace(head + text + tail, len(head) + len(text), desk)

    def key(self, desk: Desktop, key: str) -> bool:
        if key == "ctrl+a":
            self.select_all()
        elif key in ("backspace", "delete") and self.selected:
            self.replace("", 0, desk)
        elif key == "backspace":
            if self.caret:
                self.replace(self.value[: self.caret - 1] + self.value[self.caret :], self.caret - 1, desk)
        elif key == "delete":
            if self.caret < len(self.value):
                self.replace(self.value[: self.caret] + self.value[self.caret + 1 :], self.caret, desk)
        elif key == "space":
            self.type(desk, " ")
        elif key in ("left", "right", "home", "end"):
            step = {"left": self.caret - 1, "right": self.caret + 1, "home": 0, "end": len(self.value)}[key]
            self.caret, self.selected = min(max(step, 0), len(self.value)), False
        else:
            return False
        return True


class Checkbox(Widget):
    """A box with a tick and a caption beside it."""

    kind = "checkbox"
    stored = ("visible", "enabled", "checked")
    focusable = True

    def __init__(self, name: str, rect: Rect, font: Font, label: str, checked: bool = False) -> None:
        super().__init__(name, rect, font, label)
        self.checked = checked

    def describe(self) -> dict[str, Any]:
        return {"enabled": self.enabled, "checked": self.checked}

    def tick(self, rect: Rect) -> Rect:
        side = min(rect.height, self.font.size)
        return box(rect.x0, rect.y0 + (rect.height - side) // 2, side, side)

    def captions(self, rect: Rect) -> tuple[Caption, ...]:
        return (caption(self.label, self.font, rect, "left", pad=self.tick(rect).width + 3),)

    def paint(self, canvas: Canvas, theme: Theme, rect: Rect, focused: bool) -> None:
        c, tick = theme.colors, self.tick(rect)
        face = c["accent"] if self.checked else c["field"]
        canvas.outlined(
            tick, min(theme.radius, 2), c["focus" if focused else "border"], face, None, 2 if focused else 1
        )
        if self.checked:
            canvas.mask(icon_mask("check", tick.width - 2), tick.x0 + 1, tick.y0 + 1, c["accent_text"])
        self.paint_text(canvas, theme, rect)

    def click(self, desk: Desktop, rect: Rect, x: int, y: int) -> None:
        self.checked = not self.checked
        desk.emit(self.name, "change", str(self.checked).lower())

    def key(self, desk: Desktop, key: str) -> bool:
        if key == "space":
            self.click(desk, self.rect, 0, 0)
            return True
        return False


class Slider(Widget):
    """A knob on a line: a whole number from ``low`` to ``high``, set by a click, a drag or the arrow keys.

    ``ticks``: a mark below the line for each number, a longer one for every fifth; every number, those at the ends too,
    has an equal share of the width or more.
    """

    kind = "slider"
    stored = ("visible", "enabled", "value")
    focusable = True

    def __init__(
        self, name: str, rect: Rect, font: Font, label: str, low: int, high: int, value: int, ticks: bool = False
    ) -> None:
        super().__init__(name, rect, font, label)
        self.low, self.high, self.value = low, high, value
        self.ticks = ticks

    def describe(self) -> dict[str, Any]:
        return {"enabled": self.enabled, "value": self.value, "low": self.low, "high": self.high}

    def bar(self, rect: Rect) -> Rect:
        """The part in which the knob runs, as high as the knob."""
        return rect._replace(y1=rect.y1 - rect.height // 3) if self.ticks else rect

    def margin(self, rect: Rect) -> int:
        """From the left edge to the knob's centre at ``low``, and from that at ``high`` to the right edge."""
        half = self.bar(rect).height // 2
        return max(half, rect.width // (2 * (self.high - self.low + 1))) if self.ticks else half

    def at(self, rect: Rect, value: int) -> int:
        """X of the knob's centre at ``value``."""
        margin, share = self.margin(rect), (value - self.low) / (self.high - self.low)
        return rect.x0 + margin + round(share * (rect.width - 2 * margin))

    def paint(self, canvas: Canvas, theme: Theme, rect: Rect, focused: bool) -> None:
        whole, rect = rect, self.bar(rect)
        c, x, middle = theme.colors, self.at(whole, self.value), (rect.y0 + rect.y1) // 2
        wide = max(1, rect.height // 12)
        for value in range(self.low, self.high + 1) if self.ticks else ():
            high = (whole.y1 - rect.y1) * (2 if value % 5 == 0 else 1) // 2
            canvas.fill(box(self.at(whole, value) - wide // 2, rect.y1, wide, high), c["muted"])
        line = max(2, rect.height // 5)
        canvas.rounded(Rect(rect.x0, middle - line // 2, rect.x1, middle - line // 2 + line), line // 2, c["border"])
        canvas.rounded(Rect(rect.x0, middle - line // 2, x, middle - line // 2 + line), line // 2, c["accent"])
        size = rect.height
        canvas.mask(icon_mask("disc", size), x - size // 2, rect.y0, c["focus" if focused else "border"])
        canvas.mask(icon_mask("disc", size - 4), x - size // 2 + 2, rect.y0 + 2, c["button"])

    def set(self, desk: Desktop, value: int) -> None:
        value = min(max(value, self.low), self.high)
        if value != self.value:
            self.value = value
            desk.emit(self.name, "change", str(value))

    def to(self, desk: Desktop, rect: Rect, x: int) -> None:
        margin = self.margin(rect)
        share = (x - rect.x0 - margin) / max(1, rect.width - 2 * margin)
        self.set(desk, self.low + round(share * (self.high - self.low)))

    def press(self, desk: Desktop, rect: Rect, x: int, y: int) -> None:
        self.to(desk, rect, x)

    def drag(self, desk: Desktop, rect: Rect, start: tuple[int, int], end: tuple[int, int]) -> None:
        self.to(desk, rect, end[0])

    def key(self, desk: Desktop, key: str) -> bool:
        if key not in ("left", "right", "home", "end"):
            return False
        steps = {"left": self.value - 1, "right": self.value + 1, "home": self.low, "end": self.high}
        self.set(desk, steps[key])
        return True
