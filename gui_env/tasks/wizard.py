"""Go through four pages: type a name, choose an option, pick from a dropdown, agree and finish."""

from __future__ import annotations

from typing import ClassVar

from episode import Advice, Split
from gui_env import content
from gui_env.form import Form, FormWorld
from gui_env.toolkit.choices import Radio
from gui_env.toolkit.controls import Button, Checkbox, Field, Label
from gui_env.toolkit.desktop import Event
from gui_env.toolkit.geometry import Rect, box
from gui_env.toolkit.widget import Widget
from gui_env.world import Brief, Draw, Goal

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        'Set up "{}" with "{}" and "{}", agree and finish.',
        'Enter "{}", choose "{}" and "{}", then agree and finish.',
        'Go through the pages with "{}", "{}" and "{}" and agree.',
        'Fill in "{}", "{}" and "{}", agree and finish.',
        'Add "{}" with "{}" and "{}", then agree.',
    ),
    "heldout": (
        'Set up "{}", choose "{}" and "{}", then agree.',
        'Enter "{}", "{}" and "{}", agree and finish.',
        'Go through the pages with "{}", "{}" and "{}", then finish.',
    ),
}
HEADS: dict[Split, tuple[tuple[str, str, str], ...]] = {
    "train": (
        *(("Name", "Plan", "City"), ("User", "Size", "Team"), ("Owner", "Type", "Place"), ("Title", "Mode", "Area")),
        *(("Member", "Tariff", "Street"), ("Guest", "Color", "Room"), ("Client", "Kind", "Branch")),
    ),
    "heldout": (("Person", "Class", "Town"), ("Label", "Level", "Zone")),
}
"""What the pages ask for: a text, an option, a pick."""
PAGES = 4


class Wizard(FormWorld):
    task_id = "gui/wizard-v0"
    summary = "Go through four pages: type, choose, pick, agree; then finish."
    horizon = 20
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.01)}
    goal_names = ("name", "option", "pick", "agreed", "finished")

    def build(self, draw: Draw) -> Brief:
        m, split = self.m, self.split
        heads = (*HEADS[split][int(draw.content.integers(len(HEADS[split])))], "Summary")
        line = m.font.size + m.px(4)
        form = self.form(draw, m.px(116), line + 4 * m.row + 3 * m.px(1))
        self.turn = (*draw.task.permutation(PAGES - 1).tolist(), PAGES - 1)
        """Which subject each page has: 0 the name, 1 the option, 2 the pick, 3 the summary."""
        self.subjects: list[list[Widget]] = []
        for subject, head in enumerate(heads):
            page = f"{self.turn.index(subject) + 1}/{PAGES}"
            wide = m.font.width(page)
            left = box(form.body.x0, form.body.y0, form.body.width - wide - m.px(4), line)
            right = box(form.body.x1 - wide, form.body.y0, wide, line)
            title = Label(f"head{subject}", left, m.bold, head)
            number = Label(f"page{subject}", right, m.font, page, "right", "muted")
            self.subjects.append([form.window.add(title), form.window.add(number)])
        self._build_subjects(draw, form, Rect(form.body.x0, form.body.y0 + line, form.body.x1, form.body.y1), heads)
        self._build_foot(form)
        self.data["page"] = 0
        self._show()
        return Brief(
            draw.phrase(PHRASES).format(self.text, self.option.label, self.dropdown.items[self.pick]),
            (
                Goal("name", lambda: self.field.value == self.text),
                Goal("option", lambda: self.option.checked),
                Goal("pick", lambda: self.dropdown.selected == self.pick),
                Goal("agreed", lambda: self.agree.checked),
                Goal("finished", self.accepted, after=("name", "option", "pick", "agreed")),
            ),
        )

    def _build_subjects(self, draw: Draw, form: Form, room: Rect, heads: tuple[str, ...]) -> None:
        """The controls of each page, all in the same place."""
        m, split = self.m, self.split
        counts = int(draw.task.integers(3, 5)), int(draw.task.integers(4, 8))
        words = content.labels(draw.content, split, sum(counts))
        self.text = content.label(draw.content, split, 6).lower()
        control = box(room.x0, room.y0 + m.px(4), room.width, m.control)
        self.field = form.window.add(Field("name", control, m.font, heads[0], limit=12))
        self.radios = []
        for i, word in enumerate(words[: counts[0]]):
            wide = max(m.font.size + m.px(5) + m.font.width(word), m.target[0])
            spot = box(room.x0, room.y0 + i * (m.row + m.px(1)), wide, m.row)
            self.radios.append(form.window.add(Radio(f"option{i}", spot, m.font, word, heads[1])))
        self.option = self.radios[int(draw.task.integers(counts[0]))]
        self.dropdown = self.add_dropdown(form.window, "pick", control, heads[2], words[counts[0] :])
        self.pick = int(draw.task.integers(counts[1]))
        line = m.font.size + m.px(3)
        self.lines = [
            form.window.add(Label(f"line{i}", box(room.x0, room.y0 + i * line, room.width, line), m.font, f"{head}: "))
            for i, head in enumerate(heads[:3])
        ]
        below = box(room.x0, room.y0 + 3 * line, m.font.size + m.px(5) + m.font.width("I agree"), m.row)
        self.agree = form.window.add(Checkbox("agree", below, m.font, "I agree"))
        parts: tuple[list[Widget], ...] = ([self.field], [*self.radios], [self.dropdown], [*self.lines, self.agree])
        for subject, widgets in zip(self.subjects, parts, strict=True):
            subject += widgets

    def _build_foot(self, form: Form) -> None:
        m, foot = self.m, form.foot
        wide = max(m.button("Next"), m.button("Finish"))
        back = foot._replace(x1=foot.x0 + m.button("Back"))
        self.back = form.window.add(Button("back", back, m.font, "Back"))
        self.next = form.window.add(Button("confirm", foot._replace(x0=foot.x1 - wide), m.font, "Next", primary=True))

    # --- the application

    def _show(self) -> None:
        """What stands on the page, and which of its buttons answer."""
        page = self.data["page"]
        for subject, widgets in enumerate(self.subjects):
            for widget in widgets:
                widget.visible = self.turn[page] == subject
        option = next((radio.label for radio in self.radios if radio.checked), "")
        filled = (self.field.value, option, self.dropdown.value)
        for line, value in zip(self.lines, filled, strict=True):
            line.text = f"{line.text.split(':')[0]}: {value}"
        self.back.enabled = page > 0
        self.next.enabled = bool((*filled, self.agree.checked)[self.turn[page]])
        self.next.label = "Next" if page < PAGES - 1 else "Finish"

    def on_event(self, event: Event) -> None:
        page = self.data["page"]
        step = {"back": -1, "confirm": 1}.get(event.source, 0) if event.kind == "click" else 0
        if 0 <= page + step < PAGES:
            self.data["page"] = page + step
            self.desk.focus = "" if step else self.desk.focus
        else:
            super().on_event(event)
        self._show()

    def right(self) -> bool:
        return self.subjects_right() == [True] * PAGES

    def subjects_right(self) -> list[bool]:
        return [
            self.field.value == self.text,
            self.option.checked,
            self.dropdown.selected == self.pick,
            self.agree.checked,
        ]

    def mend(self) -> Advice | None:
        if self.desk.is_open(self.dropdown.menu.name):
            return self.choose(self.dropdown, self.pick)
        page, done = self.data["page"], self.subjects_right()
        wrong = next((i for i, subject in enumerate(self.turn) if not done[subject]), PAGES - 1)
        if page > wrong:
            return self.click(self.back, f"Page {wrong + 1} is not as it should be.")
        if page < wrong:
            return self.click(self.next, "This page is done.")
        if all(done):
            return None
        return self._mend_subject(self.turn[page])

    def _mend_subject(self, subject: int) -> Advice | None:
        if subject == 0:
            return self.fill(self.field, self.text)
        if subject == 2:
            return self.choose(self.dropdown, self.pick)
        box = self.option if subject == 1 else self.agree
        return self.click(box, f"{box.label} must be checked.")
