"""A one-step pixel task to learn from random weights: a red button somewhere in a window, and one click.

Adds ``bench/red-button-v0`` to the GUI tasks. Without looking the best is the middle, which hits a fifth of the time.
It imports worlds alone, as a peer's environment has no model of ours.
"""

from __future__ import annotations

from typing import ClassVar

from episode import Advice
from gui_env import TASKS
from gui_env.toolkit.controls import Button
from gui_env.toolkit.desktop import Event
from gui_env.toolkit.geometry import box
from gui_env.world import Brief, Draw, Goal, GuiWorld

SIDE = 36
LEARNED = 0.9
"""Share of hits at which the task counts as learned: of the last thousand clicks, as they were tried in training."""
WINDOW = 1024
"""Clicks over which hits are counted."""


class RedButton(GuiWorld):
    task_id = "bench/red-button-v0"
    summary = "Click the red button: one click, hit or miss."
    horizon = 1
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.15)}
    goal_names = ("pressed",)

    def build(self, draw: Draw) -> Brief:
        window = self.window(draw, "Red", self.width, self.height)
        wide, high = window.room
        x, y = int(draw.layout.integers(wide - SIDE + 1)), int(draw.layout.integers(high - SIDE + 1))
        self.button = window.add(Button("red", box(x, y, SIDE, SIDE), self.m.font, "", rgb=(220, 40, 40)))
        self.data["pressed"] = False
        return Brief("Click the red button.", (Goal("pressed", self.solved),))

    def on_event(self, event: Event) -> None:
        if event.kind == "click" and event.source == self.button.name:
            self.data["pressed"] = True

    def solved(self) -> bool:
        return bool(self.data["pressed"])

    def plan(self) -> Advice:
        return self.click(self.button, "Here.")


TASKS[RedButton.task_id] = RedButton
