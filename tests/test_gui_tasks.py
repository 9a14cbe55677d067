"""Every GUI task: rewards, endings, experts, snapshots in another process, what is told."""

import hashlib
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

from episode import Action, Outcome, Split, WorldError, screen_action
from gui_env import TASKS
from gui_env.tasks import click_button
from gui_env.world import GuiWorld
from tests.gui import act, begun

ROOT = Path(__file__).parent.parent
EVERY = pytest.mark.parametrize("task_id", sorted(TASKS))
MODULES = [sys.modules[cls.__module__] for cls in TASKS.values()]
NOTHING_LITERAL = ("gui/click-icon-v0",)
"""Tasks that name what has no text on the screen."""


# --- experts


def on_grid(action: Action, world: GuiWorld, grid: int) -> Action:
    """The action as a codec with ``grid`` steps a side would give it back."""
    sides = np.array([world.width, world.height])

    def snap(point: NDArray[np.int32]) -> NDArray[np.int32]:
        if grid == 32:
            return np.asarray((point * 32 // sides + 0.5) * sides / 32, np.int32)
        return np.asarray(np.minimum(sides - 1, np.round(point * 1000 / sides) * sides // 1000), np.int32)

    return {**action, "position": snap(action["position"]), "end": snap(action["end"])}


def solve(world: GuiWorld, grid: int = 32) -> dict[str, Any]:
    while True:
        action = on_grid(world.expert().actions[0], world, grid)
        assert world.action_space.contains(action)
        _, terminated, truncated, info = world.advance(action)
        if terminated or truncated:
            return info


@EVERY
@pytest.mark.parametrize("split", ["train", "heldout"])
@pytest.mark.parametrize("grid", [32, 1000])
def test_experts(task_id: str, split: Split, grid: int) -> None:
    world = TASKS[task_id](split)
    for seed in range(10):
        world.reset(seed=seed)
        assert solve(world, grid)["success"], seed


@EVERY
@pytest.mark.parametrize("size", [(224, 224), (640, 480), (1280, 800), (128, 400), (1280, 128)])
def test_experts_on_other_screens(task_id: str, size: tuple[int, int]) -> None:
    world = TASKS[task_id]("heldout", size=size)
    for seed in range(4):
        world.reset(seed=seed)
        assert solve(world)["success"], seed


@EVERY
def test_experts_recover_from_what_others_did(task_id: str) -> None:
    """From any state of a running episode, unless a wrong login is already on its way to the server."""
    world = TASKS[task_id]()
    world.horizon = 40  # type: ignore[misc]
    rng = np.random.default_rng(0)
    done = 0
    for seed in range(30):
        world.reset(seed=seed)
        for _ in range(6):
            x, y, x2, y2 = (int(v) for v in rng.integers(0, 128, 4))
            kind = ("click", "drag", "scroll", "type", "key", "double_click")[int(rng.integers(6))]
            text = ("tab", "abc", "backspace", "x")[int(rng.integers(4))]
            if not world.over:
                world.advance(screen_action(kind, x, y, x2, y2, int(rng.integers(-3, 4)), text))  # type: ignore[arg-type]
        if not world.over and not any(name == "server" for _, name, _ in world.desk.timers):
            done += 1
            assert solve(world)["success"], seed
    assert done > 5


@EVERY
def test_targets_are_wider_than_two_bins(task_id: str) -> None:
    """What an expert clicks on 128 × 128 pixels spans more than two 4 px bins each way."""
    for seed in range(40):
        world = begun(TASKS[task_id], seed, "train" if seed % 2 else "heldout")
        while not world.over:
            action = world.expert().actions[0]
            if action["kind"] == 1:
                spot = world.desk.hit(*action["position"])
                assert spot is not None
                shown = spot.rect.clip(spot.clip)
                assert shown.width > 8 and shown.height > 8, (seed, spot.widget.name, shown)
            world.advance(action)


@EVERY
@pytest.mark.parametrize("size", [(128, 128), (640, 480)])
def test_everything_fits(task_id: str, size: tuple[int, int]) -> None:
    """No widget reaches out of its window, no two of one window overlap, no caption is cut."""
    for seed in range(60):
        world = begun(TASKS[task_id], seed, "train" if seed % 2 else "heldout", size)
        for name in ("popup",):
            if name in world.desk.windows and not world.desk.is_open(name):
                world.desk.open(name)
        for window in world.desk.windows.values():
            _, *spots = world.desk.placed(window)
            spots = [s for s in spots if s.widget.parent is window]
            for i, spot in enumerate(spots):
                assert window.rect.inset(1).covers(spot.rect), (seed, spot.widget.name)
                for line in spot.widget.captions(spot.rect):
                    run = line.run(spot.rect)
                    assert run is not None and run.text == line.text, (seed, line.text)
                assert not any(spot.rect.meets(other.rect) for other in spots[:i]), (seed, spot.widget.name)


# --- what a task pays, and how it ends


@EVERY
def test_rewards_add_up(task_id: str) -> None:
    """With success at the last step the sum is 1 + Φ(end) - Φ(start) = 2: one for the task, one for the way."""
    for seed in range(5):
        world = TASKS[task_id]()
        _, info = world.reset(seed=seed)
        assert info["progress"] == 0 and not any(info["subgoals"].values())
        total = 0.0
        while not world.over:
            _, reward, terminated, truncated, info = world.step(world.expert().actions[0])
            assert reward == sum(info["terms"].values()) and set(info["terms"]) == {"task", "subgoal"}
            assert sum(value != 0 for value in info["terms"].values()) <= 1
            total += reward
        assert terminated and not truncated and info["outcome"] is Outcome.SUCCESS
        assert total == pytest.approx(2.0) and info["progress"] == 1


@EVERY
def test_doing_nothing_is_truncated_and_done_too_early_fails(task_id: str) -> None:
    world = TASKS[task_id]()
    world.reset(seed=1)
    for _ in range(world.horizon):
        reward, terminated, truncated, info = act(world, "noop")
        assert reward == 0 and not terminated
    assert truncated and info["outcome"] is Outcome.TRUNCATED and not info["success"]
    with pytest.raises(WorldError, match="reset"):
        act(world, "noop")
    world.reset(seed=1)
    _, terminated, _, info = act(world, "done")
    assert terminated and info["outcome"] is Outcome.FAILURE


# --- words


def words(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z]+|[^\sA-Za-z]", re.sub(r'"[^"]*"', '""', text)))


def test_heldout_paraphrases_are_new_sentences_of_known_words() -> None:
    known: set[str] = set()
    for module in MODULES:
        known |= words(" ".join(module.PHRASES["train"]))
    trained = {re.sub(r"{.*?}", "{}", phrase) for module in MODULES for phrase in module.PHRASES["train"]}
    for module in MODULES:
        heldout = {re.sub(r"{.*?}", "{}", phrase) for phrase in module.PHRASES["heldout"]}
        assert not trained & heldout, "nor is it another task's: one policy learns them all"
        assert len(module.PHRASES["train"]) >= 4
        for phrase in module.PHRASES["heldout"]:
            assert words(phrase) <= known, phrase


@EVERY
def test_instructions_quote_what_is_literal(task_id: str) -> None:
    for seed in range(50):
        text = begun(TASKS[task_id], seed, "train" if seed % 2 else "heldout").task.instruction
        quoted = re.findall(r'"([^"]*)"', text)
        assert bool(quoted) == (task_id not in NOTHING_LITERAL)
        assert all(re.fullmatch(r"[A-Za-z0-9 ]{1,8}", literal) for literal in quoted)
        assert re.fullmatch(r"[A-Za-z0-9 ,.:]+", re.sub(r'"[^"]*"', "", text))


# --- gymnasium, seeds, snapshots


@EVERY
def test_gymnasium(task_id: str) -> None:
    env = gym.make(task_id, split="heldout", size=(160, 144))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert observation["frames"]["screen"].shape == (144, 160, 3)


@EVERY
def test_any_member_of_the_action_space_is_taken(task_id: str) -> None:
    world = TASKS[task_id]()
    world.action_space.seed(0)
    for seed in range(20):
        world.reset(seed=seed)
        while not world.over:
            observation, *_ = world.step(world.action_space.sample())
            assert world.observation_space.contains(observation)


def test_bad_arguments_name_the_mend() -> None:
    with pytest.raises(WorldError, match="128"):
        click_button.ClickButton(size=(64, 64))
    with pytest.raises(WorldError, match="heldout"):
        click_button.ClickButton(split="test")  # type: ignore[arg-type]
    world = click_button.ClickButton()
    with pytest.raises(WorldError, match="reset"):
        world.snapshot()
    world.reset(seed=0)
    with pytest.raises(WorldError, match="size"):
        click_button.ClickButton(size=(160, 160)).restore(world.snapshot())


def digest(values: Iterator[bytes]) -> str:
    total = hashlib.sha256()
    for value in values:
        total.update(value)
    return total.hexdigest()


def follow(world: GuiWorld, seed: int, steps: int = 6) -> Iterator[bytes]:
    """Everything that can be seen of a world while it is acted on."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        if world.over:
            return
        x, y = int(rng.integers(world.width)), int(rng.integers(world.height))
        roll = rng.random()
        action = world.expert().actions[0] if roll < 0.5 else screen_action("click", x, y)
        if roll > 0.8:
            action = screen_action("scroll", x, y, scroll=2)
        observation, reward, terminated, truncated, info = world.step(action)
        yield observation["frames"]["screen"].tobytes() + observation["time"].tobytes()
        yield repr((reward, terminated, truncated, info, world.state_key())).encode()
        yield world.privileged().tobytes() + repr(world.scene()).encode()


SCRIPT = """
import json, sys
sys.path[:0] = {path!r}
from gui_env import TASKS
import test_gui_tasks as t
found = []
for state, seed in json.load(sys.stdin):
    world = TASKS[state["task_id"]](state["split"], size=tuple(state["size"]))
    first = world.restore(state)["frames"]["screen"].tobytes()
    found.append([t.digest(iter([first])), t.digest(t.follow(world, seed))])
print(json.dumps(found))
"""


def test_snapshots_go_on_in_another_process() -> None:
    states, expected = [], []
    for cls in TASKS.values():
        for seed, size in enumerate([(128, 128), (128, 128), (200, 160)]):
            world = begun(cls, seed, "train" if seed else "heldout", size)
            for _ in range(seed):
                world.advance(world.expert().actions[0] if world.horizon > 5 else screen_action("wait"))
            state = world.snapshot()
            states.append((json.loads(json.dumps(state)), seed))
            here = digest(iter([world.observe()["frames"]["screen"].tobytes()]))
            ahead = digest(follow(world, seed))
            expected.append([here, ahead])
            # In the same world, after it has gone on, and in one that was elsewhere.
            for other in (world, begun(cls, 99, world.split, size)):
                other.restore(state)
                assert other.snapshot() == state
                assert digest(follow(other, seed)) == ahead
    script = SCRIPT.format(path=[str(ROOT), str(ROOT / "tests")])
    run = subprocess.run([sys.executable, "-c", script], input=json.dumps(states), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == expected


@EVERY
def test_same_seed_same_episode(task_id: str) -> None:
    for seed in range(3):
        a, b = begun(TASKS[task_id], seed), begun(TASKS[task_id], seed)
        assert a.task == b.task and digest(follow(a, seed)) == digest(follow(b, seed))
    first, second = begun(TASKS[task_id], 0), begun(TASKS[task_id], 1)
    assert not np.array_equal(first.render(), second.render())


@EVERY
def test_state_key_is_blind_to_clock_and_pointer(task_id: str) -> None:
    world = begun(TASKS[task_id], 2)
    before = world.state_key()
    act(world, "wait")
    assert world.state_key() == before
    act(world, "scroll", x=1, y=1)
    assert world.state_key() == before
    world.restore(world.snapshot())
    assert world.state_key() == before
    if not world.over:
        world.advance(world.expert().actions[0])
        assert world.state_key() != before


@EVERY
def test_privileged_state_has_a_fixed_layout(task_id: str) -> None:
    for seed in range(8):
        world = begun(TASKS[task_id], seed)
        while True:
            vector = world.privileged()
            assert vector.dtype == np.float32 and vector.shape == (len(world.privileged_layout()),)
            assert np.isfinite(vector).all() and np.abs(vector).max() <= 2
            if world.over:
                break
            world.advance(world.expert().actions[0])
        assert tuple(g.name for g in world.goals) == world.goal_names
