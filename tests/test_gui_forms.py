"""Icons and forms: what their sub-goals, endings and experts do, by hand."""

import re
from collections import Counter
from typing import Any

import pytest

from episode import SCREEN_KINDS, Outcome, Split
from gui_env.tasks import click_icon
from gui_env.tasks.click_icon import ClickIcon
from gui_env.tasks.set_checkboxes import SetCheckboxes, listed
from gui_env.tasks.type_text import TypeText
from gui_env.world import GuiWorld
from tests.gui import act, begun, press

SPLITS: tuple[Split, ...] = ("train", "heldout")


def found(cls: type[GuiWorld], wanted: Any) -> Any:
    """The first episode of ``cls`` that ``wanted`` agrees to."""
    return next(world for seed in range(300) if wanted(world := begun(cls, seed)))


def has(world: GuiWorld, name: str) -> bool:
    return any(widget.name == name for widget in world.desk.all())


# --- click-icon


def test_an_icon_needs_colour_and_shape() -> None:
    """No two icons are alike, and on most screens the target's colour and its shape occur twice."""
    twice: Counter[str] = Counter()
    for seed in range(100):
        world = begun(ClickIcon, seed)
        pairs = [(b.color, b.label) for b in world.buttons]
        color, shape = world.target.color, world.target.label
        assert len(set(pairs)) == len(pairs) and 3 <= len(pairs) <= 6
        assert re.search(rf"\b{color} {shape}\b", world.task.instruction)
        twice["color"] += [c for c, _ in pairs].count(color) > 1
        twice["shape"] += [s for _, s in pairs].count(shape) > 1
    assert twice["color"] > 60 and twice["shape"] > 60


def test_heldout_targets_are_pairs_that_training_never_shows() -> None:
    for seed in range(60):
        train, heldout = begun(ClickIcon, seed), begun(ClickIcon, seed, "heldout")
        assert not {(b.color, b.label) for b in train.buttons} & click_icon.HELDOUT
        assert (heldout.target.color, heldout.target.label) in click_icon.HELDOUT
    # 12 colours by 12 shapes; every colour and every shape is in training.
    assert len(click_icon.PAIRS) == 144 and 25 <= len(click_icon.HELDOUT) <= 33
    train_pairs = set(click_icon.PAIRS) - click_icon.HELDOUT
    assert len({c for c, _ in train_pairs}) == len({s for _, s in train_pairs}) == 12


def test_another_icon_is_a_failure() -> None:
    world = begun(ClickIcon, 3)
    wrong = next(b for b in world.buttons if b is not world.target)
    reward, terminated, _, info = press(world, wrong)
    assert terminated and info["outcome"] is Outcome.FAILURE and reward == 0
    world.reset(seed=3)
    reward, _, _, info = press(world, world.target)
    assert info["success"] and reward == 2


# --- set-checkboxes


def test_names_are_listed() -> None:
    assert listed(["A"]) == '"A"'
    assert listed(["A", "B"]) == '"A" and "B"'
    assert listed(["A", "B", "C"]) == '"A", "B" and "C"'


def test_checkboxes_come_and_go() -> None:
    """Two named and none checked: half of the way gives nothing, the second gives two of the three sub-goals."""
    world = found(SetCheckboxes, lambda w: len(w.named) == 2 and not any(b.checked for b in w.boxes))
    reward, _, _, info = press(world, world.named[0])
    assert reward == 0 and not any(info["subgoals"].values())
    reward, _, _, info = press(world, world.named[1])
    assert info["subgoals"] == {"checked": True, "only": True, "confirmed": False}
    assert reward == pytest.approx(2 / 3)
    other = next(b for b in world.boxes if b not in world.named)
    reward, _, _, info = press(world, other)
    assert info["subgoals"] == {"checked": True, "only": False, "confirmed": False}
    assert reward == pytest.approx(-1 / 3)
    press(world, other)
    reward, terminated, _, info = press(world, world.desk.widget("confirm"))
    assert terminated and info["success"] and reward == pytest.approx(1 + 1 / 3)


def test_a_box_that_started_checked_must_be_unchecked() -> None:
    world = found(SetCheckboxes, lambda w: any(b.checked and b not in w.named for b in w.boxes))
    for box in world.named:
        if not box.checked:
            press(world, box)
    _, terminated, _, info = press(world, world.desk.widget("confirm"))
    assert info["subgoals"] == {"checked": True, "only": False, "confirmed": False}
    assert terminated and info["outcome"] is Outcome.FAILURE


def test_there_is_always_something_to_check() -> None:
    for split in SPLITS:
        for seed in range(60):
            world = begun(SetCheckboxes, seed, split)
            assert 1 <= len(world.named) <= 3 <= len(world.boxes) <= 5
            assert not all(b.checked for b in world.named)


def test_reset_brings_the_form_back() -> None:
    world = found(SetCheckboxes, lambda w: has(w, "reset"))
    before = [b.checked for b in world.boxes]
    press(world, world.boxes[0])
    press(world, world.boxes[1])
    assert [b.checked for b in world.boxes] != before
    _, terminated, _, _ = press(world, world.desk.widget("reset"))
    assert [b.checked for b in world.boxes] == before and not terminated


# --- type-text


def test_text_is_confirmed_by_enter_or_by_the_button() -> None:
    for by_key in (True, False):
        world = begun(TypeText, 4)
        press(world, world.target)
        reward, _, _, info = act(world, "type", text=world.text)
        assert info["subgoals"] == {"typed": True, "confirmed": False} and reward == pytest.approx(1 / 2)
        reward, terminated, _, info = (
            act(world, "key", text="enter") if by_key else press(world, world.desk.widget("confirm"))
        )
        assert terminated and info["success"] and reward == pytest.approx(1 + 1 / 2)


def test_text_in_another_field_is_a_failure_once_confirmed() -> None:
    world = begun(TypeText, 4)
    other = next(f for f in world.fields if f is not world.target)
    press(world, other)
    act(world, "type", text=world.text)
    _, terminated, _, info = press(world, world.target)
    assert not terminated and not info["subgoals"]["typed"]
    act(world, "type", text=world.text)
    _, terminated, _, info = press(world, world.desk.widget("confirm"))
    assert info["subgoals"]["typed"], "the right field holds it"
    assert terminated and info["outcome"] is Outcome.FAILURE, "but so does another"


def test_the_expert_empties_a_field_that_should_be_empty() -> None:
    """The wrong text is selected by a double click and erased; then the right field is filled, and all is confirmed."""
    world = found(TypeText, lambda w: w.target is w.fields[1])
    other = world.fields[0]
    press(world, other)
    act(world, "type", text="zzz")
    kinds = []
    while not world.over:
        action = world.expert().actions[0]
        kinds.append(SCREEN_KINDS[action["kind"]])
        *_, info = world.advance(action)
    assert kinds == ["double_click", "key", "click", "type", "click"]
    assert info["success"] and other.value == ""
