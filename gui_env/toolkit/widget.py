"""What every widget is: a box in a tree, with a state that can be saved, a look, and answers to mouse and keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from gui_env.toolkit.canvas import Canvas
from gui_env.toolkit.fonts import Caption, Font
from gui_env.toolkit.geometry import Rect
from gui_env.toolkit.themes import Theme

if TYPE_CHECKING:
    from gui_env.toolkit.desktop import Desktop

W = TypeVar("W", bound="Widget")


class Placed(NamedTuple):
    """A widget where it stands now."""

    widget: Widget
    rect: Rect
    """In pixels of the frame; may reach beyond ``clip``."""
    clip: Rect
    """What its containers show."""


class Widget:
    """A box in a tree. Its ``rect`` is relative to its parent's content; a window's is relative to the screen.

    ``stored`` names the attributes that change while the application runs: JSON scalars, rects and tuples of those.
    They are what is saved, what identifies a state, and what tells the painter that the widget must be drawn again.
    """

    kind: ClassVar[str] = "widget"
    stored: ClassVar[tuple[str, ...]] = ("visible", "enabled")
    unseen: ClassVar[tuple[str, ...]] = ()
    """Of the stored, those that say nothing about how it looks."""
    focusable: ClassVar[bool] = False
    _look: ClassVar[attrgetter[tuple[Any, ...]]] = attrgetter(*stored)

    def __init_subclass__(cls) -> None:
        # Asked of every widget for every frame. Two names at the least: of one, attrgetter makes no tuple.
        cls._look = attrgetter(*(name for name in cls.stored if name not in cls.unseen))

    def __init__(self, name: str, rect: Rect, font: Font, label: str = "", color: str = "") -> None:
        self.name = name
        """Unique on the desktop."""
        self.rect = rect
        self.font = font
        self.label = label
        """How a person would name it."""
        self.color = color
        """Name of its colour, where that means something."""
        self.visible = True
        self.enabled = True
        self.parent: Widget | None = None
        self.children: list[Widget] = []

    # --- the tree

    def add(self, child: W) -> W:
        child.parent = self
        self.children.append(child)
        return child

    def content(self, rect: Rect) -> tuple[int, int, Rect]:
        """Where children stand, given the widget's own place: origin x, origin y, and what of them is shown."""
        return rect.x0, rect.y0, rect

    def place(self, dx: int, dy: int, clip: Rect, spots: list[Placed]) -> None:
        """Put the widget and what is in it, as far as it can be seen, behind ``spots``, parents before children."""
        if not self.visible:
            return
        rect = self.rect.shift(dx, dy)
        if rect.clip(clip).empty:
            return
        spots.append(Placed(self, rect, clip))
        if self.children:
            x, y, inner = self.content(rect)
            inner = inner.clip(clip)
            for child in self.children:
                child.place(x, y, inner, spots)

    def walk(self) -> Iterator[Widget]:
        """The widget and everything in it, seen or not."""
        yield self
        for child in self.children:
            yield from child.walk()

    # --- state

    def save(self) -> dict[str, Any]:
        """The stored attributes as JSON values."""
        state = {name: getattr(self, name) for name in self.stored}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in state.items()}

    def load(self, state: dict[str, Any]) -> None:
        for name in self.stored:
            value = state[name]
            setattr(self, name, tuple(value) if isinstance(value, list) else value)

    def look(self) -> tuple[Any, ...]:
        """Equal looks at an equal place paint equal pixels."""
        return self._look(self)

    def describe(self) -> dict[str, Any]:
        """State for the scene graph, JSON scalars only."""
        return {"enabled": self.enabled}

    # --- looks

    def captions(self, rect: Rect) -> tuple[Caption, ...]:
        """The text that it shows at ``rect``."""
        return ()

    def extent(self, rect: Rect) -> Rect:
        """What a person would say it covers."""
        return rect

    def text_clip(self, rect: Rect) -> Rect:
        """The part of ``rect`` in which its text may be drawn."""
        return rect

    def paint(self, canvas: Canvas, theme: Theme, rect: Rect, focused: bool) -> None:
        """Draw all but children."""
        self.paint_text(canvas, theme, rect)

    def paint_text(self, canvas: Canvas, theme: Theme, rect: Rect) -> None:
        clip = canvas.clip
        canvas.clip = clip.clip(self.text_clip(rect))
        for line in self.captions(rect):
            canvas.text(line, theme.colors[line.role if self.enabled else "muted"])
        canvas.clip = clip

    # --- input; ``rect`` is where the widget stands, x and y are pixels of the frame

    def press(self, desk: Desktop, rect: Rect, x: int, y: int) -> None:
        """The mouse button goes down on it."""

    def drag(self, desk: Desktop, rect: Rect, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Pressed at ``start``, the pointer moves to ``end``."""

    def click(self, desk: Desktop, rect: Rect, x: int, y: int) -> None:
        """Pressed and released on it."""

    def double_click(self, desk: Desktop, rect: Rect, x: int, y: int) -> bool:
        """Clicked twice; True where it has used that, else they are two clicks."""
        return False

    def scroll(self, desk: Desktop, notches: int) -> bool:
        """The wheel turns over it; True where it has used the turn, else its parent is asked."""
        return False

    def key(self, desk: Desktop, key: str) -> bool:
        """A named key while it has the focus; True where it has used the key."""
        return False

    def type(self, desk: Desktop, text: str) -> None:
        """Characters while it has the focus."""
