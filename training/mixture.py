"""An endless, seeded mixture of pictures with questions, drawn from both worlds' galleries and experts.

Gallery picture number ``i`` of a seed is always the same, whoever asks and in whatever order, so that pretraining can
be resumed and split over processes without a saved position. Experts' moments come in the order of their episodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import gui_env
import sims
from episode import (
    Advice,
    Body,
    Frame,
    HandeyeError,
    Observation,
    SceneObject,
    Screen,
    Split,
    nearest,
    screen_action,
    stream,
)
from gui_env import content
from gui_env.gallery import random_screen
from perception.questions import Question, screen_questions, table_questions
from policy.codecs.base import written
from policy.codecs.compact import LOCATIONS, Compact, locate
from policy.context import frame_keys, turn_text
from sims.arm import WORKSPACE
from sims.gallery import Gallery
from training.blind import Blind
from training.inspection import Inspection

FEWEST = 3
"""Questions about what can be seen on a screen, however many others there are."""


class MixtureError(HandeyeError):
    """A recipe that names a task that there is not."""


@dataclass(frozen=True, slots=True)
class View:
    """One frame with the objects that its camera sees."""

    frame: Frame
    objects: tuple[SceneObject, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One picture (of one or more cameras) and what is asked about it."""

    views: tuple[View, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Shares and sizes of the mixture."""

    screen: int = 128
    """Pixels of a screen's side."""
    camera: int = 96
    questions: int = 10
    """Asked of one picture; one or two more where there would be fewer than ``FEWEST`` about what is seen."""
    copies: int = 1
    """Of the questions of a screen, how many are about typing what is quoted, without a look at the picture."""
    turns: int = 1
    """Of the questions of a screen, how many are about what follows from a look into a list, without a look at it."""
    demos: float = 0.5
    """Share of pictures that come from experts at work in a task; the others come from the galleries."""
    practice: dict[str, float] = field(
        default_factory=lambda: (
            dict.fromkeys((*gui_env.TASKS, *sims.TASKS), 1.0)
            | {
                "gui/click-icon-v0": 3.0,
                "gui/set-checkboxes-v0": 4.0,
                "gui/type-text-v0": 2.0,
                "gui/scroll-select-v0": 3.0,
                "sims/push-to-zone-v0": 2.5,
                "sims/reach-v0": 0.5,
                "sims/touch-color-v0": 0.5,
                "sims/put-in-bowl-v0": 2.0,
            }
        )
    )
    """How often experts work at a task, relative to the others; 1 where it is not named.

    What is hard to see, or hard to do, is shown often.
    """
    mistakes: float = 0.15
    """Share of an expert's decisions that are executed wrongly, so that recovery is seen; the label stays right. Few:
    recovery, too, is for reinforcement learning to teach."""
    haste: float = 0.2
    """Share of the decisions for which the demonstrator is in haste: it skips one, and does what the expert would do
    after it (presses before it has filled in, lets go before it is there). That is what is shown and learned. So the
    base knows every move, but not that thoroughness pays: reward has to teach it that. 0 is experts alone."""
    haste_in: dict[str, float] = field(
        default_factory=lambda: {
            "gui/set-checkboxes-v0": 0.0,
            "gui/scroll-select-v0": 0.0,
            "sims/push-to-zone-v0": 0.0,
            "sims/push-to-object-v0": 0.0,
            "sims/stack-two-v0": 0.0,
            "sims/lift-v0": 0.4,
            "sims/put-in-bowl-v0": 0.4,
            "sims/press-button-v0": 0.4,
        }
    )
    """The same for tasks that are shown otherwise. None where they are so long, or their thoughts bear so much, that a
    policy in haste hardly ever succeeds and reward has nothing to go by; more where an expert mends its own haste."""


def point(u: float, v: float) -> str:
    """A place on a screen in the compact codec's grid."""
    return "".join(f"<loc_{min(LOCATIONS - 1, max(0, int(share * LOCATIONS)))}>" for share in (u, v))


class Mixture:
    """Draws items; keeps the worlds and renderers that it needs."""

    def __init__(self, recipe: Recipe, seed: int, split: Split = "train") -> None:
        known = {**gui_env.TASKS, **sims.TASKS}
        for named in (*recipe.practice, *recipe.haste_in):
            if named not in known:
                raise MixtureError(
                    f"the recipe's practice or haste_in names no task {named!r}: {nearest(named, known)}"
                )
        self.recipe, self.seed, self.split = recipe, seed, split
        self.codec = Compact()
        self.blind = Blind(self.codec, split)
        self.inspection = Inspection(self.codec, Screen(recipe.screen, recipe.screen), split)
        self._gallery = Gallery(recipe.camera, split)
        self._demos = {
            "gui": DemoStream(gui_env.TASKS, {"size": (recipe.screen, recipe.screen)}, recipe, seed, split),
            "sims": DemoStream(sims.TASKS, {"image_size": (recipe.camera, recipe.camera)}, recipe, seed, split),
        }

    def close(self) -> None:
        """Frees renderers and worlds."""
        self._gallery.close()
        for demos in self._demos.values():
            demos.close()

    def screen(self, index: int, count: tuple[int, int]) -> Item:
        """A random screen with ``count`` = (fewest, most) widgets."""
        rng = stream(self.seed, self.split, "screen", index)
        view = self._view(rng, count)
        size = (view.frame.shape[1], view.frame.shape[0])
        return Item((view,), tuple(self._about_screen(view.objects, size, rng)))

    def sight(self, index: int, count: tuple[int, int]) -> View:
        """What :meth:`screen` shows, and nothing asked about it."""
        return self._view(stream(self.seed, self.split, "screen", index), count)

    def _view(self, rng: np.random.Generator, count: tuple[int, int]) -> View:
        size = (self.recipe.screen, self.recipe.screen)
        frame, objects = random_screen(int(rng.integers(2**40)), size, self.split, count)
        return View(frame, tuple(objects))

    def table(self, index: int) -> Item:
        """A random still scene of the manipulation world, seen by the cameras of the tasks."""
        rng = stream(self.seed, self.split, "table", index)
        frames, objects, _, body = self._gallery.sample(int(rng.integers(2**40)))
        questions = self._about_table(frames, objects, body, rng, 2 * self.recipe.questions // 3)
        questions += self.blind.sums(rng, body, self.recipe.questions - len(questions))
        return Item(_views({c: frames[c] for c in body.cameras}, objects), tuple(questions))

    def pictureless(self, index: int) -> Item:
        """No picture, and questions that need none: half about a scroll's direction and quotes, half about the arm."""
        rng, half = stream(self.seed, self.split, "blind", index), self.recipe.questions // 2
        screens = [self.inspection.imagined_list(rng) for _ in range(half - 1)] + [self.blind.copy(rng)]
        return Item((), (*screens, *self.blind.sums(rng, WORKSPACE, self.recipe.questions - half)))

    def demo(self, world: str, index: int) -> Item:
        """A moment of an expert's episode: what it would do, and questions about the same picture."""
        rng = stream(self.seed, self.split, "demo", world, index)
        moment = self._demos[world].next(index)
        observation, embodiment, objects = moment.observation, moment.embodiment, moment.objects
        reply = written(self.codec, moment.advice, embodiment, "place")
        state = self.codec.observe(observation.get("proprio"), embodiment)
        did = [] if moment.did is None else [self.codec.format(moment.did, embodiment, False)]
        act = Question("act", turn_text(observation["instruction"], state, did, moment.unchanged), reply)
        name, held = moment.subgoal
        done = Question("done", f"{observation['instruction']} Done: {name}?", "yes" if held else "no")
        if isinstance(embodiment, Screen):
            size = (embodiment.width, embodiment.height)
            asked = self._about_screen(objects, size, rng, already=2)
        else:
            body, count = embodiment, self.recipe.questions - 2
            asked = self._about_table(observation["frames"], objects, body, rng, 2 * count // 3)
            asked += self.blind.sums(rng, body, count - len(asked))
        return Item(_views(observation["frames"], objects), (act, done, *asked))

    def _about_screen(
        self, objects: Sequence[SceneObject], size: tuple[int, int], rng: np.random.Generator, already: int = 0
    ) -> list[Question]:
        """What is left of the recipe's questions after ``already``: all rows of a batch are as long as the longest."""
        looks = self.inspection.questions(objects, rng)
        blind = self._blind(rng, objects)
        count = self.recipe.questions - already - len(looks) - len(blind)
        return screen_questions(objects, size, point, rng, max(count, FEWEST)) + blind + looks

    def _about_table(
        self,
        frames: dict[str, Frame],
        objects: Sequence[SceneObject],
        body: Body,
        rng: np.random.Generator,
        count: int,
    ) -> list[Question]:
        sizes = {name: (frame.shape[1], frame.shape[0]) for name, frame in frames.items()}
        return table_questions(objects, lambda p: locate(tuple(p), body), point, sizes, rng, count)

    def _blind(self, rng: np.random.Generator, objects: Sequence[SceneObject]) -> list[Question]:
        """Questions that need no place on the screen: whether a text is there at all, lists, quoted texts to type."""
        shown = [o.text.text for o in objects if o.text is not None]
        words = tuple(text for text in shown if content.is_word(text))
        if words and rng.random() < 0.5:
            word = content.pick(rng, words)
        else:
            like = words and rng.random() < 0.6
            word = content.look_alike(rng, self.split, words) if like else content.label(rng, self.split)
        # In words of its own: asked as "where", it taught to answer a look-alike that is there as if it were not.
        there = word.lower() in {text.lower() for text in shown}
        absent = [Question("absent", f'Is "{word}" here?', "yes" if there else "no")]
        turns = [self.inspection.imagined_list(rng) for _ in range(self.recipe.turns)]
        return absent + turns + [self.blind.copy(rng) for _ in range(self.recipe.copies)]


@dataclass(frozen=True, slots=True)
class Moment:
    """One turn of an expert's episode."""

    observation: Observation
    embodiment: Any
    objects: list[SceneObject]
    advice: Advice
    did: Advice | None
    """What was executed in the turn before."""
    unchanged: bool
    """Whether it left every frame as it was."""
    subgoal: tuple[str, bool]
    """One of the task's sub-goals in words, and whether it is held."""


class DemoStream:
    """Experts at work, one task after another: the same calls in the same order give the same moments."""

    def __init__(self, tasks: dict[str, Any], options: dict[str, Any], recipe: Recipe, seed: int, split: Split) -> None:
        self._worlds = [task(split=split, **options) for _, task in sorted(tasks.items())]
        # The long tasks need more moments: each takes its turn as often as its horizon has fives of decisions.
        turns = [math.ceil(_decisions(w) / 5 * recipe.practice.get(w.task_id, 1.0)) for w in self._worlds]
        self._turns = [i for i, count in enumerate(turns) for _ in range(count)]
        self._recipe, self._seed, self._split = recipe, seed, split
        self._running: list[Iterator[Moment] | None] = [None] * len(self._worlds)

    def next(self, index: int) -> Moment:
        which = self._turns[index % len(self._turns)]
        while True:
            if self._running[which] is None:
                self._running[which] = self._episode(self._worlds[which], index)
            moment = next(self._running[which] or iter(()), None)
            if moment is not None:
                return moment
            self._running[which] = None

    def close(self) -> None:
        for world in self._worlds:
            world.close()

    def _episode(self, world: Any, index: int) -> Iterator[Moment]:
        rng = stream(self._seed, self._split, "episode", world.task_id, index)
        haste = self._recipe.haste_in.get(world.task_id, self._recipe.haste)
        observation, info = world.reset(seed=int(rng.integers(1_000_000)))
        over, did, before = False, None, dict[str, str]()
        while not over:
            advice = world.expert()
            if rng.random() < haste:
                advice = ahead(world, advice)
            name = content.pick(rng, tuple(info["subgoals"]))
            subgoal = name.replace("_", " "), bool(info["subgoals"][name])
            shown = frame_keys(observation)
            yield Moment(observation, world.embodiment, world.scene(), advice, did, shown == before, subgoal)
            before = shown
            actions: Sequence[Any] = advice.actions
            if rng.random() < self._recipe.mistakes:
                actions = _mistake(advice, did, world, rng)
            executed = []
            for action in actions:
                _, terminated, truncated, info = world.advance(action)
                executed.append(action)
                over = terminated or truncated
                if over:
                    break
            did = Advice(tuple(executed))
            observation = world.observe()


def _decisions(world: Any) -> int:
    """Most decisions of an episode."""
    chunk: int = 1 if isinstance(world.embodiment, Screen) else world.embodiment.chunk
    return -(-int(world.horizon) // chunk)


def ahead(world: Any, advice: Advice) -> Advice:
    """What the expert would do after ``advice``; that itself, if it ends the episode. The world stays where it is.

    On a screen without a thought: haste is in what is done, and what would be looked at then is not on the picture now.
    """
    here = world.snapshot()
    over = any(any(world.advance(action)[1:3]) for action in advice.actions)
    after = advice if over else world.expert()
    world.restore(here)
    if isinstance(world.embodiment, Screen) and not over:
        after = replace(after, points=(), checked=(), reads="")
    return after


def _mistake(advice: Advice, did: Advice | None, world: Any, rng: np.random.Generator) -> Sequence[Any]:
    """The expert's decision gone a little wrong: a slipped motion; on a screen the last one once more, or anywhere."""
    embodiment = world.embodiment
    if isinstance(embodiment, Screen):
        if did is not None and rng.random() < 0.4:
            return did.actions
        x, y = (int(v) for v in rng.integers(0, (embodiment.width, embodiment.height)))
        if rng.random() < 0.6:
            return (screen_action("click", x, y),)
        at = advice.actions[0]["position"] if rng.random() < 0.7 else (x, y)
        return (screen_action("scroll", int(at[0]), int(at[1]), scroll=int(rng.choice([-3, -2, 2, 3]))),)
    slip = rng.normal(0, 0.03, 3) / embodiment.chunk
    limit = embodiment.max_step
    return [np.array([*np.clip(a[:3] + slip, -limit, limit), a[3]], np.float32) for a in advice.actions]


def _views(frames: dict[str, Frame], objects: Sequence[SceneObject]) -> tuple[View, ...]:
    return tuple(View(frame, tuple(o for o in objects if o.camera == name)) for name, frame in frames.items())


def corpus(seed: int = 0, resets: int = 150) -> list[str]:
    """Texts from which the tiny tokenizer takes its words: instructions, questions and replies of the train split."""
    texts = [
        "click double right drag scroll type key wait done noop at open close think hand half shut holding",
        "last invalid unchanged yes no Done Left or Where in top front wrist is Is checked open box tick the field",
        "How far list end",
    ]
    recipe = Recipe()
    mixture = Mixture(recipe, seed)
    for index in range(resets):
        items = [mixture.screen(index, (2, 8)), mixture.table(index)]
        texts += [q for item in items for asked in item.questions for q in (asked.question, asked.answer)]
    for tasks in (gui_env.TASKS, sims.TASKS):
        for _, task in sorted(tasks.items()):
            make: Any = task
            world = make(split="train")
            for index in range(resets):
                _, info = world.reset(seed=index)
                texts.append(info["task"].instruction)
            texts += [goal.name.replace("_", " ") for goal in info["task"].subgoals]
            world.close()
    mixture.close()
    return texts


__all__ = ["Item", "Mixture", "MixtureError", "Recipe", "View", "corpus", "point"]
