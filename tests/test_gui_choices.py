"""Dropdowns, radio buttons and sliders with ticks, by hand."""

import json

import numpy as np
import pytest

from episode import screen_action
from gui_env.toolkit.choices import Dropdown, Radio
from gui_env.toolkit.containers import Window
from gui_env.toolkit.controls import Button, Slider
from gui_env.toolkit.desktop import Desktop, Event
from gui_env.toolkit.fonts import Font
from gui_env.toolkit.geometry import Rect, box
from gui_env.toolkit.painter import Painter
from gui_env.toolkit.themes import draw_theme

FONT = Font(11)
ITEMS = [f"Item{i}" for i in range(6)]


@pytest.fixture
def desk() -> Desktop:
    """A window whose content begins at (11, 25), with a dropdown at its top and one at its bottom."""
    desk = Desktop(128, 128, draw_theme(np.random.default_rng(0), "train"))
    window = desk.add(Window("main", box(10, 10, 110, 116), FONT, "Main", bar=14, default="ok"))
    for name, y in (("upper", 4), ("lower", 80)):
        made = window.add(Dropdown(name, box(4, y, 80, 16), FONT, name, ITEMS, row=12, shown=3, selected=1))
        desk.add(made.menu, opened=False)
    window.add(Button("under", box(4, 30, 60, 16), FONT, "Under"))
    window.add(Button("ok", box(86, 60, 20, 16), FONT, "OK"))
    return desk


def dropdown(desk: Desktop, name: str) -> Dropdown:
    widget = desk.widget(name)
    assert isinstance(widget, Dropdown)
    return widget


def click(desk: Desktop, x: int, y: int) -> list[Event]:
    desk.act(screen_action("click", x, y))
    return events(desk)


def key(desk: Desktop, *names: str) -> list[Event]:
    for name in names:
        desk.act(screen_action("key", text=name))
    return events(desk)


def events(desk: Desktop) -> list[Event]:
    told, desk.events = desk.events, []
    return told


def test_a_dropdown_opens_below_or_above(desk: Desktop) -> None:
    # The upper one covers rows 29..45; three rows of 12, and 4 for the borders of list and menu: 40.
    click(desk, 40, 37)
    assert desk.order == ["main", "upper/menu"]
    assert desk.windows["upper/menu"].rect == Rect(15, 45, 95, 85)
    key(desk, "escape")
    # The lower one covers 105..121: below it there is no room.
    click(desk, 40, 113)
    assert desk.windows["lower/menu"].rect == Rect(15, 65, 95, 105)


def test_a_click_chooses(desk: Desktop) -> None:
    click(desk, 40, 37)
    assert events(desk) == [] and dropdown(desk, "upper").list.selected == 1
    # Rows begin at 47: the third is 71..83.
    assert click(desk, 40, 76) == [Event("upper", "change", "Item2")]
    assert dropdown(desk, "upper").value == "Item2" and dropdown(desk, "lower").value == "Item1"
    assert desk.order == ["main"] and desk.focus == "upper"


def test_a_long_list_scrolls(desk: Desktop) -> None:
    click(desk, 40, 37)
    options = dropdown(desk, "upper").list
    desk.act(screen_action("scroll", 40, 60, scroll=9))
    # Six rows of 12 in a view of 36.
    assert options.offset == options.range == 36
    assert click(desk, 40, 76) == [Event("upper", "change", "Item5")]
    click(desk, 40, 37)
    assert options.offset == 36, "it opens where the choice is seen"


def test_escape_and_a_click_beside_close_and_do_nothing_else(desk: Desktop) -> None:
    before = desk.form_key()
    desk.act(screen_action("scroll", 40, 37, scroll=1))
    escape, beside = screen_action("key", text="escape"), screen_action("click", 105, 93)
    itself = screen_action("click", 40, 37)
    for action in (escape, beside, itself):
        click(desk, 40, 37)
        assert desk.is_open("upper/menu")
        desk.act(action)
        assert events(desk) == [], "not even the button under the pointer is pressed"
        assert desk.order == ["main"] and dropdown(desk, "upper").value == "Item1"
    assert desk.form_key() == before
    assert click(desk, 105, 93) == [Event("ok", "click", "OK")]


def test_the_keyboard_chooses(desk: Desktop) -> None:
    key(desk, "tab")
    focus = desk.focus
    assert focus == "upper"
    assert key(desk, "down") == [Event("upper", "change", "Item2")]
    key(desk, "space", "down", "down")
    assert desk.is_open("upper/menu") and dropdown(desk, "upper").value == "Item2"
    assert key(desk, "enter") == [Event("upper", "change", "Item4")]
    assert desk.focus == "upper" and key(desk, "enter") == [Event("ok", "click", "OK")]


def test_what_the_scene_tells(desk: Desktop) -> None:
    closed = {o.name: o for o in desk.scene()}
    assert closed["upper"].kind == "dropdown" and closed["upper"].state["value"] == "Item1"
    text = closed["upper"].text
    assert text is not None and text.text == "Item1" and "upper/menu" not in closed
    click(desk, 40, 37)
    opened = {o.name: o for o in desk.scene()}
    assert opened["upper/menu"].kind == "menu" and opened["upper/menu"].box == (15.0, 45.0, 95.0, 85.0)
    rows = [o for o in desk.scene() if o.kind == "item"]
    assert [o.label for o in rows] == ["Item0", "Item1", "Item2"] and rows[1].state["selected"]
    assert "under" not in opened, "the menu lies over it"
    assert opened["ok"].state["blocked"] and "blocked" not in rows[0].state


def test_an_open_menu_survives_json_and_is_painted_again(desk: Desktop) -> None:
    painter = Painter(desk, 0)
    start = painter.frame()
    click(desk, 40, 113)
    desk.act(screen_action("scroll", 40, 80, scroll=2))
    opened = painter.frame()
    saved = json.loads(json.dumps(desk.save()))
    key(desk, "escape")
    desk.focus = ""
    assert np.array_equal(painter.frame(), start) and not np.array_equal(opened, start)
    desk.load(saved)
    assert np.array_equal(painter.frame(), opened) and desk.save() == saved


def test_one_radio_button_of_a_group_is_checked() -> None:
    desk = Desktop(128, 128, draw_theme(np.random.default_rng(0), "train"))
    window = desk.add(Window("main", box(0, 0, 128, 128), FONT, "Main", bar=14))
    names = [("a", "one"), ("b", "one"), ("c", "two")]
    radios = [
        window.add(Radio(name, box(4, 20 * i, 60, 14), FONT, name, group)) for i, (name, group) in enumerate(names)
    ]
    # The content begins at (1, 15): the middles are at 22, 42, 62.
    click(desk, 20, 22)
    click(desk, 20, 62)
    assert [r.checked for r in radios] == [True, False, True]
    assert click(desk, 20, 42) == [Event("b", "change", "true")]
    assert [r.checked for r in radios] == [False, True, True]
    click(desk, 20, 42)
    assert radios[1].checked, "a second click does not uncheck it"


def test_a_slider_with_ticks() -> None:
    slider = Slider("s", box(0, 0, 104, 18), FONT, "s", 0, 10, 3, ticks=True)
    # A third of 18 is for the ticks: the knob is 12 wide, its way 104 - 12 = 92 long, 9.2 a step.
    assert slider.bar(slider.rect) == Rect(0, 0, 104, 12)
    assert [slider.at(slider.rect, v) for v in (0, 1, 5, 10)] == [6, 15, 52, 98]
    # Of 220 pixels each of 11 numbers has 20, and stands in the middle of its share.
    assert [slider.at(box(0, 0, 220, 18), v) for v in (0, 1, 5, 10)] == [10, 30, 110, 210]
    desk = Desktop(128, 128, draw_theme(np.random.default_rng(0), "train"))
    for value in range(11):
        for slip in (-4, 4):
            slider.to(desk, slider.rect, slider.at(slider.rect, value) + slip)
            assert slider.value == value, "within half a step"
