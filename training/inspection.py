"""Questions whose answer looks at one thing after the other before it acts: forms of boxes, and lists to be scrolled.

A step that has to compare all boxes with an instruction at once, or a word with a whole list, did not learn to. What
it looks at is told instead, up to the first thing that decides, and the action follows from that alone. Asked about
gallery screens in the words of the tasks, each gives many more such decisions than the tasks' own episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from episode import Action, Advice, SceneObject, Screen, Split, screen_action
from gui_env import content
from gui_env.hands import PAGE
from gui_env.tasks import scroll_select, set_checkboxes
from perception.questions import Question
from policy.codecs.base import Codec, written
from policy.context import turn_text

ASKED = 2
"""Questions about one form of boxes: which boxes are named differs."""
IMAGINED = 2
"""Questions about what follows from a look at one form, all of whose named boxes are imagined to be checked."""
BLUR = 2
"""Pixels by which places that were looked at may be off, along each axis."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """Asks about screens of a size, as the tasks ask and as a policy with ``codec`` answers."""

    codec: Codec
    screen: Screen
    split: Split

    def questions(self, objects: Sequence[SceneObject], rng: np.random.Generator) -> list[Question]:
        """Empty where the screen shows neither boxes with a button nor a list that can be scrolled."""
        asked = self._boxes(objects, rng) + self._lists(objects, rng)
        return list(dict.fromkeys(asked))

    def _boxes(self, objects: Sequence[SceneObject], rng: np.random.Generator) -> list[Question]:
        boxes = [o for o in objects if o.kind == "checkbox" and o.text is not None]
        confirm = [o for o in objects if o.name in ("foot0", "confirm")]
        if len(boxes) < 2 or len({o.label for o in boxes}) < len(boxes) or not confirm or "blocked" in confirm[0].state:
            return []
        checked = [bool(o.state["checked"]) for o in boxes]
        asked = [self._click(boxes, confirm[0], checked, _named(checked, rng), rng) for _ in range(ASKED)]
        for _ in range(IMAGINED):
            named, on = _imagined(len(boxes), rng)
            click = self._click(boxes, confirm[0], on, named, rng, BLUR)
            asked.append(_rest("mend", click, click.answer.index("click") + len("click")))
        return asked

    def _click(
        self,
        boxes: Sequence[SceneObject],
        confirm: SceneObject,
        checked: Sequence[bool],
        named: Sequence[int],
        rng: np.random.Generator,
        blur: int = 0,
    ) -> Question:
        """What to click where just ``named`` boxes are to be checked, and ``checked`` ones are."""
        looks, ticked, wrong = set_checkboxes.look_through(checked, named)
        x, y = _middle(confirm if wrong is None else boxes[wrong])
        points, marks = (
            tuple(tuple((_middle(boxes[i]) + rng.integers(-blur, blur + 1, 2)).tolist()) for i in seen)
            for seen in (looks, ticked)
        )
        advice = Advice((screen_action("click", x, y),), points=points, checked=marks)
        phrase = content.pick(rng, set_checkboxes.PHRASES[self.split])
        instruction = phrase.format(set_checkboxes.listed([boxes[i].label for i in named]))
        return self._asked("boxes", instruction, advice)

    def _lists(self, objects: Sequence[SceneObject], rng: np.random.Generator) -> list[Question]:
        """About one list: a word that is in sight, and one that is not but is easily taken for one that is.

        For the one that is not also where to scroll alone: that answer is one token, lost among the others.
        """
        lists = [(o, _rows(o, objects)) for o in objects if o.kind == "list" and _can_scroll(o)]
        lists = [(holder, items) for holder, items in lists if len(items) > 1 and all(map(_readable, items))]
        if not lists:
            return []
        holder, items = lists[int(rng.integers(len(lists)))]
        asked = [self._sought(items[int(rng.integers(len(items)))].label, holder, items, rng)]
        if words := [o.label for o in items if content.is_word(o.label)]:
            absent = content.look_alike(rng, self.split, words)
            if absent.lower() not in {o.text.text.lower() for o in objects if o.text is not None}:
                whole, cut = (self._sought(absent, holder, items, rng) for _ in range(2))
                asked += [whole, _rest("turn", cut, cut.answer.rindex("<a"))]
        return asked

    def _sought(
        self, label: str, holder: SceneObject, items: Sequence[SceneObject], rng: np.random.Generator
    ) -> Question:
        """Away from an end that the last turn ran into or the episode began at; otherwise on, the way it came."""
        item = items[content.most_alike(label, [o.label for o in items])]
        offset, most = holder.state["offset"], holder.state["range"]
        ends = {-PAGE: offset == 0, PAGE: offset >= most}
        onward = int(rng.choice([n for n, end in ends.items() if not end]))
        at_end = any(ends.values())
        came = onward if not at_end else -onward if rng.random() < 0.5 else 0
        unchanged = at_end and came != 0
        return self._look(label, item.label, (_middle(item), _middle(holder)), (came, unchanged, onward), rng)

    def imagined_list(self, rng: np.random.Generator) -> Question:
        """What follows from a look into a list, given and not seen: a click, or a scroll on, or back where it stuck.

        Which way depends on two things together, of which neither alone tells anything: pictures, which ask it now and
        then, did not teach it in some 10,000 questions; as many without one do (docs/log.md).
        """
        label = content.label(rng, self.split)
        read = label if rng.random() < 0.3 else content.look_alike(rng, self.split, [label])
        x, y = (int(v) for v in rng.integers((16, 16), (self.screen.width - 16, self.screen.height - 16)))
        item = x - int(rng.integers(16)), y + int(rng.integers(-16, 16))
        came, unchanged = int(rng.choice([-PAGE, PAGE])), bool(rng.random() < 0.5)
        asked = self._look(label, read, (item, (x, y)), (came, unchanged, -came if unchanged else came), rng)
        return _rest("way", asked, asked.answer.rindex('"') + 1)

    def _look(
        self,
        label: str,
        read: str,
        places: tuple[tuple[int, int], tuple[int, int]],
        course: tuple[int, bool, int],
        rng: np.random.Generator,
    ) -> Question:
        """Where ``label`` is sought in a list whose most similar item says ``read``.

        ``places`` are the middles of that item and of the list; ``course`` is how far the last turn scrolled, 0 for not
        at all, whether that changed nothing, and how far this one does.
        """
        (item, middle), (came, unchanged, onward) = places, course
        did = [self.codec.format(Advice((_scroll(middle, came),)), self.screen, False)] if came else []
        action = screen_action("click", *item) if read == label else _scroll(middle, onward)
        phrase = content.pick(rng, scroll_select.PHRASES[self.split])
        advice = Advice((action,), points=(item,), reads=read)
        return self._asked("sought", phrase.format(label), advice, did, unchanged)

    def _asked(
        self, skill: str, instruction: str, advice: Advice, did: Sequence[str] = (), unchanged: bool = False
    ) -> Question:
        question = turn_text(instruction, "", did, unchanged)
        return Question(skill, question, written(self.codec, advice, self.screen, "place"))


def _named(checked: Sequence[bool], rng: np.random.Generator) -> list[int]:
    """Boxes to be named: often such that all of them are checked, and nothing else, or something else."""
    ticked = [i for i, on in enumerate(checked) if on]
    few, draw = min(set_checkboxes.NAMED, len(checked) - 1), rng.random()
    if draw < 0.3 and 0 < len(ticked) <= few:
        return ticked
    among = ticked if draw < 0.6 and len(ticked) > 1 else range(len(checked))
    count = int(rng.integers(1, min(few, len(among) - 1) + 1))
    return sorted(rng.permutation(np.array(among))[:count].tolist())


def _imagined(count: int, rng: np.random.Generator) -> tuple[list[int], list[bool]]:
    """Boxes to be named of ``count``, and which are checked: these, and half of the time one or two others."""
    order = rng.permutation(count).tolist()
    named = order[: int(rng.integers(1, min(set_checkboxes.NAMED, count - 1) + 1))]
    others = order[len(named) :][: int(rng.integers(1, 3))] if rng.random() < 0.5 else []
    return sorted(named), [i in (*named, *others) for i in range(count)]


def _rest(skill: str, asked: Question, cut: int) -> Question:
    """The same question with the first ``cut`` characters of its answer given."""
    return Question(skill, f"{asked.question}\0{asked.answer[:cut]}", asked.answer[cut:])


def _scroll(middle: tuple[int, int], notches: int) -> Action:
    return screen_action("scroll", *middle, scroll=notches)


def _can_scroll(holder: SceneObject) -> bool:
    state = holder.state
    return state.get("range", 0) > 0 and state.get("enabled", True) and "blocked" not in state


def _rows(holder: SceneObject, objects: Sequence[SceneObject]) -> list[SceneObject]:
    """The items of a list that are shown whole."""
    items = [o for o in objects if o.name.startswith(f"{holder.name}/") and o.text is not None]
    whole = max((o.box[3] - o.box[1] for o in items), default=0.0)
    return [o for o in items if o.box[3] - o.box[1] > whole - 1]


def _readable(item: SceneObject) -> bool:
    """Whether its text is shown whole: narrow lists cut it short."""
    return item.text is not None and item.text.text == item.label


def _middle(thing: SceneObject) -> tuple[int, int]:
    """Its x and y."""
    x0, y0, x1, y1 = thing.box
    return int((x0 + x1) / 2), int((y0 + y1) / 2)
