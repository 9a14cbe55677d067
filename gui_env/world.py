"""The base of every GUI task: seeds, clock, rewards, endings, snapshots, experts' hands.

A task is one short file: a subclass that builds its widgets and says what they mean::

    class ClickButton(GuiWorld):
        def build(self, draw): ...     # widgets, from the seed's streams; returns instruction and sub-goals
        def on_event(self, event): ... # what the application does when a widget or a timer speaks
        def solved(self): ...          # the final check, on a settled state
        def failed(self): ...          # what cannot be mended any more
        def plan(self): ...            # the expert's next move

``build`` makes every widget of the episode, popups included, and is a function of the seed alone; what changes later is
in the widgets' stored attributes and in ``self.data`` (JSON values). That is all that a snapshot has to hold.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from episode import (
    MAX_TEXT,
    SCREEN_KINDS,
    Action,
    Advice,
    Frame,
    Observation,
    Outcome,
    SceneObject,
    Screen,
    ScreenKind,
    Split,
    State,
    SubGoal,
    Task,
    WorldError,
    environment_terms,
    progress,
    screen_action,
    stream,
)
from gui_env.hands import Hands, say
from gui_env.metrics import LARGEST, SMALLEST, Metrics, metrics
from gui_env.shell import ROOMY, taskbar
from gui_env.spaces import NOTCHES, action_space, observation_space
from gui_env.toolkit.containers import Window
from gui_env.toolkit.controls import Field
from gui_env.toolkit.desktop import Desktop, Event
from gui_env.toolkit.geometry import Rect, box
from gui_env.toolkit.painter import Painter
from gui_env.toolkit.themes import draw_theme

VERSION = 3


class Goal(NamedTuple):
    """A sub-goal and the predicate that says whether it is held now."""

    name: str
    held: Callable[[], bool]
    weight: float = 1.0
    after: tuple[str, ...] = ()


class Brief(NamedTuple):
    """What ``build`` returns."""

    instruction: str
    goals: tuple[Goal, ...]


@dataclass(frozen=True, slots=True)
class Draw:
    """The generators from which an episode is built, one a use, so that the look varies while the task stays."""

    task: np.random.Generator
    content: np.random.Generator
    layout: np.random.Generator
    appearance: np.random.Generator
    split: Split

    def phrase(self, phrases: Mapping[Split, tuple[str, ...]]) -> str:
        """One of the split's paraphrases."""
        pool = phrases[self.split]
        return pool[int(self.task.integers(len(pool)))]


class GuiWorld(Hands, gym.Env[Observation, Action]):
    """A desktop with one task on it. Native actions are pixels, keys and text: :func:`episode.screen_action`."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 4}  # type: ignore[misc]
    task_id: ClassVar[str]
    summary: ClassVar[str]
    horizon: ClassVar[int]
    floors: ClassVar[dict[str, tuple[float, float]]]
    expert_bar: ClassVar[float] = 0.98
    goal_names: ClassVar[tuple[str, ...]]
    """Of the sub-goals, the same in every episode."""

    def __init__(
        self, split: Split = "train", render_mode: str = "rgb_array", size: tuple[int, int] = (128, 128)
    ) -> None:
        if split not in ("train", "heldout"):
            raise WorldError(f"unknown split {split!r}: use 'train' or 'heldout'")
        if not all(low <= side <= high for low, side, high in zip(SMALLEST, size, LARGEST, strict=True)):
            raise WorldError(f"size {size} is out of range: give (width, height) from {SMALLEST} to {LARGEST}")
        self.split: Split = split
        self.render_mode = render_mode
        self.width, self.height = size
        self.embodiment = Screen(self.width, self.height)
        self.action_space = action_space(self.width, self.height)
        self.observation_space = observation_space(self.width, self.height)
        self._seed: int | None = None
        self.over = True
        self.progress = 0.0
        """Φ now."""

    # --- what a task says

    @abstractmethod
    def build(self, draw: Draw) -> Brief:
        """Make the widgets on ``self.desk``; everything random comes from ``draw``."""

    def on_event(self, event: Event) -> None:
        """The application's answer to a widget or a timer."""

    @abstractmethod
    def solved(self) -> bool:
        """The final check. Asked only when nothing is pending; never the sub-goals alone."""

    def failed(self) -> bool:
        """The task can no longer be done."""
        return False

    @abstractmethod
    def plan(self) -> Advice:
        """The expert's next move, from any state of a running episode."""

    # --- gymnasium

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """A new episode, wholly given by ``seed``; ``options`` are not used."""
        super().reset(seed=seed)
        self._start(int(self.np_random.integers(1_000_000)) if seed is None else seed)
        info = {"task": self.task, "subgoals": self.subgoals(), "progress": self.progress}
        return self.observe(), info

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        reward, terminated, truncated, info = self.advance(action)
        return self.observe(), reward, terminated, truncated, info

    def advance(self, action: Action) -> tuple[float, bool, bool, dict[str, Any]]:
        """One action and the time that it takes, without drawing."""
        if self.over:
            raise WorldError("the episode has ended, or has not begun: call reset() first")
        kind = self._perform(action)
        self.steps += 1
        outcome = self._outcome(kind)
        self.over = outcome is not None
        held, before = self.subgoals(), self.progress
        self.progress = progress(self.task.subgoals, held)
        terms = environment_terms(before, self.progress, outcome is Outcome.SUCCESS)
        info = {
            "terms": terms,
            "subgoals": held,
            "progress": self.progress,
            "outcome": outcome,
            "success": outcome is Outcome.SUCCESS,
        }
        truncated = outcome is Outcome.TRUNCATED
        return sum(terms.values()), self.over and not truncated, truncated, info

    def observe(self) -> Observation:
        return {
            "frames": {"screen": self.painter.frame()},
            "instruction": self.task.instruction,
            "time": np.array([self.desk.clock], np.float32),
        }

    def render(self) -> Frame:
        return self.painter.frame()

    def subgoals(self) -> dict[str, bool]:
        """Which sub-goals are held now."""
        return {goal.name: bool(goal.held()) for goal in self.goals}

    # --- the run of an episode

    def _start(self, seed: int) -> None:
        self._seed = seed
        task, content, layout, look = (stream(seed, use) for use in ("task", "content", "layout", "appearance"))
        draw = Draw(task, content, layout, look, self.split)
        self.rng = stream(seed, "physics")
        """For chance while the episode runs; its state is in the snapshot."""
        self.m: Metrics = metrics(self.width, self.height, draw.appearance)
        self.desk = Desktop(self.width, self.height, draw_theme(draw.appearance, self.split))
        self.painter = Painter(self.desk, self.m.pointer)
        self.data: dict[str, Any] = {}
        """What the application remembers beside its widgets: JSON values."""
        self.floor = taskbar(self.desk, self.m, draw.layout) if min(self.width, self.height) >= ROOMY else self.height
        """Windows open above this row."""
        brief = self.build(draw)
        self.goals = brief.goals
        subgoals = tuple(SubGoal(g.name, g.weight, g.after) for g in brief.goals)
        self.task = Task(self.task_id, brief.instruction, subgoals, seed, self.split)
        self._park(draw.layout)
        self.steps = 0
        self.over = False
        self.progress = progress(self.task.subgoals, self.subgoals())

    def _park(self, rng: np.random.Generator) -> None:
        """The pointer starts where it hides nothing that answers."""
        taken = [s.rect for w in self.desk.order for s in self.desk.placed(self.desk.windows[w])[1:]]
        for _ in range(20):
            x, y = int(rng.integers(self.width)), int(rng.integers(self.height))
            near = Rect(x - 1, y - 1, x + self.m.pointer, y + self.m.pointer)
            if not any(rect.meets(near) for rect in taken):
                self.desk.pointer = (x, y)
                return
        self.desk.pointer = (self.width - 4, self.height - 4)

    def _perform(self, action: Action) -> ScreenKind:
        index = int(action["kind"])
        if not 0 <= index < len(SCREEN_KINDS):
            raise WorldError(f"kind {index} is no screen action: make actions with episode.screen_action")
        kind = SCREEN_KINDS[index]
        notches = min(max(int(action["scroll"][0]), -NOTCHES), NOTCHES)
        until = self.desk.clock + self.desk.act({**action, "scroll": (notches,), "text": action["text"][:MAX_TEXT]})
        self._run(until)
        if kind == "done" and self.desk.timers:
            self._run(max(t[0] for t in self.desk.timers))
        return kind

    def _run(self, until: float) -> None:
        """Let the application answer, and the clock go on to ``until``."""
        while True:
            while self.desk.events or self.desk.click_again():
                if self.desk.events:  # a click may fall on nothing
                    self.on_event(self.desk.events.pop(0))
            timer = self.desk.due(until)
            if timer is None:
                return
            self.on_event(timer)

    def _outcome(self, kind: ScreenKind) -> Outcome | None:
        if not self.desk.timers:
            if self.solved():
                return Outcome.SUCCESS
            if self.failed():
                return Outcome.FAILURE
        if kind == "done":
            return Outcome.FAILURE
        return Outcome.TRUNCATED if self.steps >= self.horizon else None

    # --- capabilities

    def snapshot(self) -> State:
        if self._seed is None:
            raise WorldError("there is nothing to save yet: call reset() first")
        return {
            "version": VERSION,
            "task_id": self.task_id,
            "split": self.split,
            "size": [self.width, self.height],
            "seed": self._seed,
            "desk": self.desk.save(),
            "data": json.loads(json.dumps(self.data)),
            "steps": self.steps,
            "over": self.over,
            "rng": json.dumps(self.rng.bit_generator.state),
            "np_random": json.dumps(self.np_random.bit_generator.state),
        }

    def restore(self, state: State) -> Observation:
        mine = {"version": VERSION, "task_id": self.task_id, "split": self.split, "size": [self.width, self.height]}
        for name, value in mine.items():
            if state[name] != value:
                raise WorldError(f"the snapshot's {name} is {state[name]!r}, this world's {value!r}: make it alike")
        if state["seed"] != self._seed:
            self._start(int(state["seed"]))
        self.desk.load(state["desk"])
        self.data = json.loads(json.dumps(state["data"]))
        self.steps, self.over = int(state["steps"]), bool(state["over"])
        self.rng.bit_generator.state = json.loads(state["rng"])
        self.np_random.bit_generator.state = json.loads(state["np_random"])
        self.progress = progress(self.task.subgoals, self.subgoals())
        return self.observe()

    def state_key(self) -> str:
        """A digest of form values, selection, scrolling, focus, windows and timers; not of clock or pointer."""
        parts = f"{self.task_id}/{self._seed}/{json.dumps(self.data)}/{self.desk.form_key()}"
        return hashlib.blake2b(parts.encode(), digest_size=12).hexdigest()

    @classmethod
    def privileged_layout(cls) -> tuple[str, ...]:
        names = ("progress", "steps_left", "pointer_x", "pointer_y", "modal", "pending", "focused", "typed")
        goals = tuple(f"goal/{name}" for name in cls.goal_names)
        return names + goals + tuple(f"next/{kind}" for kind in SCREEN_KINDS) + ("next_x", "next_y", "next_scroll")

    def privileged(self) -> NDArray[np.float32]:
        """Where the episode stands and what the expert would do next; everything about in [-1, 1]."""
        desk, top = self.desk, self.desk.top
        advice = self.expert().actions[0]
        typed = sum(len(w.value) for w in desk.all() if isinstance(w, Field))
        values = [
            self.progress,
            1 - self.steps / self.horizon,
            desk.pointer[0] / self.width,
            desk.pointer[1] / self.height,
            top is not None and top.modal,
            bool(desk.timers),
            bool(desk.focus),
            typed / 16,
            *self.subgoals().values(),
            *(i == advice["kind"] for i in range(len(SCREEN_KINDS))),
            advice["position"][0] / self.width,
            advice["position"][1] / self.height,
            advice["scroll"][0] / NOTCHES,
        ]
        return np.array(values, np.float32)

    def scene(self) -> list[SceneObject]:
        return self.desk.scene()

    def expert(self) -> Advice:
        if self.over:
            return say(screen_action("noop"), "The task has ended.")
        return self.plan()

    # --- for builders

    def window(self, draw: Draw, title: str, width: int, height: int, **options: Any) -> Window:
        """A window with room for ``width`` × ``height`` pixels, somewhere on the screen; cut where it cannot fit."""
        bar = self.m.row
        width, height = min(width + 2, self.width), min(height + 2 + bar, self.floor)
        x = int(draw.layout.integers(self.width - width + 1))
        y = int(draw.layout.integers(self.floor - height + 1))
        font = self.m.bold if draw.appearance.random() < 0.3 else self.m.font
        name = str(options.pop("name", "window"))
        opened = bool(options.pop("opened", True))
        align = self.desk.theme.align
        made = Window(name, box(x, y, width, height), font, title, bar=bar, align=align, **options)
        return self.desk.add(made, opened)
