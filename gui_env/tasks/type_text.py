"""Type a text into the field of a given label, leave the others empty, and confirm."""

from __future__ import annotations

from typing import ClassVar

from episode import Advice, Split
from gui_env import content
from gui_env.form import FormWorld
from gui_env.toolkit.controls import Field
from gui_env.world import Brief, Draw, Goal

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        'Type "{text}" into "{label}" and save.',
        'Enter "{text}" in the field "{label}" and confirm.',
        'Write "{text}" in "{label}", then confirm.',
        'Type "{text}" into the "{label}" field, then save.',
        'Fill the field "{label}" with "{text}" and save.',
    ),
    "heldout": (
        'Type "{text}" in the field "{label}" and save.',
        'Write "{text}" into "{label}" and confirm.',
        'Fill "{label}" with "{text}", then save.',
    ),
}


class TypeText(FormWorld):
    task_id = "gui/type-text-v0"
    summary = "Type a text into the field of the named label among two or three, and confirm."
    horizon = 8
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.01)}
    goal_names = ("typed", "confirmed")

    def build(self, draw: Draw) -> Brief:
        count = int(draw.task.integers(2, 4))
        labels = content.labels(draw.content, self.split, count)
        coded = draw.content.random() < 0.3
        self.text = content.secret(draw.content) if coded else content.label(draw.content, self.split).lower()
        # Captions above their fields leave no room for three on the smallest screen.
        beside = count == 3 or bool(draw.layout.random() < 0.5)
        form, spots = self.labelled_form(draw, labels, beside)
        self.fields = [
            form.window.add(Field(f"field{i}", spot, self.m.font, label, limit=12))
            for i, (spot, label) in enumerate(zip(spots, labels, strict=True))
        ]
        self.target = self.fields[int(draw.task.integers(count))]
        confirmed = self.confirmed(draw, form, self.fields, after=("typed",))
        return Brief(
            draw.phrase(PHRASES).format(text=self.text, label=self.target.label),
            (Goal("typed", lambda: self.target.value == self.text), confirmed),
        )

    def wanted(self, field: Field) -> str:
        return self.text if field is self.target else ""

    def right(self) -> bool:
        return all(field.value == self.wanted(field) for field in self.fields)

    def mend(self) -> Advice | None:
        moves = (self.fill(field, self.wanted(field)) for field in self.fields)
        return next((move for move in moves if move is not None), None)
