"""Icons and forms: what their sub-goals, endings and experts do, by hand."""

import re
from collections import Counter
from typing import Any

import pytest

from episode import SCREEN_KINDS, Outcome, Split, screen_action
from gui_env.tasks import click_icon
from gui_env.tasks.choose_option import ChooseOption
from gui_env.tasks.click_icon import ClickIcon
from gui_env.tasks.set_checkboxes import SetCheckboxes, listed, look_through
from gui_env.tasks.set_slider import SetSlider
from gui_env.tasks.type_text import TypeText
from gui_env.tasks.wizard import PAGES, Wizard
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


@pytest.mark.parametrize(
    ("checked", "named", "looks"),
    [
        ("000", [1], ([1], [], 1)),
        ("011", [1, 2], ([1, 2], [1, 2], None)),
        ("0110", [1, 3], ([1, 3], [], 3)),
        ("110", [0, 1, 2], ([0, 1, 2], [], 2)),
        ("1110", [1], ([1], [0], 0)),
        ("0111", [1], ([1], [1, 2], 2)),
    ],
)
def test_boxes_are_looked_at_until_one_is_wrong(checked: str, named: list[int], looks: object) -> None:
    assert look_through([c == "1" for c in checked], named) == looks


def test_an_expert_of_boxes_says_where_it_looks() -> None:
    """The named ones first, then whatever else is checked, then the button: told by the places that are looked at."""
    world = found(SetCheckboxes, lambda w: len(w.named) == 2 and any(b.checked and b not in w.named for b in w.boxes))
    at = {world.middle(b): b for b in world.boxes}
    clicked = []
    while not world.over:
        advice = world.expert()
        looks = [at[p] for p in (*advice.points, *advice.checked)]
        clicked.append(at.get(tuple(advice.actions[0]["position"].tolist())))
        # The last one is what is clicked, and all before it are right; where all are right, it is the button.
        right = looks[:-1] if clicked[-1] else looks
        assert looks[-1] is clicked[-1] or clicked[-1] is None
        assert all(b.checked and b in world.named for b in right)
        assert clicked[-1] or (looks[: len(world.named)] == world.named == looks[len(world.named) :])
        world.advance(advice.actions[0])
    assert world.solved() and clicked[-1] is None
    first = [b in world.named for b in clicked[:-1]]
    assert first == sorted(first, reverse=True) and not all(first)


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


# --- choose-option


def test_an_option_is_opened_chosen_confirmed() -> None:
    world = found(ChooseOption, lambda w: w.option < 4 and len(w.dropdowns) == 2)
    target = world.target
    reward, _, _, info = press(world, target)
    assert info["subgoals"] == {"opened": True, "chosen": False, "confirmed": False}
    assert reward == pytest.approx(1 / 3)
    reward, _, _, info = act(world, "key", text="escape")
    assert reward == pytest.approx(-1 / 3) and not any(info["subgoals"].values())
    press(world, target)
    reward, _, _, info = press(world, target.list.rows[world.option])
    assert info["subgoals"] == {"opened": True, "chosen": True, "confirmed": False}
    assert reward == pytest.approx(1 / 3)
    reward, terminated, _, info = press(world, world.desk.widget("confirm"))
    assert terminated and info["success"] and reward == pytest.approx(1 + 1 / 3)


def test_another_dropdown_must_stay_as_it_was() -> None:
    world = found(ChooseOption, lambda w: len(w.dropdowns) == 2)
    other = next(d for d in world.dropdowns if d is not world.target)
    world.desk.focus = other.name
    act(world, "key", text="up" if other.selected else "down")
    world.desk.focus = world.target.name
    while world.target.selected != world.option:
        act(world, "key", text="down" if world.target.selected < world.option else "up")
    _, terminated, _, info = press(world, world.desk.widget("confirm"))
    assert terminated and info["outcome"] is Outcome.FAILURE and info["subgoals"]["chosen"]


def test_the_expert_closes_a_menu_that_was_opened_by_mistake() -> None:
    world = found(ChooseOption, lambda w: len(w.dropdowns) == 2)
    press(world, next(d for d in world.dropdowns if d is not world.target))
    action = world.expert().actions[0]
    assert SCREEN_KINDS[action["kind"]] == "key" and action["text"] == "escape"
    while not world.over:
        *_, info = world.advance(world.expert().actions[0])
    assert info["success"]


# --- set-slider


def set_to(world: SetSlider, slider: Any, value: int) -> Any:
    spot = world.desk.find(slider)
    assert spot is not None
    return world.advance(screen_action("click", slider.at(spot.rect, value), spot.rect.center[1]))


def test_a_slider_comes_near_and_is_set() -> None:
    world = found(SetSlider, lambda w: w.value >= 2)
    reward, _, _, info = set_to(world, world.target, world.value - 1)
    assert info["subgoals"] == {"near": True, "set": False, "confirmed": False}
    assert reward == pytest.approx(1 / 3)
    assert world.numerals[world.sliders.index(world.target)].text == str(world.value - 1)
    reward, _, _, info = set_to(world, world.target, world.value)
    assert info["subgoals"] == {"near": True, "set": True, "confirmed": False} and reward == pytest.approx(1 / 3)
    assert press(world, world.desk.widget("confirm"))[3]["success"]


def test_a_drag_sets_a_slider_too() -> None:
    world = begun(SetSlider, 1)
    rect = world.desk.find(world.target).rect
    (x, y), x2 = (world.target.at(rect, world.target.value), rect.center[1]), world.target.at(rect, world.value)
    *_, info = act(world, "drag", x=x, y=y, x2=x2, y2=y)
    assert info["subgoals"]["set"] and press(world, world.desk.widget("confirm"))[3]["success"]


def test_the_other_slider_must_stay_where_it_was() -> None:
    world = found(SetSlider, lambda w: len(w.sliders) == 2)
    other = next(s for s in world.sliders if s is not world.target)
    set_to(world, other, (other.value + 5) % 11)
    set_to(world, world.target, world.value)
    _, terminated, _, info = press(world, world.desk.widget("confirm"))
    assert terminated and info["outcome"] is Outcome.FAILURE and info["subgoals"]["set"]


@pytest.mark.parametrize("size", [(128, 128), (128, 400), (1280, 128), (640, 480), (1280, 800)])
def test_numbers_of_a_slider_are_further_apart_than_bins(size: tuple[int, int]) -> None:
    for seed in range(20):
        world = begun(SetSlider, seed, "train", size)
        for slider in world.sliders:
            # A bin is 1/32 of the width; a quarter more where the frame was shrunk to 128 pixels.
            reach = 5 / 4 * size[0] / 32
            first, last = slider.at(slider.rect, 0), slider.at(slider.rect, 10)
            assert last - first > 10 * reach, "neighbours"
            assert min(first - slider.rect.x0, slider.rect.x1 - last) > reach / 2, "the ends"


# --- wizard


def turned(world: Wizard, subject: int) -> None:
    """The expert at work until the page of ``subject`` is shown."""
    while world.turn[world.data["page"]] != subject:
        world.advance(world.expert().actions[0])


def test_a_page_that_is_not_filled_in_holds_one_up() -> None:
    world = found(Wizard, lambda w: w.turn[0] == 0)
    assert not world.next.enabled and not world.back.enabled
    press(world, world.next)
    act(world, "key", text="enter")
    assert world.data["page"] == 0
    press(world, world.field)
    act(world, "type", text="x")
    assert world.next.enabled
    _, _, _, info = act(world, "key", text="enter")
    assert world.data["page"] == 1 and world.desk.focus == "" and not info["subgoals"]["name"]
    press(world, world.back)
    assert world.data["page"] == 0 and world.field.value == "x"


def test_the_pages_in_order() -> None:
    """Five sub-goals of one fifth each, and the summary says what was filled in."""
    world, total = begun(Wizard, 2), 0.0
    turned(world, 3)
    assert world.subgoals() == {"name": True, "option": True, "pick": True, "agreed": False, "finished": False}
    said = [line.text.split(": ")[1] for line in world.lines]
    assert said == [world.text, world.option.label, world.dropdown.items[world.pick]]
    assert world.next.label == "Finish" and not world.next.enabled
    reward, _, _, _ = press(world, world.agree)
    assert reward == pytest.approx(1 / 5) and world.next.enabled
    total, terminated, _, info = press(world, world.next)
    assert terminated and info["success"] and total == pytest.approx(1 + 1 / 5)


def test_a_double_click_does_not_turn_past_a_page_that_is_empty() -> None:
    world = found(Wizard, lambda w: w.turn[0] == 0)
    while not world.next.enabled:
        world.advance(world.expert().actions[0])
    x, y = world.middle(world.next)
    world.advance(screen_action("double_click", x, y))
    assert world.data["page"] == 1 and not world.next.enabled


def test_a_wizard_that_is_finished_wrongly_fails() -> None:
    world = begun(Wizard, 2)
    turned(world, 1)
    press(world, next(r for r in world.radios if r is not world.option))
    page = world.data["page"]
    press(world, world.next)
    assert world.data["page"] == page + 1
    # The expert would go back; let it forget.
    world.option, right = next(r for r in world.radios if r.checked), world.option
    turned(world, 3)
    press(world, world.agree)
    world.option = right
    _, terminated, _, info = press(world, world.next)
    assert terminated and info["outcome"] is Outcome.FAILURE


def test_the_expert_goes_back_to_the_page_that_is_wrong() -> None:
    world = found(Wizard, lambda w: w.turn[0] == 1)
    press(world, next(r for r in world.radios if r is not world.option))
    press(world, world.next)
    assert world.data["page"] == 1
    world.advance(world.expert().actions[0])
    assert world.data["page"] == 0 and not world.option.checked
    while not world.over:
        *_, info = world.advance(world.expert().actions[0])
    assert info["success"]


@pytest.mark.parametrize("size", [(128, 128), (640, 480)])
def test_every_page_fits(size: tuple[int, int]) -> None:
    """Nothing reaches out of the window or over another, and no caption is cut."""
    for seed in range(30):
        world = begun(Wizard, seed, SPLITS[seed % 2], size)
        seen = set()
        while not world.over:
            seen.add(world.data["page"])
            window = world.desk.windows["form"]
            spots = [s for s in world.desk.placed(window) if s.widget.parent is window]
            for i, spot in enumerate(spots):
                assert window.rect.inset(1).covers(spot.rect), (seed, spot.widget.name)
                assert not any(spot.rect.meets(other.rect) for other in spots[:i]), (seed, spot.widget.name)
                for line in spot.widget.captions(spot.rect):
                    run = line.run(spot.widget.text_clip(spot.rect))
                    assert run is not None and run.text == line.text, (seed, line.text)
            world.advance(world.expert().actions[0])
        assert len(seen) == PAGES
