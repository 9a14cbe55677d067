"""Set the named slider to a number from 0 to 10, and confirm."""

from __future__ import annotations

from typing import ClassVar

from episode import Advice, Split, screen_action
from gui_env import content
from gui_env.form import FormWorld
from gui_env.hands import say
from gui_env.toolkit.controls import Label, Slider
from gui_env.toolkit.desktop import Event
from gui_env.toolkit.geometry import box
from gui_env.world import Brief, Draw, Goal

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        'Set "{label}" to {value} and save.',
        'Move the slider "{label}" to {value}, then confirm.',
        'Move "{label}" to {value} and confirm.',
        'Set the "{label}" slider to {value} and save.',
        'Change "{label}" to {value}, then save.',
    ),
    "heldout": (
        'Set the slider "{label}" to {value}, then confirm.',
        'Move the "{label}" slider to {value} and save.',
        'Change "{label}" to {value} and confirm.',
    ),
}
LAST = 10


class SetSlider(FormWorld):
    task_id = "gui/set-slider-v0"
    summary = "Set the named slider, one of one or two, to a number, and confirm."
    horizon = 6
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.01)}
    goal_names = ("near", "set", "confirmed")

    def build(self, draw: Draw) -> Brief:
        m, count = self.m, 1 if draw.task.random() < 0.25 else 2
        labels = content.labels(draw.content, self.split, count)
        # A number's share of the width is more than a bin of the coarsest codec, even one of a frame that was made
        # smaller first: 5/4 of a bin, and what rounding takes.
        least = (LAST + 1) * max(m.target[0], 5 * self.width // 128 + 3)
        form, spots = self.labelled_form(draw, labels, width=least)
        wide = int(draw.layout.integers(least, form.body.width + 1))
        numeral, line = m.font.width(str(LAST)), m.font.size + m.px(2)
        self.sliders: list[Slider] = []
        self.numerals: list[Label] = []
        for i, (spot, label) in enumerate(zip(spots, labels, strict=True)):
            start, spot = int(draw.task.integers(LAST + 1)), spot._replace(x1=spot.x0 + wide)
            self.sliders.append(form.window.add(Slider(f"slider{i}", spot, m.font, label, 0, LAST, start, ticks=True)))
            corner = box(spot.x1 - numeral, spot.y0 - line, numeral, line)
            self.numerals.append(form.window.add(Label(f"value{i}", corner, m.font, str(start), "right")))
        self.target = self.sliders[int(draw.task.integers(count))]
        self.start = [slider.value for slider in self.sliders]
        self.value = int(draw.task.choice([v for v in range(LAST + 1) if abs(v - self.target.value) > 1]))
        confirmed = self.confirmed(draw, form, self.sliders, after=("set",))
        return Brief(
            draw.phrase(PHRASES).format(label=self.target.label, value=self.value),
            (
                Goal("near", lambda: abs(self.target.value - self.value) <= 1),
                Goal("set", lambda: self.target.value == self.value, after=("near",)),
                confirmed,
            ),
        )

    def on_event(self, event: Event) -> None:
        super().on_event(event)
        for slider, numeral in zip(self.sliders, self.numerals, strict=True):
            numeral.text = str(slider.value)

    def wanted(self, slider: Slider) -> int:
        return self.value if slider is self.target else self.start[self.sliders.index(slider)]

    def right(self) -> bool:
        return all(slider.value == self.wanted(slider) for slider in self.sliders)

    def mend(self) -> Advice | None:
        for slider in self.sliders:
            spot, value = self.desk.find(slider), self.wanted(slider)
            if spot is not None and slider.value != value:
                x, y = slider.at(spot.rect, value), spot.rect.center[1]
                return say(screen_action("click", x, y), f"{slider.label} must be {value}.")
        return None
