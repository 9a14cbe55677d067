"""Questions that look at one thing after the other before they act."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from episode import SceneObject, Screen
from gui_env import content
from policy.codecs.compact import Compact
from tests.gui import same_start
from training.mixture import Mixture, Recipe

LOCATION = re.compile(r"<loc_\d+>")


def test_forms_of_boxes_are_asked_about_as_the_task_asks() -> None:
    """Read again, the reply looks at boxes that are right, and clicks the last one, if it is wrong, or the button."""
    mixture, ends = Mixture(Recipe(), 0), []
    items = [mixture.screen(index, (3, 8)) for index in range(150)] + [mixture.demo("gui", i) for i in range(60)]
    for item in items:
        objects = {o.name: o for o in item.views[0].objects}
        boxes = [o for o in objects.values() if o.name.startswith("box")]
        for asked in (q for q in item.questions if q.skill == "boxes"):
            reply = Compact().parse(asked.answer, Screen(128, 128))
            at, _, checked = reply.thought.partition("checked ")
            looks, ticked = near(at, boxes), near(checked, boxes)
            named = [o for o in boxes if f'"{o.label}"' in asked.question]
            assert reply.valid and 1 <= len(named) <= 3 and looks == named[: len(looks)]
            assert ticked == [o for o in boxes if o.state["checked"]][: len(ticked)]
            wrong = [o for o in (*looks, *ticked) if bool(o.state["checked"]) != (o in named)]
            assert wrong in ([], (looks + ticked)[-1:]), "it stops at the first that is wrong"
            assert wrong or (looks == named == ticked)
            button = next(objects[name] for name in ("foot0", "confirm") if name in objects)
            x, y = reply.actions[0]["position"]
            assert any(inside(o, x, y) for o in (wrong or [button]))
            ends.append("more" if ticked and wrong else "less" if wrong else "right")
    mixture.close()
    assert min(ends.count(end) for end in ("more", "less", "right")) > len(ends) / 8


def test_lists_are_asked_about_as_the_task_asks() -> None:
    """The item that is read is in sight; it is clicked if it is the named one, and else the list goes on or back."""
    mixture, seen = Mixture(Recipe(), 0), []
    for index in range(150):
        item = mixture.screen(index, (3, 8))
        objects = {o.name: o for o in item.views[0].objects}
        for asked in (q for q in item.questions if q.skill == "sought"):
            sought = asked.question.split('"')[1]
            reply = Compact().parse(asked.answer, Screen(128, 128))
            word = reply.thought.split('"')[1]
            lists = {o.name: o for o in objects.values() if o.kind == "list" and o.state.get("range")}
            row = next(o for o in objects.values() if o.label == word and o.name.rsplit("/", 1)[0] in lists)
            holder = lists[row.name.rsplit("/", 1)[0]]
            way = int(reply.actions[0]["scroll"][0])
            x, y = reply.actions[0]["position"]
            assert (way == 0) == (word == sought) and inside(holder if way else row, x, y)
            room = {3: holder.state["range"] - holder.state["offset"], -3: holder.state["offset"], 0: 1}
            assert room[way] > 0, "where it can still go"
            assert holder.state.get("enabled", True) and "blocked" not in holder.state
            assert sought in content.WORDS["train"] or content.belongs(sought.lower(), "train"), "of the other split"
            shown = [o.label for o in objects.values() if o.name.startswith(f"{holder.name}/")]
            assert same_start(sought, word) == max(same_start(sought, label) for label in shown)
            came, between = " last scroll" in asked.question, min(room[3], room[-3]) > 0
            assert asked.question.endswith("unchanged") == (came and not between)
            if way and came:
                assert (f"<a{way}>" in asked.question) == between
            seen.append((way != 0, came))
    mixture.close()
    assert all(seen.count(kind) > 2 for kind in ((True, True), (True, False), (False, True), (False, False)))


def test_a_list_that_cuts_an_item_short_is_not_asked_about() -> None:
    """What the item says cannot be read; to ask for a word as short as what is seen once ended a run of hours."""
    mixture, seen = Mixture(Recipe(), 0), 0
    for index in range(40):
        objects = mixture.screen(index, (3, 8)).views[0].objects
        asked = {q.skill for q in mixture.inspection.questions(objects, np.random.default_rng(0))}
        if "sought" in asked:
            seen += 1
            cut = [replace(o, text=o.text and replace(o.text, text=o.text.text[:2])) for o in objects]
            asked = {q.skill for q in mixture.inspection.questions(cut, np.random.default_rng(0))}
            assert not asked & {"sought", "turn"}
    mixture.close()
    assert seen


def test_what_follows_from_a_look_is_asked_with_the_look_given() -> None:
    """The box to click is the last one that was looked at if it is not named."""
    mixture, ends = Mixture(Recipe(), 0), []
    for index in range(150):
        item = mixture.screen(index, (3, 8))
        objects = {o.name: o for o in item.views[0].objects}
        boxes = [o for o in objects.values() if o.name.startswith("box")]
        for asked in (q for q in item.questions if q.skill == "mend"):
            prompt, given = asked.question.split("\0")
            reply = Compact().parse(given + asked.answer, Screen(128, 128))
            assert reply.valid
            at, _, checked = reply.thought.partition("checked ")
            looks, ticked = near(at, boxes), near(checked, boxes)
            named = [o for o in boxes if f'"{o.label}"' in prompt]
            wrong = [o for o in ticked if o not in named]
            assert looks == named and wrong in ([], ticked[-1:]) and (wrong or ticked == named)
            x, y = reply.actions[0]["position"]
            assert any(inside(o, x, y) for o in wrong or [objects["foot0"]])
            ends.append(bool(wrong))
    mixture.close()
    assert min(ends.count(True), ends.count(False)) > len(ends) / 3


def test_a_list_is_scrolled_on_and_back_where_that_did_nothing() -> None:
    """As much of the reply as is asked for is right with what is given of it, with a look at the picture or without."""
    mixture, ends = Mixture(Recipe(), 0), []
    for index in range(150):
        for asked in (q for q in mixture.screen(index, (3, 8)).questions if q.skill in ("turn", "way")):
            prompt, given = asked.question.split("\0")
            reply = Compact().parse(given + asked.answer, Screen(128, 128))
            same = reply.thought.split('"')[1] == prompt.split('"')[1]
            way, last = int(reply.actions[0]["scroll"][0]), prompt.rpartition(" last ")[2]
            assert reply.valid and reply.action.startswith("click" if same else "scroll")
            place = LOCATION.findall(given if same else last)[:2]
            assert LOCATION.findall(given + asked.answer)[-2:] == (place or LOCATION.findall(given)[-2:])
            if not same and place:
                assert last.endswith(f"<a{-way}> unchanged") or last.endswith(f"<a{way}>")
            ends.append((asked.skill, "click" if same else last[-9:] if place else "first"))
    mixture.close()
    told = [end.endswith("unchanged") for skill, end in ends if skill == "way" and end != "click"]
    assert len(ends) / 6 < told.count(True) < 2 * told.count(False)
    assert ("way", "click") in ends and ("turn", "first") in ends and ("turn", "unchanged") in ends


def test_a_picture_has_as_many_questions_as_the_recipe_says() -> None:
    mixture = Mixture(Recipe(questions=10), 0)
    screens = [len(mixture.screen(index, (3, 8)).questions) for index in range(60)]
    shown = [len(mixture.demo("gui", index).questions) for index in range(60)]
    mixture.close()
    assert max(screens) == 10 and max(shown) <= 12


def near(places: str, boxes: list[SceneObject]) -> list[SceneObject]:
    """The boxes of a column that stand at these places."""
    ys = [int(y) for y in re.findall(r", (\d+)\)", places)]
    return [min(boxes, key=lambda o: abs((o.box[1] + o.box[3]) / 2 - y)) for y in ys]


def inside(thing: SceneObject, x: int, y: int) -> bool:
    # The codec's places are four pixels wide.
    return thing.box[0] - 2 <= x <= thing.box[2] + 2 and thing.box[1] - 2 <= y <= thing.box[3] + 2
