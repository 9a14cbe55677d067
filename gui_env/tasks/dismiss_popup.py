"""Something pops up in the way of the button that is to be clicked: dismiss it and go on."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from episode import Advice, Split
from gui_env import content
from gui_env.layout import across, arrange
from gui_env.toolkit.controls import Button, Label
from gui_env.toolkit.desktop import Event
from gui_env.toolkit.geometry import Rect, box
from gui_env.world import Brief, Draw, Goal, GuiWorld

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        'Click the "{}" button.',
        'Press "{}".',
        'Close what is in the way and press "{}".',
        'Click "{}", whatever pops up.',
    ),
    "heldout": ('Close whatever pops up and press "{}".', 'Click "{}".'),
}


class Popup(NamedTuple):
    """What a popup says, and the caption that sends it away (none: the cross of its title bar)."""

    title: str
    text: str
    dismiss: str
    other: str = ""
    """A second button, which keeps one waiting."""


POPUPS: dict[Split, tuple[Popup, ...]] = {
    "train": (
        Popup("Cookies", "We use cookies", "OK"),
        Popup("Cookies", "Accept cookies?", "Close", "More"),
        Popup("Update", "A new version", "Later", "Install"),
        Popup("Notice", "Battery is low", "Close"),
        Popup("Offer", "Half price today", ""),
        Popup("Rate us", "Do you like it?", "Later"),
        Popup("Tip", "Did you know?", "OK"),
        Popup("Chat", "Can we help?", ""),
        Popup("News", "Read all about it", "Skip"),
        Popup("Invite", "Bring a friend", "Dismiss"),
        Popup("Backup", "Not saved yet", "Cancel", "Back up"),
        Popup("Help", "Take the tour", "Skip", "Start"),
        Popup("Place", "Where are you?", "Block", "Allow"),
        Popup("Gift", "A present for you", ""),
        Popup("Memory", "Nearly used up", "OK"),
        Popup("Join", "It is free", "No", "Yes"),
        Popup("Contact", "Tell us more", "Later", "Write"),
    ),
    "heldout": (
        Popup("Privacy", "Your data", "OK"),
        Popup("Upgrade", "Better and faster", "Later", "Get it"),
        Popup("Survey", "One question", "Close"),
        Popup("Alert", "Disk almost full", ""),
    ),
}
BUSY = 2.0
"""Seconds that the second button costs."""
WAYS_OUT = {("popup/dismiss", "click"), ("popup/close", "click"), ("popup", "close"), ("installed", "timer")}
"""Its button, its cross, Escape, and the end of the wait for its second button."""
FRESH = 0.5
"""Share of training popups that say anything at all: who knows the common ones by heart is lost before another."""


class DismissPopup(GuiWorld):
    task_id = "gui/dismiss-popup-v0"
    summary = "Dismiss an unexpected popup and click the named button beneath it."
    horizon = 8
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.05)}
    goal_names = ("dismissed", "pressed")

    def build(self, draw: Draw) -> Brief:
        m, count = self.m, int(draw.task.integers(3, 5))
        title, *words = content.labels(draw.content, self.split, count + 1)
        window = self.window(draw, title, m.px(124), m.px(110))
        room = Rect(0, 0, *window.room).inset(m.px(4))
        spots = arrange(draw.layout, room, [(m.button(word), m.control) for word in words], m.px(4))
        self.buttons = [
            window.add(Button(f"button{i}", spot, m.font, word))
            for i, (spot, word) in enumerate(zip(spots, words, strict=True))
        ]
        self.target = self.buttons[int(draw.task.integers(count))]
        self.at_once = bool(draw.task.random() < 0.6)
        """It is there from the start; else the first click brings it."""
        self._build_popup(draw)
        self.data.update(pressed=[], shown=self.at_once)
        return Brief(
            draw.phrase(PHRASES).format(self.target.label),
            (
                Goal("dismissed", lambda: self.data["shown"] and not self.desk.is_open("popup")),
                Goal("pressed", lambda: self.target.name in self.data["pressed"], after=("dismissed",)),
            ),
        )

    def _build_popup(self, draw: Draw) -> None:
        """A modal window over the target, with one way out and sometimes one detour."""
        m, font, what = self.m, self.m.font, POPUPS[self.split][int(draw.task.integers(len(POPUPS[self.split])))]
        if self.split == "train" and draw.content.random() < FRESH:
            title, *line = content.labels(draw.content, self.split, 3)
            what = what._replace(title=title, text=" ".join(line))
        captions = [c for c in (what.other, what.dismiss) if c]
        height, pad = font.size + m.px(4), m.px(5)
        wide = max(font.width(what.text), sum(m.button(c) + pad for c in captions)) + 2 * pad
        high = height + 2 * pad + (m.control + pad if captions else 0)
        cross = 0 if what.dismiss else max(m.row, m.target[0])
        window = self.window(draw, what.title, wide, high, name="popup", modal=True, cross=cross, opened=self.at_once)
        self.popup = window
        window.rect = self._over_target(draw, window.rect)
        room = Rect(0, 0, *window.room).inset(pad)
        line_box = box(room.x0, room.y0, room.width, height)
        self.text = window.add(Label("popup/text", line_box, font, what.text, "center"))
        spots = across(room, [m.button(c) for c in captions], m.control, pad, "center")
        for caption, spot in zip(captions, spots, strict=True):
            role = "dismiss" if caption == what.dismiss else "other"
            window.add(Button(f"popup/{role}", spot, font, caption, primary=role == "other"))
        self.exit = self.desk.widget("popup/close" if cross else "popup/dismiss")

    def _over_target(self, draw: Draw, rect: Rect) -> Rect:
        """``rect`` moved so that it hides the middle of the target."""
        x, y = self.middle(self.target)
        left = x - int(draw.layout.integers(rect.width // 4, 1 + 3 * rect.width // 4))
        top = y - int(draw.layout.integers(rect.height // 4, 1 + 3 * rect.height // 4))
        left = min(max(left, 0), self.width - rect.width)
        top = min(max(top, 0), self.height - rect.height)
        return box(left, top, rect.width, rect.height)

    def on_event(self, event: Event) -> None:
        if (event.source, event.kind) in WAYS_OUT:
            self.desk.close("popup")
        elif event.source == "popup/other" and event.kind == "click":
            self.text.text = "Please wait"
            for widget in self.popup.children:
                widget.enabled = not widget.focusable
            self.desk.later(BUSY, "installed")
        elif event.kind == "click" and event.source == self.target.name and not self.data["shown"]:
            # The page is interrupted: this click is lost.
            self.data["shown"] = True
            self.desk.open("popup")
        elif event.kind == "click":
            self.data["pressed"].append(event.source)

    def solved(self) -> bool:
        pressed: list[str] = self.data["pressed"]
        return bool(pressed) and set(pressed) == {self.target.name} and not self.desk.is_open("popup")

    def failed(self) -> bool:
        return any(name != self.target.name for name in self.data["pressed"])

    def plan(self) -> Advice:
        if self.desk.timers:
            return self.wait("It is installing.")
        if self.desk.is_open("popup"):
            return self.click(self.exit, "A popup is in the way.")
        return self.click(self.target, f"{self.target.label} is what I need.")
