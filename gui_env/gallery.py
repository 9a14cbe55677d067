"""Random screens full of readable things, for teaching perception: same widgets and themes as the tasks, no task.

A widget's box is its exact box, and a :class:`episode.TextRun` holds the exact edges of the glyphs as they are drawn.
"""

from __future__ import annotations

import numpy as np

from episode import Frame, SceneObject, Split, stream
from gui_env import content
from gui_env.form import RESET, confirming
from gui_env.layout import across, column, labelled
from gui_env.metrics import Metrics, metrics
from gui_env.toolkit.canvas import luminance
from gui_env.toolkit.choices import Dropdown, Radio
from gui_env.toolkit.containers import ListBox, Window
from gui_env.toolkit.controls import Button, Checkbox, Field, Label, Picture, Slider
from gui_env.toolkit.desktop import Desktop
from gui_env.toolkit.fonts import Font
from gui_env.toolkit.geometry import Rect, box
from gui_env.toolkit.icons import ICONS
from gui_env.toolkit.painter import Painter
from gui_env.toolkit.themes import draw_theme
from gui_env.toolkit.widget import Widget

ICON_NAMES = tuple(ICONS)
MIXTURE = {
    "button": 6,
    "label": 4,
    "field": 3,
    "checkbox": 2,
    "radio": 1,
    "list": 2,
    "dropdown": 2,
    "icon": 1,
    "iconbutton": 3,
    "slider": 1,
}
KINDS = tuple(kind for kind, share in MIXTURE.items() for _ in range(share))


def random_screen(
    seed: int, size: tuple[int, int] = (128, 128), split: Split = "train", count: tuple[int, int] = (4, 14)
) -> tuple[Frame, list[SceneObject]]:
    """A frame of ``size`` (width, height) and everything on it.

    ``count`` is the least and the most number of widgets; fewer stand there when no more fit. Half of the labels are
    invented strings, ``split`` chooses words, shades and themes. On every fifth screen all words are alike, and every
    third is a form: captions beside or above what they name, or boxes and circles in a column.
    """
    rng = stream(seed, "gallery", split)
    scatter = Scatter(rng, size, split)
    number = int(rng.integers(count[0], count[1] + 1))
    if rng.random() < 0.2:
        scatter.words = content.alike(rng, split, 2 * number + 8)[1:]
    return scatter.form(number) if rng.random() < 0.35 else scatter.screen(number)


def confusable_buttons(seed: int, size: tuple[int, int], split: Split, count: int) -> tuple[Frame, list[SceneObject]]:
    """A screen of ``count`` buttons (fewer where no more fit) whose words lie within two edits of one word."""
    rng = stream(seed, "gallery", "confusable", split)
    scatter = Scatter(rng, size, split)
    scatter.words = content.alike(rng, split, count + 2)[1:]  # one more for the window's title
    return scatter.screen(count, ("button",), bare=True)


class Scatter:
    """Puts widgets on a desktop wherever there is room."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int], split: Split) -> None:
        self.rng, self.split = rng, split
        self.width, self.height = size
        self.desk = Desktop(self.width, self.height, draw_theme(rng, split))
        self.m: Metrics = metrics(self.width, self.height, rng)
        self.scale = self.m.scale
        self.taken: list[Rect] = []
        self.serial = 0
        self.words: list[str] = []
        """Labels to use up before others are drawn."""

    def text(self) -> str:
        """A label; two of three are invented, so that letters are read and not words recognised."""
        if self.words:
            return self.words.pop()
        if self.rng.random() < 0.35:
            return content.invented(self.rng, self.split).capitalize()
        return content.label(self.rng, self.split)

    def font(self) -> Font:
        return Font(round(int(self.rng.integers(10, 13)) * self.scale), bold=bool(self.rng.random() < 0.12))

    def screen(self, count: int, among: tuple[str, ...] = KINDS, bare: bool = False) -> tuple[Frame, list[SceneObject]]:
        """``count`` widgets of kinds drawn from ``among``, where they fit; ``bare``: with nothing over them."""
        window = self._window(count)
        room = Rect(0, 0, *window.room)
        kinds = [among[i] for i in self.rng.integers(len(among), size=count)]
        # Lists need most room: they come first.
        for kind in sorted(kinds, key=lambda kind: kind != "list"):
            self._put(kind, window, room)
        return self._shown(window, bare)

    def form(self, count: int) -> tuple[Frame, list[SceneObject]]:
        """Up to ``count`` boxes or circles to choose from, or captions with what they name, and buttons below."""
        rng, m, window = self.rng, self.m, self._window(count)
        room = Rect(0, 0, *window.room).inset(m.px(4), m.px(3))
        foot = m.control + m.px(3)
        body = Rect(room.x0, room.y0, room.x1, room.y1 - foot)
        draw = float(rng.random())
        if draw < 0.55:
            self._choices("checkbox" if draw < 0.4 else "radio", count, window, body)
        else:
            self._entries(count, window, body)
        words = [confirming(rng, self.split, m.font), RESET][: int(rng.integers(1, 3))]
        align = content.pick(rng, ("left", "center", "right"))
        spots = across(room, [m.button(word) for word in words], m.control, m.px(4), align)
        for number, (word, spot) in enumerate(zip(words, spots, strict=True)):
            if room.covers(spot):
                window.add(Button(f"foot{number}", spot, m.font, word, primary=not number))
        return self._shown(window, False)

    def _choices(self, kind: str, count: int, window: Window, body: Rect) -> None:
        """A column of boxes, each ticked or not, or of circles of which at most one is chosen."""
        rng, m, gap = self.rng, self.m, self.m.px(2)
        words = [self.text() for _ in range(min(count, max(1, body.height // (m.row + gap))))]
        chosen = int(rng.integers(-1, len(words)))
        widths = [m.font.size + m.px(5) + m.font.width(word) for word in words]
        if max(widths) > body.width:
            return
        spots = column(rng, body, [(max(widths), m.row)] * len(words), gap)
        for i, (word, spot, width) in enumerate(zip(words, spots, widths, strict=True)):
            place = spot._replace(x1=spot.x0 + width)
            if kind == "checkbox":
                window.add(Checkbox(f"box{i}", place, m.font, word, checked=bool(rng.random() < 0.5)))
            else:
                window.add(Radio(f"circle{i}", place, m.font, word, group="circles", checked=i == chosen))

    def _entries(self, count: int, window: Window, body: Rect) -> None:
        """Captions with fields or dropdowns, beside or below them."""
        rng, m, gap = self.rng, self.m, self.m.px(int(self.rng.integers(3, 5)))
        beside, line = bool(rng.random() < 0.5), m.font.size + m.px(2)
        fit = (body.height + gap) // (m.control + gap + (0 if beside else line))
        words = list(dict.fromkeys(self.text() for _ in range(min(count, max(1, fit)))))
        wide = max(map(m.font.width, words)) + m.px(4)
        if fit < 1 or (wide if not beside else wide + m.px(24)) > body.width:
            return
        pairs = labelled(body, len(words), line, wide if beside else 0, m.control, gap)
        for i, (word, (place, spot)) in enumerate(zip(words, pairs, strict=True)):
            place = place._replace(x1=place.x0 + m.font.width(word))
            window.add(Label(f"caption{i}", place, m.font, word))
            if rng.random() < 0.2:
                window.add(self._closed(f"dropdown{i}", spot, m.font, word, content.labels(rng, self.split, 4), m.row))
                continue
            field = window.add(Field(f"field{i}", spot, m.font, word, secret=bool(rng.random() < 0.1), limit=12))
            if rng.random() < 0.5:
                field.value = content.label(rng, self.split).lower()
                field.caret = len(field.value)

    def _closed(self, name: str, spot: Rect, font: Font, label: str, items: list[str], row: int) -> Dropdown:
        """A dropdown at ``spot`` with its menu."""
        shown, selected = int(self.rng.integers(3, 6)), int(self.rng.integers(-1, len(items)))
        made = Dropdown(name, spot, font, label, items, row=row, shown=shown, selected=selected)
        self.desk.add(made.menu, opened=False)
        return made

    def _shown(self, window: Window, bare: bool) -> tuple[Frame, list[SceneObject]]:
        """What is seen of the window's desktop; unless ``bare``, with what may lie over it."""
        if bare:
            return Painter(self.desk, 0).frame(), self.desk.scene()
        menus = [w for w in window.walk() if isinstance(w, Dropdown) and w.enabled]
        if self.rng.random() < 0.12:
            self._popup()
        elif menus and self.rng.random() < 0.4:
            chosen = menus[int(self.rng.integers(len(menus)))]
            spot = self.desk.find(chosen)
            if spot is not None:
                chosen.open(self.desk, spot.rect)
        elif self.rng.random() < 0.3:
            names = [w.name for w in window.walk() if w.focusable]
            self.desk.focus = names[int(self.rng.integers(len(names)))] if names else ""
        self.desk.pointer = (int(self.rng.integers(self.width)), int(self.rng.integers(self.height)))
        pointer = self.m.pointer if self.rng.random() < 0.35 else 0
        return Painter(self.desk, pointer).frame(), self.desk.scene()

    def _window(self, count: int) -> Window:
        """Most screens have a window with a title; a few widgets get a small window, many the whole screen."""
        rng, m = self.rng, self.m
        share = 1.0 if count > 6 or rng.random() < 0.4 else float(rng.uniform(0.75, 1))
        width, height = round(self.width * share), round(self.height * share)
        x, y = int(rng.integers(self.width - width + 1)), int(rng.integers(self.height - height + 1))
        bar = m.row if rng.random() < 0.7 else 0
        font = Font(m.font.size, bold=bool(rng.random() < 0.4))
        cross = bar if rng.random() < 0.7 else 0
        window = Window(
            "window",
            box(x, y, width, height),
            font,
            self.text() if bar else "",
            bar=bar,
            cross=cross,
            align=self.desk.theme.align,
        )
        return self.desk.add(window)

    def _popup(self) -> None:
        """Something modal over the others, which are dimmed."""
        rng, m, font = self.rng, self.m, self.font()
        text, caption = content.labels(rng, self.split, 2)
        pad = m.px(5)
        width = max(font.width(text), m.button(caption)) + 2 * pad + m.px(float(rng.uniform(0, 30)))
        bar = m.row if rng.random() < 0.7 else 0
        height = bar + 2 + font.size + 3 + m.control + 3 * pad
        x = int(rng.integers(max(1, self.width - width)))
        y = int(rng.integers(max(1, self.height - height)))
        cross = bar if rng.random() < 0.5 else 0
        title = self.text() if bar and width > m.px(80) else ""
        popup = Window("popup", box(x, y, width, height), font, title, bar=bar, modal=True, cross=cross)
        popup.add(Label("popup/text", box(pad, pad, width - 2 - 2 * pad, font.size + 3), font, text, "center"))
        wide = m.button(caption)
        spot = box((width - 2 - wide) // 2, 2 * pad + font.size + 3, wide, m.control)
        popup.add(Button("popup/button", spot, m.font, caption, primary=bool(rng.random() < 0.4)))
        self.desk.add(popup)

    def _free(self, room: Rect, width: int, height: int) -> Rect | None:
        """A free place for a box, by trial."""
        if width > room.width - 2 or height > room.height - 2:
            return None
        xs = self.rng.integers(1, room.width - width, 24)
        ys = self.rng.integers(1, room.height - height, 24)
        for x, y in zip(xs.tolist(), ys.tolist(), strict=True):
            spot = box(x, y, width, height)
            if not any(spot.inset(-2).meets(other) for other in self.taken):
                self.taken.append(spot)
                return spot
        return None

    def _put(self, kind: str, window: Window, room: Rect) -> None:
        self.serial += 1
        name = f"{kind}{self.serial}"
        many = {"list": self._list, "dropdown": self._dropdown}.get(kind)
        widget = many(name, room) if many else self._single(kind, name, room)
        if widget is not None:
            window.add(widget)
            if widget.focusable and self.rng.random() < 0.06:
                widget.enabled = False

    def _single(self, kind: str, name: str, room: Rect) -> Widget | None:
        rng, font, text = self.rng, self.font(), self.text()
        if kind == "slider" and rng.random() < 0.5:
            kind = "ticks"
        pad, side = self.m.px(float(rng.uniform(2, 7))), self.m.px(float(rng.uniform(11, 18)))
        high, tall, width = font.size + self.m.px(float(rng.uniform(3, 8))), font.size + 3, font.width(text)
        extra = self.m.px(float(rng.uniform(6, 60)))
        wide, deep = {
            "button": (width + 2 * pad, high),
            "label": (width, tall),
            "field": (width + 2 * pad + extra // 3, high),
            "checkbox": (width + tall + 4, tall),
            "radio": (width + tall + 4, tall),
            "slider": (self.m.px(20) + extra, self.m.px(9)),
            "ticks": (self.m.px(60) + extra, self.m.px(16)),
            "icon": (side, side),
            "iconbutton": (side, side),
        }[kind]
        spot = self._free(room, wide, deep)
        if spot is None:
            return None
        colored = 0.7 if kind in ("icon", "iconbutton") else 0.4
        shade, rgb = content.color(rng, self.split) if rng.random() < colored else ("", None)
        if kind == "button":
            return Button(name, spot, font, text, primary=bool(rng.random() < 0.25), color=shade, rgb=rgb)
        if kind == "label":
            return Label(name, spot, font, text, role="muted" if rng.random() < 0.2 else "text")
        if kind == "field":
            return self._field(name, spot, font, text)
        if kind == "checkbox":
            return Checkbox(name, spot, font, text, checked=bool(rng.random() < 0.5))
        if kind == "radio":
            return Radio(name, spot, font, text, group=name, checked=bool(rng.random() < 0.5))
        if kind in ("slider", "ticks"):
            return Slider(name, spot, font, "slider", 0, 10, int(rng.integers(11)), ticks=kind == "ticks")
        icon = ICON_NAMES[int(rng.integers(len(ICON_NAMES)))]
        if kind == "iconbutton":
            return Button(name, spot, font, icon, icon=icon, color=shade, rgb=rgb)
        window = self.desk.theme.colors["window"]
        if rgb is None or abs(luminance(rgb) - luminance(window)) < 0.2:
            shade, rgb = "", None
        return Picture(name, spot, font, icon, color=shade, rgb=rgb)

    def _field(self, name: str, spot: Rect, font: Font, text: str) -> Field:
        roll = float(self.rng.random())
        field = Field(name, spot, font, hint=text if roll < 0.15 else "", secret=0.15 <= roll < 0.25)
        if roll >= 0.15:
            field.value = text if self.rng.random() < 0.5 else text.lower()
            field.caret = len(text)
        return field

    def _list(self, name: str, room: Rect) -> Widget | None:
        rng, font = self.rng, self.font()
        row = font.size + self.m.px(float(rng.uniform(2, 5)))
        items = list(dict.fromkeys(self.text() for _ in range(int(rng.integers(2, 9)))))
        shown = min(len(items), int(rng.integers(2, 6)))
        width = max(font.width(text) for text in items) + 8 + self.m.px(float(rng.uniform(10, 20)))
        spot = self._free(room, width, shown * row + 2)
        if spot is None:
            return None
        listing = ListBox(name, spot, font, items, row)
        listing.move(int(rng.integers(len(items))) * row)
        if rng.random() < 0.5:
            listing.selected = int(rng.integers(len(items)))
        return listing

    def _dropdown(self, name: str, room: Rect) -> Widget | None:
        rng, font = self.rng, self.font()
        items = content.labels(rng, self.split, int(rng.integers(2, 8)))
        width = Dropdown.width(font, items) + self.m.px(float(rng.uniform(0, 30)))
        spot = self._free(room, width, font.size + self.m.px(float(rng.uniform(3, 8))))
        if spot is None:
            return None
        return self._closed(name, spot, font, "dropdown", items, font.size + self.m.px(float(rng.uniform(2, 5))))
