"""Questions about a picture, with their answers, drawn from the scene graph.

How a place is written belongs to the codec; it comes in as functions, so that the same questions serve every grid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from episode import SceneObject
from perception.dense import shape_of


@dataclass(frozen=True, slots=True)
class Question:
    """Text in, text out."""

    skill: str
    """``point``, ``read``, ``color``, ``order``, ``locate``, ``spot``, ``name``, ...: scores are reported by it."""
    question: str
    answer: str


NAMED = ("field", "dropdown")
"""Kinds of widgets that have no text of their own to name them, but a caption beside or above them."""
Point = Callable[[float, float], str]
"""A place in the frame, given as shares of width and height in [0, 1), as text."""
Place = Callable[[Sequence[float]], str]
"""A place in the world (metres) as text."""


def screen_questions(
    objects: Sequence[SceneObject], size: tuple[int, int], point: Point, rng: np.random.Generator, count: int
) -> list[Question]:
    """Up to ``count`` questions about a screen of ``size`` (width, height): mostly where a text is and what it says."""
    texts = Counter(o.text.text for o in objects if o.text is not None)
    colors = Counter((o.color, o.kind) for o in objects if o.color)
    readable = [o for o in objects if o.text is not None and o.text.text.strip() and texts[o.text.text] == 1]
    colored = [o for o in objects if o.color and colors[o.color, o.kind] == 1]
    ticked = [o for o in readable if "checked" in o.state]
    captioned = [o for o in objects if o.kind in NAMED and texts[o.label] == 1]
    shapes = Counter((o.color, o.label) for o in objects)
    drawn = [o for o in objects if shape_of(o) and shapes[o.color, o.label] == 1]
    lists = [o for o in objects if o.kind == "list" and o.state.get("range", 0) > 0]

    def centre(o: SceneObject, jitter: float = 0.0) -> str:
        x0, y0, x1, y1 = o.box
        u, v = 0.5 + jitter * (rng.random(2) - 0.5)
        return point((x0 + u * (x1 - x0)) / size[0], (y0 + v * (y1 - y0)) / size[1])

    questions: list[Question] = []
    for _ in range(count):
        draw = rng.random()
        if len(readable) > 1 and rng.random() < 0.06:
            a, b = (readable[i] for i in rng.permutation(len(readable))[:2])
            if (answer := _leftmost(a, b)) is not None:
                questions.append(Question("order", f'Left: "{_text(a)}" or "{_text(b)}"?', f'"{_text(answer)}"'))
        elif ticked and rng.random() < 0.4:
            questions.append(_about_tick(ticked, rng, centre))
        elif lists and rng.random() < 0.12:
            o = lists[rng.integers(len(lists))]
            questions.append(Question("scrolled", f"How far is the list at {centre(o, 0.5)}", _scrolled(o)))
        elif captioned and rng.random() < 0.5:
            o = captioned[rng.integers(len(captioned))]
            if rng.random() < 0.7:
                questions.append(Question("field", f'Where is the field "{o.label}"?', centre(o)))
            else:
                questions.append(Question("value", f'Read the field "{o.label}"', f'"{_value(o)}"'))
        elif drawn and rng.random() < len(drawn) / (len(drawn) + len(readable)):
            o = drawn[rng.integers(len(drawn))]
            if draw < 0.7:
                questions.append(Question("point", f"Where is the {o.color} {o.label}?", centre(o)))
            else:
                questions.append(Question("name", f"What is at {centre(o, 0.5)}", o.label))
        elif readable and (draw < 0.8 or not colored):
            o = readable[rng.integers(len(readable))]
            if draw < 0.45:
                questions.append(Question("point", f'Where is "{_text(o)}"?', centre(o)))
            else:
                questions.append(Question("read", f"Read {centre(o, 0.5)}", f'"{_text(o)}"'))
        elif colored:
            o = colored[rng.integers(len(colored))]
            if draw < 0.9:
                questions.append(Question("point", f"Where is the {o.color} {o.kind}?", centre(o)))
            else:
                questions.append(Question("color", f"What color is {centre(o, 0.5)}", o.color))
    return list(dict.fromkeys(questions))


def _text(o: SceneObject) -> str:
    return "" if o.text is None else o.text.text


def _about_tick(ticked: Sequence[SceneObject], rng: np.random.Generator, centre: Callable[..., str]) -> Question:
    """Whether a box is ticked, or where the topmost ticked (or unticked) one is.

    Yes or no by name stayed at chance for thousands of steps although the tower saw every tick. Places, and a question
    in the words of another that was answered already (its colour), are what it learned from.
    """
    o, draw = ticked[int(rng.integers(len(ticked)))], rng.random()
    if draw < 0.25:
        return Question("checked", f'Is "{_text(o)}" checked?', "yes" if o.state["checked"] else "no")
    if draw < 0.5:
        return Question("tick", f"What tick is {centre(o, 0.5)}", "yes" if o.state["checked"] else "no")
    same = [t for t in ticked if t.state["checked"] == o.state["checked"]]
    top = min(same, key=lambda t: (t.box[1], t.box[0]))
    return Question("ticked", f"Where is the {'checked' if o.state['checked'] else 'open'} box?", centre(top))


def _scrolled(o: SceneObject) -> str:
    """Which way a list can still go on."""
    offset, most = o.state["offset"], o.state["range"]
    return "top" if offset == 0 else "end" if offset >= most else "half"


def _value(o: SceneObject) -> str:
    """What a field shows: a hint is nothing, and a secret is dots."""
    value = str(o.state.get("value", ""))
    return _text(o) if value else ""


def _leftmost(a: SceneObject, b: SceneObject) -> SceneObject | None:
    """Which of two begins further left, by more than a letter."""
    gap = a.box[0] - b.box[0]
    return None if abs(gap) < 8 else a if gap < 0 else b


def table_questions(
    objects: Sequence[SceneObject],
    place: Place,
    point: Point,
    sizes: Mapping[str, tuple[int, int]],
    rng: np.random.Generator,
    count: int,
) -> list[Question]:
    """Up to ``count`` questions about one manipulation scene, seen by several cameras of ``sizes`` (width, height)."""
    things = list({o.name: o for o in objects if o.position is not None and o.label}.values())
    labels = Counter(o.label for o in things)
    unique = [o for o in things if labels[o.label] == 1]
    twins = _twins(things)
    questions = []
    for _ in range(count):
        if twins and (not unique or rng.random() < 0.2):
            side, one = twins[rng.integers(len(twins))]
            assert one.position is not None
            questions.append(Question("side", f"Where is the {side} {one.kind}?", place(one.position)))
            continue
        if not unique:
            break
        o = unique[rng.integers(len(unique))]
        assert o.position is not None
        draw = rng.random()
        if draw < 0.55:
            questions.append(Question("locate", f"Where is the {o.label}?", place(o.position)))
        elif draw < 0.8:
            seen = [v for v in objects if v.name == o.name]
            v = seen[rng.integers(len(seen))]
            x, y = (v.box[0] + v.box[2]) / 2 / sizes[v.camera][0], (v.box[1] + v.box[3]) / 2 / sizes[v.camera][1]
            questions.append(Question("spot", f"Where in {v.camera} is the {o.label}?", point(x, y)))
        else:
            questions.append(Question("name", f"What is at {place(o.position)}", o.label))
    return list(dict.fromkeys(questions))


SIDEWAYS = 0.06
"""Metres along x from which one of two things is the left one to the cameras: as the arm's tasks have it."""


def _twins(things: Sequence[SceneObject]) -> list[tuple[str, SceneObject]]:
    """Things that their side names: where there are two of a kind, well apart."""
    named = []
    for kind in dict.fromkeys(o.kind for o in things):
        pair = sorted((o.position[0], o.name, o) for o in things if o.kind == kind and o.position is not None)
        if len(pair) == 2 and pair[1][0] - pair[0][0] >= SIDEWAYS:
            named += [("left", pair[0][2]), ("right", pair[1][2])]
    return named
