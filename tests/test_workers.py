"""Worlds in a worker process: whatever they do, each episode is played whole or counted as lost."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from gymnasium.spaces import Box

from episode import (
    Advice,
    Body,
    Keyed,
    Outcome,
    Privileged,
    Rewindable,
    Screen,
    Scripted,
    Staged,
    Trajectory,
    WorldError,
)
from policy.tiny import SMALLEST, build_tiny
from tests.faulty_worlds import Faulty, plant
from tests.test_rollout import Expert, Wanderer, story
from training import checks, worlds
from training.config import PRESETS, Config
from training.curriculum import plan
from training.loop import train
from training.metrics import step_metrics, whole_groups
from training.pool import WorkerPool, WorldFailed, WorldPool
from training.rewards import RewardWeights
from training.rollout import MAX_LOST, BrokenWorld, EpisodeSpec, collect
from training.worker import WorkerFailed

FAULTS = {0: "raise", 1: "hang", 2: "kill", 3: "exit", 4: "nan", 5: "frame", 6: "unsendable"}
"""Seed to what happens once to one of its two episodes."""
LIMIT = 5.0
"""Seconds: far more than a strip needs, also on a busy machine."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAULTY_FOLDER", str(made))
        patch.setenv("WANDB_MODE", "disabled")
        yield made


@pytest.fixture(scope="module")
def pool(folder: Path) -> Iterator[WorkerPool]:
    with WorkerPool(LIMIT, ["tests.faulty_worlds"]) as made:
        yield made


@pytest.fixture(autouse=True)
def calm(folder: Path) -> Iterator[None]:
    yield
    for file in folder.iterdir():
        file.unlink()


def specs(groups: int, size: int, first: int = 0) -> list[EpisodeSpec]:
    return [
        EpisodeSpec(Faulty.task_id, seed=first + g, episode=g * size + m, group=g)
        for g in range(groups)
        for m in range(size)
    ]


def whole(trajectories: list[Trajectory]) -> list[Any]:
    return [(story(t), t.episode, t.group, sorted(t.frames), t.final_frames) for t in trajectories]


def test_whatever_breaks_is_played_again_and_nothing_else_changes(folder: Path, pool: WorkerPool) -> None:
    calm = collect(Wanderer(), specs(8, 2), run_seed=3)
    assert whole(collect(Wanderer(), specs(8, 2), run_seed=3, pool=pool)) == whole(calm)
    spent, memory = pool.usage()
    assert spent > 0 and memory > 2**20
    for seed, kind in FAULTS.items():
        plant(folder, seed, kind)
    # Batches of five: some episodes live when another kills the worker, others have ended or not begun.
    played = collect(Wanderer(), specs(8, 2), batch=5, run_seed=3, pool=pool)
    assert not list(folder.iterdir())
    assert whole(played) == whole(calm)
    again = [t for t in played if t.attempts > 1]
    assert [t.task.seed for t in again] == list(FAULTS) and {t.attempts for t in again} == {2}
    said = [
        "RuntimeError: the strip snapped",
        f"it hung: no answer within {LIMIT:g} s",
        "its process was killed by SIGKILL",
        "its process ended (3)",
        "the reward term 'task' is nan",
        f"camera 'screen' gave float32 {[32, 32, 3]} instead of a frame, uint8 [32, 32, 3]",
        "it returned what no other process can read",
    ]
    for trajectory, words in zip(again, said, strict=True):
        assert trajectory.error.startswith(f"begun again after gui/faulty-v0 seed {trajectory.task.seed} train: ")
        assert words in trajectory.error
    assert pool.usage()[0] > spent


def test_what_keeps_killing_its_worker_is_lost_with_its_group_and_no_other(folder: Path, pool: WorkerPool) -> None:
    plant(folder, 1, "kill", times=3)
    played = collect(Expert(), specs(3, 2), pool=pool)
    kept, dropped = whole_groups(played)
    assert [t.outcome for t in played if t.group != 1] == [Outcome.SUCCESS] * 4 and len(kept) == 4
    assert {t.outcome for t in dropped} == {Outcome.INFRA_ERROR} and all("SIGKILL" in t.error for t in dropped)
    figures = step_metrics(kept, dropped, RewardWeights(task=1.0))
    assert (figures["episodes"], figures["infra/dropped"], figures["groups/broken"]) == (4, 2, 1)
    assert all(t.attempts == 1 for t in kept), "what was played again for the fault of others is no retry of its own"


def test_an_expert_that_fails_is_a_world_that_fails(folder: Path, pool: WorkerPool) -> None:
    plant(folder, 0, "expert")
    calm, first = collect(Expert(), specs(2, 1, first=5)), collect(Expert(), specs(2, 1), pool=pool)
    assert all(t.success for t in calm) and [t.attempts for t in first] == [2, 1] and all(t.success for t in first)
    assert "the expert is at a loss" in first[0].error


def test_a_worker_that_died_between_two_turns_is_nobodys_fault(folder: Path, pool: WorkerPool) -> None:
    class Assassin(Expert):
        left = 2

        def act(self, requests: Any) -> Any:
            turns = super().act(requests)
            if Assassin.left:
                Assassin.left -= 1
                [worker] = [p for p in psutil.Process().children() if "training.host" in " ".join(p.cmdline())]
                worker.kill()
                worker.wait()
            return turns

    played = collect(Assassin(), specs(2, 2), pool=pool)
    assert all(t.success and t.attempts == 1 and not t.error for t in played)


def test_seats_tell_what_worlds_are(pool: WorkerPool) -> None:
    for own in (pool, WorldPool()):
        seat = own.take("sims/reach-v0", "train")
        assert all(isinstance(seat, kind) for kind in (Rewindable, Keyed, Privileged, Scripted, Staged))
        assert isinstance(seat.embodiment, Body) and seat.action_space.shape == (4,)
        layout = seat.privileged_layout()  # type: ignore[attr-defined]
        assert layout[:1] == ("tip_x",)
        own.give(seat)
        with pytest.raises(WorldFailed, match="no task 'gui/fauly-v0'") as caught:
            own.take("gui/fauly-v0", "train")
        # Ranks send their errors home: the words arrive, the seat does not.
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_worker_that_cannot_import_says_so() -> None:
    with (
        WorkerPool(LIMIT, ["no_such_module"]) as broken,
        pytest.raises(WorkerFailed, match="--import no_such_module: ModuleNotFoundError"),
    ):
        broken.take("gui/faulty-v0", "train")


def test_a_hanging_worker_does_not_outlive_its_rank(folder: Path) -> None:
    plant(folder, 0, "hang")
    program = (
        "from episode import screen_action; from training.pool import WorkerPool\n"
        "pool = WorkerPool(600, ['tests.faulty_worlds']); seat, *_ = pool.begin('gui/faulty-v0', 'train', 0, False)\n"
        "pool.turns([(seat, [screen_action('click', x=1)] * 2)])\n"
    )
    rank = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": os.getcwd()})
    deadline = time.monotonic() + 120
    try:
        while list(folder.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        [worker] = psutil.Process(rank.pid).children()
        os.kill(rank.pid, signal.SIGKILL)
        worker.wait(timeout=60)
    finally:
        rank.kill()
        rank.wait()


# --- a clear end


def test_a_world_that_always_breaks_ends_the_rollout(folder: Path) -> None:
    for seed in range(10):
        plant(folder, seed, "raise", times=9)
    pool = WorldPool()
    with pytest.raises(BrokenWorld, match=r"gui/faulty-v0 is broken: 6 of its groups in a row .* the strip snapped"):
        collect(Expert(), specs(10, 2), batch=4, pool=pool)
    assert pool.lost[Faulty.task_id] == MAX_LOST
    for file in folder.glob("9-*"):
        file.unlink()
    fresh = WorldPool()
    collect(Expert(), [*specs(5, 1), *specs(1, 1, first=9)], batch=1, pool=fresh)  # the last one can be played
    assert fresh.lost[Faulty.task_id] == 0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("model")
    build_tiny(made, ["go to the left edge", "click the button", "move the hand"], seed=0, shape=SMALLEST)
    return made


def debug(model: Path, **changes: Any) -> Config:
    reward = {"task": 1.0, "subgoal": 1.0, "length": -0.01}
    return dataclasses.replace(
        PRESETS["debug"], policy=str(model), reward=reward, ranks=1, steps=1, eval_episodes=0, **changes
    )


def test_a_run_whose_world_is_broken_ends_and_says_so(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Faulty, action: Any) -> Any:
        raise RuntimeError("the strip snapped")

    monkeypatch.setattr(Faulty, "advance", broken)
    config = debug(model, tasks=Faulty.task_id, world_timeout=0)
    with pytest.raises(BrokenWorld, match=r"no episode of step 1 could be played; .* the strip snapped"):
        train(config, tmp_path / "run")
    with pytest.raises(BrokenWorld, match=r"no held-out episode of gui/faulty-v0 .* the strip snapped"):
        train(dataclasses.replace(config, eval_episodes=1), tmp_path / "other")
    monkeypatch.setitem(worlds.TASKS, "gui/only-here-v0", Faulty)
    with pytest.raises(BrokenWorld, match=r"no task 'gui/only-here-v0'.* named by --import and no others"):
        train(debug(model, tasks="gui/only-here-v0"), tmp_path / "third")


def test_a_run_is_the_same_with_and_without_a_worker(model: Path, tmp_path: Path) -> None:
    for name, limit in (("within", 0.0), ("beside", 60.0)):
        summary = train(debug(model, world_timeout=limit), tmp_path / name)
        assert summary["infra"] == {"retried": 0, "dropped": 0, "unevaluated": 0}
    within, beside = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("within", "beside"))
    assert within == beside and b'"infra/retried": 0' in within


def test_a_run_counts_what_broke(model: Path, folder: Path, tmp_path: Path) -> None:
    config = debug(model, tasks=Faulty.task_id, imports=("tests.faulty_worlds",))
    once, always = sorted({spec.seed for spec in plan(config, [Faulty.task_id], 0)})
    plant(folder, once, "kill")
    plant(folder, always, "raise", times=9)
    summary = train(config, tmp_path / "run")
    [line] = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert (line["episodes"], line["infra/dropped"], line["groups/broken"]) == (2, 2, 1)
    assert summary["infra"] == {"retried": line["infra/retried"], "dropped": 2, "unevaluated": 0}
    # Killed once; of the other two episodes one broke three times, and its sibling up to twice before it.
    assert 1 + 2 <= line["infra/retried"] <= 1 + 2 + 1


# --- garbage

GOOD = {
    "frames": {"screen": np.zeros((4, 6, 3), np.uint8)},
    "instruction": "go",
    "time": np.zeros(1, np.float32),
}
ARM = GOOD | {"frames": {"top": np.zeros((4, 4, 3), np.uint8)}, "proprio": np.zeros(5, np.float32)}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (None, "an observation is a dict, not NoneType"),
        ({"frames": {}}, "lacks instruction, time"),
        (GOOD | {"instruction": 3}, "the instruction is int, not text"),
        (GOOD | {"instruction": "go \ud800"}, "the instruction cannot be written as UTF-8"),
        (GOOD | {"time": np.array([np.inf], np.float32)}, "the time is not finite"),
        (GOOD | {"time": 0.5}, "the time is float, not a vector of floats"),
        (GOOD | {"frames": {"top": GOOD["frames"]}}, "the cameras are screen, but the frames top"),
        (GOOD | {"frames": {"screen": np.zeros((6, 4, 3), np.uint8)}}, r"gave uint8 \[6, 4, 3\] .* uint8 \[4, 6, 3\]"),
        (GOOD | {"frames": {"screen": [[0]]}}, "camera 'screen' gave list"),
    ],
)
def test_garbage_is_named(wrong: Any, says: str) -> None:
    with pytest.raises(WorldError, match=says):
        checks.observation(wrong, Screen(6, 4), None)
    assert set(checks.observation(GOOD | {"more": object()}, Screen(6, 4), None)) == set(GOOD)


def test_garbage_of_a_body_is_named() -> None:
    body = Body((0, 0, 0), (1, 1, 1), cameras=("top",))
    before = checks.observation(ARM, body, None)
    with pytest.raises(WorldError, match="lacks proprio"):
        checks.observation({k: v for k, v in ARM.items() if k != "proprio"}, body, None)
    with pytest.raises(WorldError, match="the body's state is not finite"):
        checks.observation(ARM | {"proprio": np.array([0, np.nan], np.float32)}, body, before)
    with pytest.raises(WorldError, match="the body's state has 3 entries, at least 4 are read"):
        checks.observation(ARM | {"proprio": np.zeros(3, np.float32)}, body, before)
    with pytest.raises(WorldError, match="the body's state is not finite in float32"):
        checks.observation(ARM | {"proprio": np.full(5, 1e308)}, body, before)
    with pytest.raises(WorldError, match=r"gave uint8 \[5, 4, 3\] .* uint8 \[4, 4, 3\]"):
        checks.observation(ARM | {"frames": {"top": np.zeros((5, 4, 3), np.uint8)}}, body, before)


MOVES = Box(-1.0, 1.0, (4,), np.float32)


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (lambda: checks.subgoals({}), "info lacks 'subgoals': it has nothing"),
        (lambda: checks.subgoals({"subgoals": {"a": "yes"}}), "names to True or False"),
        (lambda: checks.task({"task": "x"}), "is str, not an episode.Task"),
        (lambda: checks.progress({"progress": None}), "the progress is NoneType, not a number"),
        (lambda: checks.terms({"terms": {"task": np.float32("inf")}}), "the reward term 'task' is inf"),
        (lambda: checks.outcome({"outcome": None}), "ends as success, failure, truncated, not as None"),
        (lambda: checks.outcome({"outcome": "infra_error"}), "not as 'infra_error'"),
        (lambda: checks.flag(None, "terminated"), "terminated is True or False, not None"),
        (lambda: checks.state_key([1]), "a state key can be hashed; list cannot"),
        (lambda: checks.privileged(np.zeros(3, np.float32), 4), r"has shape \[3\], its layout 4 names"),
        (lambda: checks.advice(None, MOVES), "an expert gives an episode.Advice"),
        (lambda: checks.advice(Advice(({"kind": 1},)), MOVES), "actions of the world's action_space, not {'kind': 1}"),
        (lambda: checks.advice(Advice((np.full(4, np.nan, np.float32),)), MOVES), "action_space, not array.*nan"),
        (lambda: checks.task([]), "info is a dict, not list"),
    ],
)
def test_garbage_beside_the_observation_is_named(check: Callable[[], Any], says: str) -> None:
    with pytest.raises(WorldError, match=says):
        check()


def test_an_expert_may_move_in_any_float_type() -> None:
    told = Advice((np.full(4, 0.5, np.float64),))
    assert checks.advice(told, MOVES) is told
