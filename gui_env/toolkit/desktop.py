"""The desktop: windows one above the other, pointer, focus, the logical clock, and what actions do to them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from episode import SCREEN_KINDS, SceneObject, WorldError
from gui_env.toolkit.containers import Window
from gui_env.toolkit.geometry import Rect
from gui_env.toolkit.themes import Theme
from gui_env.toolkit.widget import Placed, Widget

DURATIONS: Mapping[str, float] = {
    "noop": 0.1,
    "click": 0.2,
    "double_click": 0.3,
    "right_click": 0.2,
    "drag": 0.5,
    "scroll": 0.2,
    "type": 0.2,
    "key": 0.1,
    "wait": 1.0,
    "done": 0.0,
}
"""Seconds of the logical clock that an action takes."""
PER_CHARACTER = 0.05
"""Seconds more for each character that is typed."""


class Event(NamedTuple):
    """What a widget or a timer tells the application."""

    source: str
    """Name of the widget, or of the timer."""
    kind: str
    """``click``, ``right_click``, ``change``, ``select``, ``close`` or ``timer``."""
    value: str = ""


class Desktop:
    """Windows, input and time. It knows nothing of tasks: what happens is told by ``events``."""

    def __init__(self, width: int, height: int, theme: Theme) -> None:
        self.width, self.height, self.theme = width, height, theme
        self.windows: dict[str, Window] = {}
        self.order: list[str] = []
        """Names of the open windows, the topmost last."""
        self.focus = ""
        self.pointer = (width // 2, height // 2)
        self.clock = 0.0
        self.timers: list[tuple[float, str, str]] = []
        """Due time, name and value of what is still to come, in the order in which it was asked for."""
        self.events: list[Event] = []
        self.second: tuple[int, int] | None = None
        """Where a double click's second click will fall."""

    # --- windows

    def add(self, window: Window, opened: bool = True) -> Window:
        self.windows[window.name] = window
        if opened:
            self.order.append(window.name)
        return window

    def open(self, name: str) -> None:
        """On top of the others; the focus leaves what is beneath."""
        self.close(name)
        self.order.append(name)
        self.focus = ""

    def close(self, name: str) -> None:
        if name in self.order:
            self.order.remove(name)
            self.focus = ""
            self.windows[name].closed()

    def is_open(self, name: str) -> bool:
        return name in self.order

    @property
    def top(self) -> Window | None:
        return self.windows[self.order[-1]] if self.order else None

    @property
    def screen(self) -> Rect:
        return Rect(0, 0, self.width, self.height)

    def placed(self, window: Window) -> list[Placed]:
        """Its widgets as far as they can be seen, what is drawn later behind what is drawn first."""
        spots: list[Placed] = []
        window.place(0, 0, self.screen, spots)
        return spots

    def all(self) -> Iterator[Widget]:
        """Every widget of every window, open or not."""
        for window in self.windows.values():
            yield from window.walk()

    def widget(self, name: str) -> Widget:
        for widget in self.all():
            if widget.name == name:
                return widget
        raise WorldError(f"no widget {name!r} on this desktop")

    def find(self, widget: Widget) -> Placed | None:
        """Where it is shown, or None; whether something covers it is not asked."""
        for name in self.order:
            for spot in self.placed(self.windows[name]):
                if spot.widget is widget:
                    return spot
        return None

    def hit(self, x: int, y: int) -> Placed | None:
        """The widget that a click at x, y reaches; None on the desktop and beneath what holds the input."""
        for name in reversed(self.order):
            window = self.windows[name]
            if window.rect.has(x, y):
                for spot in reversed(self.placed(window)):
                    if spot.rect.has(x, y) and spot.clip.has(x, y):
                        return spot
                return None
            if window.modal or window.transient:
                return None
        return None

    # --- time

    def later(self, delay: float, name: str, value: str = "") -> None:
        """Tell the application ``Event(name, "timer", value)`` after ``delay`` seconds."""
        self.timers.append((self.clock + delay, name, value))

    def due(self, until: float) -> Event | None:
        """The next timer up to ``until``, with the clock moved there; None, and the clock at ``until``, at the end."""
        ready = [t for t in self.timers if t[0] <= until]
        if not ready:
            self.clock = until
            return None
        first = min(ready, key=lambda t: t[0])
        self.timers.remove(first)
        self.clock = max(self.clock, first[0])
        return Event(first[1], "timer", first[2])

    # --- input

    def emit(self, source: str, kind: str, value: str = "") -> None:
        self.events.append(Event(source, kind, value))

    def act(self, action: Mapping[str, Any]) -> float:
        """Do what an action asks for, without letting time pass; returns the seconds that it takes."""
        kind = SCREEN_KINDS[int(action["kind"])]
        x, y = self._inside(action["position"])
        if kind in ("click", "double_click", "right_click"):
            self.pointer = (x, y)
            self._click(kind, x, y)
        elif kind == "drag":
            self.pointer = self._inside(action["end"])
            self._drag((x, y), self.pointer)
        elif kind == "scroll":
            self.pointer = (x, y)
            self._scroll(int(action["scroll"][0]), x, y)
        elif kind == "type":
            self._type(str(action["text"]))
            return DURATIONS["type"] + PER_CHARACTER * len(action["text"])
        elif kind == "key":
            self._key(str(action["text"]).strip().lower())
        return DURATIONS[kind]

    def _inside(self, position: Any) -> tuple[int, int]:
        x, y = int(position[0]), int(position[1])
        return min(max(x, 0), self.width - 1), min(max(y, 0), self.height - 1)

    def _grab(self, x: int, y: int) -> Placed | None:
        """What the mouse button goes down on: its window comes to the top, it takes the focus."""
        top = self.top
        if top is not None and top.transient and not top.rect.has(x, y):
            # The click is spent on this.
            self.close(top.name)
            return None
        spot = self.hit(x, y)
        if spot is None:
            return None
        window = spot.widget
        while window.parent is not None:
            window = window.parent
        if self.order[-1] != window.name:
            self.order.remove(window.name)
            self.order.append(window.name)
        if not spot.widget.enabled:
            return None
        target = spot.widget
        while not target.focusable and target.parent is not None:
            target = target.parent
        self.focus = target.name if target.focusable else ""
        return spot

    def _click(self, kind: str, x: int, y: int) -> None:
        spot = self._grab(x, y)
        if spot is None:
            return
        if kind == "right_click":
            self.emit(spot.widget.name, "right_click", spot.widget.label)
            return
        spot.widget.press(self, spot.rect, x, y)
        if kind == "click":
            spot.widget.click(self, spot.rect, x, y)
        elif not spot.widget.double_click(self, spot.rect, x, y):
            spot.widget.click(self, spot.rect, x, y)
            self.second = (x, y)

    def click_again(self) -> bool:
        """The second click of two, once the application has answered the first; False where there is none.

        It falls on whatever lies there by then.
        """
        if self.second is None:
            return False
        spot, self.second = self.second, None
        self._click("click", *spot)
        return True

    def _drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        spot = self._grab(*start)
        if spot is None:
            return
        spot.widget.press(self, spot.rect, *start)
        spot.widget.drag(self, spot.rect, start, end)
        after = self.hit(*end)
        if after is not None and after.widget is spot.widget:
            spot.widget.click(self, after.rect, *end)

    def _scroll(self, notches: int, x: int, y: int) -> None:
        spot = self.hit(x, y)
        widget = spot.widget if spot else None
        while widget is not None and not (widget.enabled and widget.scroll(self, notches)):
            widget = widget.parent

    def _focused(self) -> Widget | None:
        return self.widget(self.focus) if self.focus else None

    def _type(self, text: str) -> None:
        widget = self._focused()
        if widget is not None and widget.enabled:
            widget.type(self, text)

    def _key(self, key: str) -> None:
        widget = self._focused()
        if key in ("tab", "shift+tab"):
            self._next_focus(-1 if key.startswith("shift") else 1)
        elif widget is not None and widget.enabled and widget.key(self, key):
            return
        elif key == "enter" and self.top is not None and self.top.default:
            button = self.widget(self.top.default)
            if button.enabled and button.visible:
                button.key(self, "enter")
        elif key == "escape" and self.top is not None and self.top.transient:
            self.close(self.top.name)
        elif key == "escape" and self.top is not None and self.top.modal:
            self.emit(self.top.name, "close")

    def _next_focus(self, step: int) -> None:
        if self.top is None:
            return
        ring = [w for w in self.top.walk() if w.focusable and w.enabled and w.visible]
        if not ring:
            return
        names = [w.name for w in ring]
        at = names.index(self.focus) + step if self.focus in names else (0 if step > 0 else -1)
        target = ring[at % len(ring)]
        self.focus = target.name
        target.key(self, "ctrl+a")

    # --- state

    def save(self) -> dict[str, Any]:
        """Everything that changes, as a JSON tree."""
        return {
            "order": list(self.order),
            "focus": self.focus,
            "pointer": list(self.pointer),
            "clock": self.clock,
            "timers": [list(t) for t in self.timers],
            "widgets": {w.name: w.save() for w in self.all()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self.order = list(state["order"])
        self.focus = state["focus"]
        self.pointer = (state["pointer"][0], state["pointer"][1])
        self.clock = state["clock"]
        self.timers = [(t[0], t[1], t[2]) for t in state["timers"]]
        self.events, self.second = [], None
        for widget in self.all():
            widget.load(state["widgets"][widget.name])

    def form_key(self) -> str:
        """The state of the form, whatever the clock and the pointer say."""
        looks = [(w.name, w.look()) for w in self.all()]
        waiting = [(round(due - self.clock, 6), name, value) for due, name, value in self.timers]
        return json.dumps([self.order, self.focus, waiting, looks])

    # --- description

    def scene(self) -> list[SceneObject]:
        """What a person sees: nothing that is scrolled out, and nothing that a higher window covers even in part.

        Things around a modal or transient window carry ``blocked: True``: they can be read but do not answer.
        """
        objects: list[SceneObject] = []
        for level, name in enumerate(self.order):
            above = [self.windows[n] for n in self.order[level + 1 :]]
            blocked = any(w.modal or w.transient for w in above)
            for widget, rect, clip in self.placed(self.windows[name]):
                shown = widget.extent(rect).clip(clip)
                hidden = [w.rect.covers(shown) if isinstance(widget, Window) else w.rect.meets(shown) for w in above]
                if not shown.empty and not any(hidden):
                    objects.append(self._object(widget, rect, clip, shown, blocked))
        return objects

    def _object(self, widget: Widget, rect: Rect, clip: Rect, shown: Rect, blocked: bool) -> SceneObject:
        lines = widget.captions(rect)
        state = {**widget.describe(), "focused": widget.name == self.focus}
        if blocked:
            state["blocked"] = True
        return SceneObject(
            name=widget.name,
            kind=widget.kind,
            camera="screen",
            box=(float(shown.x0), float(shown.y0), float(shown.x1), float(shown.y1)),
            label=widget.label,
            color=widget.color,
            text=lines[0].run(clip.clip(widget.text_clip(rect))) if lines else None,
            state=state,
        )
