"""The harness of ``make bench-peers``: its arithmetic, its files, its conversation. No peer is needed."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gui_env
from benchmarks.peers import harness
from benchmarks.peers.__main__ import COMPARISONS, Comparison, UnknownComparison, chosen, compare
from benchmarks.peers.harness import PeerFailed, Round, Running, Side, result, write
from benchmarks.peers.ours_gui_steps import Options as GuiOptions
from benchmarks.peers.ours_gui_steps import stepping
from benchmarks.peers.scene import SIDE, box, frame
from benchmarks.peers.stepping import Stepping
from episode import screen_action
from training import worlds

WORKER = """
import sys
from benchmarks.peers.meter import Meter

ticks = iter(range(1000))
meter = Meter(cpu=lambda: float(sys.argv[1]) * next(ticks))  # every round takes argv[1] seconds
print("a library talks")
meter.ready(("numpy",), prompt=7, extra=sys.argv[2:])
meter.serve(lambda: 12)
"""


def about(**setting: Any) -> dict[str, Any]:
    return {"setting": setting, "versions": {"torch": "1"}}


def side(folder: Path, monkeypatch: pytest.MonkeyPatch, *args: str, program: str = WORKER) -> Side:
    (folder / "bench_worker.py").write_text(program)
    # The children get the project's root as their path; a module beside it is found through the current folder.
    monkeypatch.setattr(harness, "ROOT", folder)
    link = folder / "benchmarks"
    if not link.exists():
        link.symlink_to(Path(__file__).resolve().parent.parent / "benchmarks")
    return Side("worker", Path(sys.executable), "bench_worker", args)


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    # ours 10, 10, 12 a second against 5, 2, 4: ratios 2, 5, 3.
    rounds = [(Round(20, 2), Round(5, 1)), (Round(10, 1), Round(4, 2)), (Round(12, 1), Round(4, 1))]
    found = result("x", "turns", rounds, (about(prompt=3), about(prompt=4)))
    assert (found.ours, found.peer, found.ratio, found.spread, found.rounds) == (10, 4, 3, (2, 5), 3)
    assert found.setting == {"ours": {"prompt": 3}, "peer": {"prompt": 4}}


def test_steps_of_the_environment_are_compared_as_seconds_are() -> None:
    # Learned after 100 steps against 400, then 200 against 400: ratios 4, 2.
    rounds = [(Round(1, 9, 100), Round(1, 3, 400)), (Round(1, 9, 200), Round(1, 3, 400))]
    found = result("x-steps", "learned", rounds, (about(), about()), "step")
    assert (found.ours, found.peer, found.ratio, found.spread) == (0.0075, 0.0025, 3, (2, 4))
    assert found.clock == "step"


def test_a_red_button_is_one_click_hit_or_miss() -> None:
    from benchmarks.peers.red_button import RedButton

    world = RedButton()
    gui_env.TASKS.pop(RedButton.task_id, None)  # other tests go over all tasks
    for seed in range(20):
        world.reset(seed=seed)
        advice = world.expert().actions[0]
        x, y = ((int(place) + 64) % 128 for place in advice["position"])
        missed = screen_action("click", x, y)
        for action, hit in ((advice, True), (missed, False)):
            world.reset(seed=seed)
            _, _, terminated, truncated, info = world.step(action)
            assert (terminated or truncated) and info["success"] is hit


def test_one_json_file_a_comparison(tmp_path: Path) -> None:
    found = result("x", "turns", [(Round(20, 2), Round(5, 1))], (about(), about()))
    path = write(tmp_path / "deep", found)
    assert path.name == "x.json"
    said = json.loads(path.read_text())
    assert said["ratio"] == 2 and said["spread"] == [2, 2] and said["versions"]["peer"] == {"torch": "1"}
    assert said["commit"] == harness.commit() != ""


def test_both_sides_take_turns_and_ours_takes_the_peers_lengths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, ours = side(tmp_path, monkeypatch, "4"), side(tmp_path, monkeypatch, "2")
    monkeypatch.setattr("benchmarks.peers.__main__.WORK", tmp_path)
    found = list(compare("c", Comparison("turns", peer, {"c": ours}, lengths=("prompt",)), rounds=2))
    assert [f.rounds for f in found] == [1, 2]
    # 12 in 2 seconds against 12 in 4.
    assert (found[-1].ours, found[-1].peer, found[-1].ratio) == (6, 3, 2)
    assert found[-1].setting["ours"]["extra"] == ["--prompt=7"]
    assert found[-1].versions["ours"]["numpy"] == np.__version__
    assert "a library talks" in (tmp_path / "c-peer.log").read_text()


@pytest.mark.parametrize("program", ["import sys; sys.exit('no such package')", WORKER + "\nBROKEN"])
def test_a_side_that_dies_is_told_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    dying = side(tmp_path, monkeypatch, "1", program=program.replace("meter.serve(lambda: 12)", "raise SystemExit"))
    with pytest.raises(PeerFailed, match=r"log\.txt"), Running(dying, tmp_path / "log.txt") as running:
        running.round()


def test_a_comparison_that_there_is_none_of_names_the_nearest() -> None:
    assert chosen(()) == list(COMPARISONS)
    with pytest.raises(UnknownComparison, match="trl-4-turns"):
        chosen(("trl-4-turn",))


def test_every_side_that_runs_a_model_is_told_which() -> None:
    for name, comparison in COMPARISONS.items():
        for one in (comparison.peer, *comparison.ours.values()):
            without = name.startswith(("miniwob", "sb3"))
            assert ("--model" in one.args) != without, f"{name}: {one.module}"


def test_every_click_changes_the_frame() -> None:
    plain, clicked = frame(3), frame(3, [(10, 10)])
    assert plain.shape == (SIDE, SIDE, 3) and plain.dtype == np.uint8
    assert not np.array_equal(plain, clicked) and np.array_equal(plain, frame(3))
    x, y = box(3)
    assert (plain[y : y + 32, x : x + 32] == (220, 40, 40)).all()


class ThreeSteps:
    """Episodes of three steps."""

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def reset(self, seed: int) -> None:
        self.seeds.append(seed)
        self.left = 3

    def step(self, action: int) -> tuple[None, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return None, 0.0, self.left == 0, False, {}


def test_episodes_follow_each_other_until_the_round_is_over() -> None:
    env = ThreeSteps()
    steps = Stepping(env, lambda: 0, seconds=8, clock=iter(range(100)).__next__)
    # The round starts at 0 and ends at 8; the clock is read before each step: 1 to 7.
    assert steps.round() == 7
    # Resets: at the start, after the third step and after the sixth.
    assert env.seeds == [0, 1, 2] and steps.episode == round(7 / 3, 1)
    # What was left of the third episode is given up.
    assert steps.round() == 7 and env.seeds == [0, 1, 2, 3, 4, 5]


def test_ours_clicks_and_draws_a_screen_of_the_asked_size() -> None:
    steps = stepping(GuiOptions(seconds=1.0))
    done = steps.round()
    assert done == steps.steps > 0 and 1 <= steps.episode <= steps.env.horizon
    assert steps.env.observe()["frames"]["screen"].shape == (224, 224, 3) and steps.env.split == "train"
    assert steps.act()["kind"] == screen_action("click")["kind"]


@pytest.mark.parametrize("context", ["all", "default", "shipped"])
def test_ours_is_as_long_as_the_peer_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: Any) -> None:
    from benchmarks.peers import model
    from benchmarks.peers.ours_grpo import TASK, ClickBox, Options, trainer

    monkeypatch.setitem(worlds.TASKS, TASK, ClickBox)  # gone after the test: other tests list what there is
    model.write(tmp_path)
    growth = 110 if context == "all" else 80
    options = Options(tmp_path, prompt=160, reply=3, growth=growth, turns=2, groups=1, group_size=2, context=context)
    step, setting = trainer(options)
    # One trained turn a reply, or `step` raises.
    assert step() == 4
    first, second = setting["prompts"]
    assert first == (102 if context == "shipped" else 160)
    # The last action is told in 80 - 64 - 4 tokens, after " last "; a conversation grows as the peer's does.
    assert second - first == {"all": 110, "default": 6 + 12, "shipped": 6 + 12}[context]
