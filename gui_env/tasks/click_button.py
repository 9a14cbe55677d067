"""Click the button of a given name among three to five."""

from __future__ import annotations

from typing import ClassVar

from episode import Advice, Split
from gui_env import content
from gui_env.layout import arrange
from gui_env.toolkit.controls import Button, Label
from gui_env.toolkit.desktop import Event
from gui_env.toolkit.geometry import Rect, box
from gui_env.world import Brief, Draw, Goal, GuiWorld

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        'Click the "{}" button.',
        'Press "{}".',
        'Click on "{}".',
        'Press the button named "{}".',
        'Find the "{}" button and click it.',
        'Choose "{}".',
    ),
    "heldout": ('Press the "{}" button.', 'Find "{}" and press it.', 'Click the button named "{}".'),
}
QUESTIONS = ("What now?", "Your move:", "Pick one:", "How to go on?")


class ClickButton(GuiWorld):
    task_id = "gui/click-button-v0"
    summary = "Click the named button among three to five."
    horizon = 5
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.15)}
    goal_names = ("pressed",)

    def build(self, draw: Draw) -> Brief:
        m, count = self.m, int(draw.task.integers(3, 6))
        title, *words = content.labels(draw.content, self.split, count + 1)
        window = self.window(draw, title, m.px(int(draw.layout.integers(112, 127))), m.px(112))
        room = Rect(0, 0, *window.room).inset(m.px(4))
        if count < 5 and draw.layout.random() < 0.6:
            line = box(room.x0, room.y0, room.width, m.font.size + m.px(3))
            window.add(Label("question", line, m.font, content.pick(draw.content, QUESTIONS), role="muted"))
            room = Rect(room.x0, line.y1 + m.px(2), room.x1, room.y1)
        pad = float(draw.layout.uniform(4, 8))
        spots = arrange(draw.layout, room, [(m.button(word, pad), m.control) for word in words], m.px(3))
        primary = int(draw.appearance.integers(count)) if draw.appearance.random() < 0.4 else -1
        shades = content.shades(draw.appearance, self.split, count) if draw.appearance.random() < 0.3 else []
        self.buttons: list[Button] = []
        for i, (spot, word) in enumerate(zip(spots, words, strict=True)):
            color, rgb = shades[i] if shades else ("", None)
            button = Button(f"button{i}", spot, m.font, word, primary=i == primary, color=color, rgb=rgb)
            self.buttons.append(window.add(button))
        self.target = self.buttons[int(draw.task.integers(count))]
        self.data["pressed"] = []
        return Brief(
            draw.phrase(PHRASES).format(self.target.label),
            (Goal("pressed", lambda: self.target.name in self.data["pressed"]),),
        )

    def on_event(self, event: Event) -> None:
        if event.kind == "click":
            self.data["pressed"].append(event.source)

    def solved(self) -> bool:
        pressed: list[str] = self.data["pressed"]
        return bool(pressed) and set(pressed) == {self.target.name}

    def failed(self) -> bool:
        return any(name != self.target.name for name in self.data["pressed"])

    def plan(self) -> Advice:
        return self.click(self.target, f"{self.target.label} is what I need.")
