"""Fill in a login form and submit it; some servers take their time."""

from __future__ import annotations

from typing import ClassVar

from episode import Advice, Split
from gui_env import content
from gui_env.layout import across
from gui_env.toolkit.controls import Button, Field, Label
from gui_env.toolkit.desktop import Event
from gui_env.toolkit.geometry import Rect, box
from gui_env.world import Brief, Draw, Goal, GuiWorld

PHRASES: dict[Split, tuple[str, ...]] = {
    "train": (
        'Log in as "{}" with the password "{}".',
        'Sign in with user "{}" and password "{}".',
        'Enter user "{}" and password "{}" and log in.',
        'Fill in the form with "{}" and "{}" and submit it.',
        'Log in: user "{}", password "{}".',
        'Sign in: user "{}", password "{}".',
        'Sign in as user "{}" with the password "{}".',
    ),
    "heldout": (
        'Sign in as "{}" with password "{}".',
        'Enter "{}" and the password "{}" and submit the form.',
        'Log in with user "{}" and password "{}".',
    ),
}
USER: dict[Split, tuple[str, ...]] = {
    "train": (
        *("User", "Name", "Login", "Email", "Nick", "Member", "Client"),
        *("Mail", "Alias", "Handle", "Phone", "Guest"),
    ),
    "heldout": ("Account", "User name"),
}
SUBMIT: dict[Split, tuple[str, ...]] = {
    "train": (
        *("Log in", "Sign in", "Submit", "OK", "Log on", "Next", "Start", "Join", "Connect", "Open", "Go", "Proceed"),
        *("Access", "Begin", "Send", "Ready", "Come in", "Let me in", "Unlock", "Check in", "Login", "Done"),
    ),
    "heldout": ("Enter", "Go on"),
}
ALIGN = ("left", "center", "right")


class LoginForm(GuiWorld):
    task_id = "gui/login-form-v0"
    summary = "Type a user name and a password and submit the form."
    horizon = 12
    floors: ClassVar[dict[str, tuple[float, float]]] = {"noop": (0.0, 0.0), "random": (0.0, 0.03)}
    goal_names = ("user", "password", "submitted")

    def build(self, draw: Draw) -> Brief:
        m, split = self.m, self.split
        self.user = content.label(draw.content, split, 6).lower()
        self.password = content.secret(draw.content)
        title = content.label(draw.content, split)
        beside = bool(draw.layout.random() < 0.4)
        line = m.font.size + m.px(2)
        gap = m.px(int(draw.layout.integers(3, 5)))
        step = m.control + gap if beside else line + m.control + gap
        high = 2 * step + m.control + gap + 2 * m.px(4) + line
        window = self.window(draw, title, m.px(124), high, default="login")
        self.form = window
        room = Rect(0, 0, *window.room).inset(m.px(4))
        names = (content.pick(draw.content, USER[split]), "Password")
        left = max(m.font.width(name) for name in names) + m.px(3) if beside else 0
        fields = []
        for i, (key, caption) in enumerate(zip(("user", "password"), names, strict=True)):
            y = room.y0 + i * step
            place = box(room.x0, y, left or room.width, m.control if beside else line)
            window.add(Label(f"{key}_label", place, m.font, caption))
            spot = box(room.x0 + left, y if beside else y + line, room.width - left, m.control)
            fields.append(window.add(Field(key, spot, m.font, caption, secret=key == "password", limit=12)))
        self.fields = fields
        below = Rect(room.x0, room.y0 + 2 * step, room.x1, room.y0 + 2 * step + m.control)
        text = content.pick(draw.content, SUBMIT[split])
        clear = bool(draw.layout.random() < 0.5)
        captions = [text, "Clear"] if clear else [text]
        if draw.layout.random() < 0.3:
            captions.reverse()
        spots = across(below, [m.button(c, 4) for c in captions], m.control, gap, content.pick(draw.layout, ALIGN))
        for spot, caption in zip(spots, captions, strict=True):
            name = "clear" if caption == "Clear" else "login"
            window.add(Button(name, spot, m.font, caption, primary=name == "login"))
        status = box(room.x0, below.y1 + m.px(1), room.width, line)
        self.status = window.add(Label("status", status, m.font, ""))
        self.latency = float(draw.task.choice([0.0, 0.0, 0.4, 0.8, 1.5]))
        """Seconds until the server answers."""
        self.data["answer"] = ""
        return Brief(
            draw.phrase(PHRASES).format(self.user, self.password),
            (
                Goal("user", lambda: fields[0].value == self.user),
                Goal("password", lambda: fields[1].value == self.password),
                Goal("submitted", lambda: self.data["answer"] == "welcome", after=("user", "password")),
            ),
        )

    def right(self) -> bool:
        return [f.value for f in self.fields] == [self.user, self.password]

    def on_event(self, event: Event) -> None:
        if event.source == "clear" and event.kind == "click":
            for field in self.fields:
                field.clear()
        elif event.source == "login" and event.kind == "click":
            for widget in self.form.children:
                widget.enabled = not widget.focusable
            self.status.text = "Please wait"
            self.desk.later(self.latency, "server")
        elif event.kind == "timer":
            self.data["answer"] = "welcome" if self.right() else "refused"
            self.status.text = "Welcome" if self.right() else "Wrong login"

    def solved(self) -> bool:
        return self.data["answer"] == "welcome" and self.right()

    def failed(self) -> bool:
        return bool(self.data["answer"] == "refused")

    def plan(self) -> Advice:
        if self.desk.timers:
            return self.wait("The server is busy.")
        for field, text in zip(self.fields, (self.user, self.password), strict=True):
            move = self.fill(field, text)
            if move is not None:
                return move
        return self.click(self.desk.widget("login"), "The form is complete.")
