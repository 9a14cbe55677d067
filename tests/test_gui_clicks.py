"""What the first four GUI tasks do: click a button, log in, scroll to an item, dismiss a popup."""

import json

import pytest

from episode import Outcome, screen_action
from gui_env.tasks import click_button
from gui_env.tasks.dismiss_popup import DismissPopup
from gui_env.tasks.login_form import LoginForm
from gui_env.tasks.scroll_select import ScrollSelect
from tests.gui import act, begun, press, same_start


def test_click_button_fails_on_another_button() -> None:
    world = begun(click_button.ClickButton, 3)
    wrong = next(b for b in world.buttons if b is not world.target)
    reward, terminated, _, info = press(world, wrong)
    assert terminated and info["outcome"] is Outcome.FAILURE and reward == 0
    world.reset(seed=3)
    _, terminated, _, info = act(world, "click", x=1, y=1)
    assert not terminated, "beside every button"
    assert press(world, world.target)[3]["success"]


def login(server: bool) -> LoginForm:
    """An episode in which the server is slow, or not."""
    for seed in range(50):
        world = begun(LoginForm, seed)
        if (world.latency > 0.3) == server:
            assert isinstance(world, LoginForm)
            return world
    raise AssertionError


def test_login_subgoals_come_and_go() -> None:
    world = login(server=False)
    press(world, world.fields[0])
    reward, _, _, info = act(world, "type", text=world.user)
    assert info["subgoals"] == {"user": True, "password": False, "submitted": False}
    assert reward == pytest.approx(1 / 3)
    reward, _, _, info = act(world, "type", text="x")
    assert not info["subgoals"]["user"] and reward == pytest.approx(-1 / 3)
    act(world, "key", text="backspace")
    act(world, "key", text="tab")
    _, _, _, info = act(world, "type", text=world.password)
    assert info["subgoals"] == {"user": True, "password": True, "submitted": False}
    reward, terminated, _, info = act(world, "key", text="enter")
    assert terminated and info["success"] and reward == pytest.approx(1 + 1 / 3)


def test_login_with_wrong_credentials_fails() -> None:
    world = login(server=False)
    press(world, world.fields[0])
    act(world, "type", text="wrong")
    _, terminated, _, info = press(world, world.desk.widget("login"))
    assert terminated and info["outcome"] is Outcome.FAILURE


def test_login_waits_for_the_server() -> None:
    world = login(server=True)
    for field, text in zip(world.fields, (world.user, world.password), strict=True):
        press(world, field)
        act(world, "type", text=text)
    _, terminated, _, info = press(world, world.desk.widget("login"))
    assert not terminated and world.status.text == "Please wait" and not info["subgoals"]["submitted"]
    assert world.expert().actions[0]["kind"] == screen_action("wait")["kind"]
    act(world, "type", text="zzz")
    assert world.right(), "the form is locked"
    act(world, "wait")
    if not world.over:
        act(world, "wait")
    assert world.status.text == "Welcome" and world.solved()


def test_the_password_is_not_shown() -> None:
    world = login(server=False)
    press(world, world.fields[1])
    act(world, "type", text=world.password)
    thing = next(o for o in world.scene() if o.name == "password")
    assert thing.text is None and world.password not in json.dumps(dict(thing.state))
    assert thing.state["length"] == len(world.password)


def test_scroll_select() -> None:
    world = begun(ScrollSelect, 0)
    assert not world.visible()
    x, y = world.middle(world.list)
    toward = 3 if world.item.rect.y0 > world.list.offset else -3
    for _ in range(5):
        _, _, _, info = act(world, "scroll", x=x, y=y, scroll=toward)
        if info["subgoals"]["visible"]:
            break
    assert info["progress"] == 0.5
    _, _, _, info = act(world, "scroll", x=x, y=y, scroll=-10 if toward > 0 else 10)
    assert info["progress"] == 0 and info["terms"]["subgoal"] == -0.5
    other = next(row for row in world.list.rows if row is not world.item and world.desk.find(row))
    _, terminated, _, info = press(world, other)
    assert terminated and info["outcome"] is Outcome.FAILURE


def test_running_the_mark_over_a_list_chooses_nothing() -> None:
    for seed in range(10):
        world = begun(ScrollSelect, seed)
        for name in ("tab", "end", *["up"] * 7):
            _, terminated, _, info = act(world, "key", text=name)
            assert not terminated and not info["subgoals"]["selected"]
    for right in (True, False):
        world = begun(ScrollSelect, 3)
        act(world, "key", text="tab")
        world.list.selected = world.item.index - 1 if right else world.item.index
        act(world, "key", text="down")
        _, terminated, _, info = act(world, "key", text="enter")
        assert terminated and info["success"] is right


def test_an_expert_of_lists_says_what_it_reads() -> None:
    """The item in sight that begins most like the named one, until that is in sight itself."""
    for seed in range(6):
        world = begun(ScrollSelect, seed)
        while not world.over:
            advice = world.expert()
            row = next(r for r in world.list.rows if r.label == advice.reads)
            assert advice.points == (world.middle(row),)
            assert (row is world.item) == world.visible()
            shown = [r.label for r in world.list.rows if world.desk.find(r)]
            named = world.item.label
            assert same_start(named, row.label) == max(same_start(named, label) for label in shown)
            world.advance(advice.actions[0])
        assert world.solved()


def test_an_expert_of_lists_knows_no_more_than_is_seen() -> None:
    """In the middle of a list it goes on as it came, on whichever side the named item lies; at an end it turns."""
    turns = 0
    for seed in range(30):
        world = begun(ScrollSelect, seed)
        where = world.list
        ways = []
        for heading, offset in ((1, where.row), (-1, where.row), (1, where.range - where.row), (-1, where.range)):
            where.heading, where.offset = heading, offset
            if world.visible() or offset % where.row:
                continue
            ways.append(int(world.expert().actions[0]["scroll"][0]))
            assert ways[-1] == (3 * heading if 0 < offset < where.range else -3)
        turns += len(set(ways)) > 1
    assert turns > 10


@pytest.mark.parametrize("at_once", [True, False])
def test_dismiss_popup(at_once: bool) -> None:
    world = next(w for seed in range(30) if (w := begun(DismissPopup, seed)).at_once == at_once)
    if not at_once:
        assert not world.desk.is_open("popup")
        _, _, _, info = press(world, world.target)
        assert info["progress"] == 0, "the first click is lost"
    assert world.desk.is_open("popup")
    x, y = world.desk.windows["window"].rect.x0 + 1, world.middle(world.target)[1]
    for button in world.buttons:
        spot = world.desk.find(button)
        if not world.popup.rect.meets(spot.rect):
            x, y = spot.rect.center
    _, terminated, _, info = act(world, "click", x=x, y=y)
    assert not terminated and info["progress"] == 0, "beneath the popup nothing answers"
    _, _, _, info = press(world, world.exit)
    assert info["subgoals"] == {"dismissed": True, "pressed": False}
    assert press(world, world.target)[3]["success"]


def test_a_popup_closes_by_its_exits_alone() -> None:
    world = next(w for seed in range(30) if (w := begun(DismissPopup, seed)).at_once)
    for widget in (world.popup, world.text, world.exit):
        act(world, "right_click", x=world.middle(widget)[0], y=world.middle(widget)[1])
        assert world.desk.is_open("popup")
    act(world, "key", text="escape")
    assert not world.desk.is_open("popup")


def test_a_double_click_does_not_reach_through_the_popup_that_its_first_click_brought() -> None:
    for seed in range(40):
        world = begun(DismissPopup, seed)
        if not world.at_once:
            x, y = world.middle(world.target)
            act(world, "double_click", x=x, y=y)
            assert not world.data["pressed"] and world.data["shown"]


def test_the_popups_other_button_keeps_one_waiting() -> None:
    world = next(w for s in range(99) if (w := begun(DismissPopup, s)).at_once and len(w.popup.children) == 4)
    press(world, world.desk.widget("popup/other"))
    press(world, world.exit)
    assert world.desk.is_open("popup") and world.text.text == "Please wait"
    act(world, "wait")
    act(world, "wait")
    assert not world.desk.is_open("popup")
    assert press(world, world.target)[3]["success"]


def test_the_popup_covers_the_target() -> None:
    for seed in range(40):
        world = begun(DismissPopup, seed)
        assert world.popup.rect.has(*world.middle(world.target))
