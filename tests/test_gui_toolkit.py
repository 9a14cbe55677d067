"""The widget toolkit by itself: focus, typing, scrolling, dragging, popups, time, and painting only what changed."""

import itertools
import json
from typing import Any

import numpy as np
import pytest

from episode import screen_action
from gui_env.gallery import Scatter
from gui_env.toolkit.containers import ListBox, ScrollArea, Window
from gui_env.toolkit.controls import Button, Checkbox, Field, Label, Slider
from gui_env.toolkit.desktop import Desktop, Event
from gui_env.toolkit.fonts import Font, caption, text_mask
from gui_env.toolkit.geometry import Rect, box
from gui_env.toolkit.painter import Painter
from gui_env.toolkit.themes import PALETTES, draw_theme

FONT = Font(11)


@pytest.fixture
def desk() -> Desktop:
    """A window at (10, 10) whose content begins at (11, 25), with one widget of each sort."""
    desk = Desktop(128, 128, draw_theme(np.random.default_rng(0), "train"))
    window = desk.add(Window("main", box(10, 10, 110, 110), FONT, "Main", bar=14, default="ok"))
    window.add(Field("first", box(4, 4, 60, 16), FONT, "First", limit=8))
    window.add(Field("second", box(4, 24, 60, 16), FONT, "Second", secret=True))
    window.add(Button("ok", box(70, 4, 34, 16), FONT, "OK"))
    window.add(Checkbox("check", box(70, 24, 34, 14), FONT, "On"))
    window.add(Slider("slider", box(4, 44, 61, 9), FONT, "slider", 0, 10, 0))
    window.add(ListBox("list", box(4, 56, 60, 32), FONT, [f"Item{i}" for i in range(8)], 10))
    window.add(Label("label", box(70, 44, 34, 12), FONT, "Text"))
    popup = desk.add(Window("popup", box(60, 47, 60, 50), FONT, "Hey", bar=14, modal=True, cross=14), opened=False)
    popup.add(Button("popup/ok", box(5, 5, 34, 16), FONT, "OK"))
    return desk


def at(desk: Desktop, name: str) -> tuple[int, int]:
    spot = desk.find(desk.widget(name))
    assert spot is not None
    return spot.rect.clip(spot.clip).center


def click(desk: Desktop, name: str, kind: Any = "click") -> list[Event]:
    desk.act(screen_action(kind, *at(desk, name)))
    return events(desk)


def events(desk: Desktop) -> list[Event]:
    told, desk.events = desk.events, []
    return told


def key(desk: Desktop, *names: str) -> list[Event]:
    for name in names:
        desk.act(screen_action("key", text=name))
    return events(desk)


def type_(desk: Desktop, text: str) -> None:
    desk.act(screen_action("type", text=text))


def field(desk: Desktop, name: str) -> Field:
    widget = desk.widget(name)
    assert isinstance(widget, Field)
    return widget


def listing(desk: Desktop) -> ListBox:
    widget = desk.widget("list")
    assert isinstance(widget, ListBox)
    return widget


# --- focus and keyboard


def test_a_click_focuses_and_a_click_beside_takes_the_focus_away(desk: Desktop) -> None:
    click(desk, "first")
    assert desk.focus == "first"
    desk.act(screen_action("click", 115, 115))
    assert desk.focus == ""


def test_tab_goes_round_in_order_and_skips_what_is_disabled(desk: Desktop) -> None:
    desk.widget("ok").enabled = False
    order = []
    for _ in range(6):
        key(desk, "tab")
        order.append(desk.focus)
    assert order == ["first", "second", "check", "slider", "list", "first"]
    key(desk, "shift+tab")
    assert desk.focus == "list"


def test_typing_goes_where_the_focus_is(desk: Desktop) -> None:
    type_(desk, "lost")
    click(desk, "first")
    type_(desk, "ab")
    key(desk, "left")
    type_(desk, "X")
    assert field(desk, "first").value == "aXb"
    key(desk, "backspace", "delete")
    assert field(desk, "first").value == "a"
    key(desk, "tab")
    type_(desk, "s3cret")
    assert field(desk, "second").value == "s3cret"


def test_selected_text_is_replaced(desk: Desktop) -> None:
    click(desk, "first")
    type_(desk, "wrong")
    click(desk, "first", "double_click")
    assert field(desk, "first").selected
    type_(desk, "right")
    assert field(desk, "first").value == "right"
    key(desk, "ctrl+a", "backspace")
    assert field(desk, "first").value == ""


def test_a_field_has_a_limit_and_drops_what_cannot_be_printed(desk: Desktop) -> None:
    click(desk, "first")
    type_(desk, "a\nb\tc" + "d" * 20)
    assert field(desk, "first").value == "abcddddd"


def test_a_click_sets_the_caret_at_the_nearest_edge(desk: Desktop) -> None:
    click(desk, "first")
    type_(desk, "abcd")
    box_ = field(desk, "first")
    spot = desk.find(box_)
    assert spot is not None
    edges = FONT.edges("abcd")
    desk.act(screen_action("click", box_.origin(spot.rect) + edges[2], spot.rect.center[1]))
    assert box_.caret == 2


def test_enter_presses_the_default_button_and_space_the_focused_one(desk: Desktop) -> None:
    click(desk, "first")
    assert key(desk, "enter") == [Event("ok", "click", "OK")]
    key(desk, "tab", "tab")
    assert desk.focus == "ok"
    assert key(desk, "space") == [Event("ok", "click", "OK")]


def test_what_is_disabled_does_not_answer(desk: Desktop) -> None:
    desk.widget("ok").enabled = False
    desk.widget("first").enabled = False
    assert click(desk, "ok") == [] and click(desk, "first") == []
    assert desk.focus == ""
    assert key(desk, "enter") == []


# --- mouse


def test_clicks_and_double_clicks(desk: Desktop) -> None:
    assert click(desk, "ok") == [Event("ok", "click", "OK")]
    assert click(desk, "ok", "double_click") == [Event("ok", "click", "OK")]
    # The application answers the first before the second falls, on what lies there then.
    assert desk.click_again() and events(desk) == [Event("ok", "click", "OK")] and not desk.click_again()
    assert click(desk, "ok", "right_click") == [Event("ok", "right_click", "OK")]
    assert click(desk, "check") == [Event("check", "change", "true")]
    assert desk.pointer == at(desk, "check")


def test_a_button_left_before_release_is_not_clicked(desk: Desktop) -> None:
    x, y = at(desk, "ok")
    desk.act(screen_action("drag", x, y, x - 30, y + 60))
    assert events(desk) == []
    desk.act(screen_action("drag", x - 3, y, x + 3, y))
    assert events(desk) == [Event("ok", "click", "OK")]


def test_a_window_follows_its_title_bar_and_stays_on_the_screen(desk: Desktop) -> None:
    desk.act(screen_action("drag", 40, 16, 35, 18))
    assert desk.windows["main"].rect == box(5, 12, 110, 110)
    desk.act(screen_action("drag", 40, 16, 127, 127))
    assert desk.windows["main"].rect == box(18, 18, 110, 110)
    before = desk.windows["main"].rect
    desk.act(screen_action("drag", 120, 100, 20, 20))
    assert desk.windows["main"].rect == before, "only the bar moves it"


def test_a_slider_is_dragged(desk: Desktop) -> None:
    slider = desk.widget("slider")
    assert isinstance(slider, Slider)
    spot = desk.find(slider)
    assert spot is not None
    left, y = spot.rect.x0 + 4, spot.rect.center[1]
    # The knob's way is 61 - 2 * 4 = 53 px for 10 steps: 27 px are 5 steps.
    desk.act(screen_action("drag", left, y, left + 27, y))
    assert slider.value == 5
    desk.act(screen_action("drag", left, y, 127, 127))
    assert slider.value == 10
    key(desk, "left")
    assert slider.value == 9


def test_a_list_scrolls_by_wheel_bar_and_keys(desk: Desktop) -> None:
    items = listing(desk)
    x, y = at(desk, "list")
    desk.act(screen_action("scroll", x, y, scroll=2))
    assert items.offset == 20
    desk.act(screen_action("scroll", x, y, scroll=10))
    # 8 rows of 10 px in a view of 30 px.
    assert items.offset == items.range == 50
    desk.act(screen_action("scroll", x, y, scroll=-1))
    assert items.offset == 40
    spot = desk.find(items)
    assert spot is not None
    thumb = items.thumb(spot.rect)
    desk.act(screen_action("drag", *thumb.center, thumb.center[0], spot.rect.y0))
    assert items.offset == 0
    desk.act(screen_action("click", thumb.center[0], spot.rect.y1 - 3))
    assert items.offset == 20, "a click on the track turns a page"
    assert events(desk) == []
    key(desk, "end")
    assert items.selected == 7 and items.offset == 50


def test_rows_that_are_scrolled_out_cannot_be_hit(desk: Desktop) -> None:
    click(desk, "list/1")
    assert listing(desk).selected == 1
    assert desk.find(desk.widget("list/5")) is None
    desk.act(screen_action("scroll", *at(desk, "list"), scroll=5))
    assert desk.find(desk.widget("list/0")) is None
    assert click(desk, "list/6") == [Event("list", "select", "Item6")]


def test_a_scrolled_area_clips_its_children() -> None:
    desk = Desktop(128, 128, draw_theme(np.random.default_rng(1), "train"))
    window = desk.add(Window("main", box(0, 0, 128, 128), FONT, "Main", bar=14))
    area = window.add(ScrollArea("area", box(4, 4, 100, 50), FONT, 200, 12))
    area.add(Button("low", box(4, 150, 40, 16), FONT, "Low"))
    assert "low" not in [o.name for o in desk.scene()]
    desk.act(screen_action("scroll", 50, 40, scroll=10))
    assert area.offset == 120
    assert click(desk, "low") == [Event("low", "click", "Low")]
    half = next(o for o in desk.scene() if o.name == "low")
    assert half.box[3] - half.box[1] == 16
    area.offset = 140
    # The content starts 140 px above the view: rows 150..166 stand at 10..26 of the view, all seen.
    assert click(desk, "low") == [Event("low", "click", "Low")]
    area.offset = 158
    # Eight rows are above the view: the letters are cut, so no text is told.
    half = next(o for o in desk.scene() if o.name == "low")
    assert half.box[3] - half.box[1] == 8 and half.text is None


# --- windows


def test_nothing_beneath_a_modal_window_answers(desk: Desktop) -> None:
    click(desk, "first")
    desk.open("popup")
    assert desk.focus == ""
    before = desk.save()
    for name in ("first", "ok", "check"):
        assert click(desk, name) == []
    type_(desk, "lost")
    desk.act(screen_action("scroll", *at(desk, "list"), scroll=2))
    assert key(desk, "enter") == []
    assert desk.save()["widgets"] == before["widgets"]
    assert click(desk, "popup/ok") == [Event("popup/ok", "click", "OK")]
    key(desk, "tab")
    assert desk.focus in ("popup/ok", "popup/close"), "tab stays in the popup"
    assert key(desk, "escape") == [Event("popup", "close", "")]
    desk.close("popup")
    assert click(desk, "ok") == [Event("ok", "click", "OK")]


def test_a_click_raises_a_window() -> None:
    desk = Desktop(128, 128, draw_theme(np.random.default_rng(2), "train"))
    desk.add(Window("a", box(0, 0, 80, 80), FONT, "A", bar=14)).add(Button("a/b", box(4, 4, 30, 16), FONT, "B"))
    desk.add(Window("b", box(20, 10, 100, 100), FONT, "B", bar=14))
    assert [o.name for o in desk.scene()] == ["a", "b", "b/title"], "title and button are covered in part"
    desk.act(screen_action("click", 5, 60))
    assert desk.order == ["b", "a"]
    assert "a/b" in [o.name for o in desk.scene()]


def test_things_around_a_popup_are_blocked_and_things_under_it_are_not_seen(desk: Desktop) -> None:
    desk.open("popup")
    seen = {o.name: o for o in desk.scene()}
    assert seen["first"].state["blocked"] and "blocked" not in seen["popup/ok"].state
    assert "check" not in seen, "it lies under the popup"


# --- time


def test_timers_come_in_order_of_time(desk: Desktop) -> None:
    desk.later(1.0, "late", "x")
    desk.later(0.5, "soon")
    assert desk.due(0.4) is None and desk.clock == 0.4
    assert desk.due(2.0) == Event("soon", "timer", "") and desk.clock == 0.5
    assert desk.due(2.0) == Event("late", "timer", "x") and desk.clock == 1.0
    assert desk.due(2.0) is None and desk.clock == 2.0


def test_actions_take_time(desk: Desktop) -> None:
    assert desk.act(screen_action("wait")) == 1.0
    assert desk.act(screen_action("type", text="abcd")) == pytest.approx(0.2 + 4 * 0.05)


# --- state and painting


def test_state_survives_json(desk: Desktop) -> None:
    click(desk, "first")
    type_(desk, "abc")
    desk.later(1.0, "tick")
    desk.act(screen_action("drag", 40, 16, 35, 18))
    saved = json.loads(json.dumps(desk.save()))
    key_before = desk.form_key()
    desk.act(screen_action("drag", 40, 16, 50, 16))
    click(desk, "second")
    type_(desk, "zzz")
    assert desk.form_key() != key_before
    desk.load(saved)
    assert desk.save() == saved and desk.form_key() == key_before


def test_painting_what_changed_is_painting_all() -> None:
    """After any inputs the kept frame equals one that is painted from nothing."""
    rng = np.random.default_rng(0)
    for seed in range(12):
        scatter = Scatter(np.random.default_rng(seed), (160, 140), "train")
        scatter.screen(10)
        desk = scatter.desk
        popup = Window("popup", box(40, 30, 70, 60), FONT, "Hey", bar=14, modal=True, cross=14)
        popup.add(Field("popup/f", box(5, 5, 50, 16), FONT))
        desk.add(popup, opened=False)
        kept = Painter(desk, 11)
        for step in range(25):
            x, y, x2, y2 = (int(v) for v in rng.integers(0, 140, 4))
            kind = ("click", "drag", "scroll", "type", "key", "double_click")[int(rng.integers(6))]
            text = ("tab", "down", "abc", "backspace")[int(rng.integers(4))]
            desk.act(screen_action(kind, x, y, x2, y2, int(rng.integers(-3, 4)), text))  # type: ignore[arg-type]
            if step in (8, 16):
                (desk.open if step == 8 else desk.close)("popup")
            assert np.array_equal(kept.frame(), Painter(desk, 11).frame()), (seed, step, kind)


def test_a_frame_belongs_to_the_caller(desk: Desktop) -> None:
    painter = Painter(desk, 0)
    first = painter.frame()
    first[:] = 0
    assert painter.frame().any()


def test_glyphs_stand_between_their_edges() -> None:
    for size in (10, 11, 12, 16, 27):
        for bold in (False, True):
            font = Font(size, bold)
            mask = text_mask(font, "Wagjil")[:, ::3]
            edges = font.edges("Wagjil")
            assert mask.shape == (font.line, edges[-1])
            for left, right in itertools.pairwise(edges):
                ink = mask[:, left:right]
                assert ink.max() > 0.3
                assert (ink.max(0) == 0).any(), "neighbours never touch"
    # The mask of a word is its letters' masks, side by side.
    assert np.array_equal(text_mask(FONT, "ab")[:, : 3 * FONT.width("a")], text_mask(FONT, "a"))


def test_runs_tell_only_whole_letters() -> None:
    line = caption("Hello", FONT, Rect(10, 10, 60, 26), "left")
    edges = [10 + e for e in FONT.edges("Hello")]
    run = line.run(Rect(edges[1], 0, edges[4], 40))
    assert run is not None and run.text == "ell" and run.edges == tuple(edges[1:5])
    run = line.run(Rect(edges[1] + 1, 0, edges[4] - 1, 40))
    assert run is not None and run.text == "l"
    assert line.run(Rect(0, 18, 128, 40)) is None


def test_palettes_are_disjoint() -> None:
    train, held = ({p.name for p in PALETTES[s]} for s in ("train", "heldout"))
    assert not train & held
    for pool in PALETTES.values():
        assert {p.dark for p in pool} == {True, False}
