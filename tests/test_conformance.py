"""Every registered task, held to what a world promises. A new task gets all of this for free.

Modules named in the environment variable HANDEYE_IMPORT (with commas) are imported first: their tasks are found too.
"""

import json
import os
import re
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from episode import Body, Outcome, Screen, Split, Task
from perception.views import Fit, Letterbox, Pad, Resize
from policy.codecs import CODECS, Codec
from policy.codecs.placed import Placed
from tests.conformance import (
    Job,
    World,
    account_step,
    digest,
    episode_seed,
    from_json,
    make,
    mixed_actions,
    play,
    play_job,
    run_expert,
    run_native,
    task_ids,
    to_json,
    trace,
    underway,
    write_jobs,
)
from training import worlds
from training.evaluate import wilson

ROOT = Path(__file__).resolve().parent.parent
TASKS = task_ids()
SPLITS: tuple[Split, ...] = ("train", "heldout")
SIZES = ((128, 128), (256, 192), (640, 480), (1280, 800))
COMPACT, QWEN = CODECS["compact"], CODECS["qwen"]
ON_SCREENS: dict[str, tuple[Codec, tuple[tuple[int, int], ...]]] = {
    "compact": (COMPACT, SIZES),
    "compact-resized": (Placed(COMPACT, Resize(128, 128)), ((256, 192), (640, 480))),
    "qwen": (QWEN, SIZES),
    "qwen-letterboxed": (Placed(QWEN, Letterbox(512, 512)), ((640, 480), (1280, 800))),
    "qwen-fitted": (Placed(QWEN, Fit(32, 640 * 640)), ((250, 190), (1280, 800))),
    "qwen-padded": (Placed(QWEN, Pad(32)), ((250, 190),)),
}
"""Codecs, bare and behind views, and the sizes of screens at which the expert must meet its bar through them."""
ON_BODIES: dict[str, tuple[Codec, tuple[tuple[int, int], ...]]] = {
    name: (codec, ((96, 96),)) for name, codec in CODECS.items()
}
DECISIONS = 8


def is_screen(task_id: str) -> bool:
    return isinstance(make(task_id).embodiment, Screen)


def expert_cases() -> list[Any]:
    """Task, codec, size of its frames."""
    return [
        pytest.param(task_id, codec, size, id=f"{task_id}-{name}-{size[0]}x{size[1]}")
        for task_id in TASKS
        for name, (codec, sizes) in (ON_SCREENS if is_screen(task_id) else ON_BODIES).items()
        for size in sizes
    ]


def sized(task_id: str, split: Split, size: tuple[int, int]) -> World:
    return make(task_id, split, **({"size": size} if is_screen(task_id) else {"image_size": size}))


# --- gymnasium, spaces, observations


@pytest.mark.parametrize("task_id", TASKS)
def test_gymnasium_checker_is_content(task_id: str, recwarn: pytest.WarningsRecorder) -> None:
    env = gym.make(task_id).unwrapped
    assert type(env) is worlds.all_tasks()[task_id]
    check_env(env)
    env.close()
    # Actions are pixels and metres, not -1..1, and time has no upper end: these two recommendations do not apply.
    wanted = ("recommend using a symmetric and normalized space", "maximum value is infinity")
    said = [str(w.message) for w in recwarn if "WARN" in str(w.message)]
    assert not [text for text in said if not any(part in text for part in wanted)]


@pytest.mark.parametrize("task_id", TASKS)
def test_observation_holds_what_the_contract_names_and_nothing_else(task_id: str) -> None:
    world = make(task_id)
    body = world.embodiment
    observation, info = world.reset(seed=3)
    task: Task = info["task"]
    assert set(info) == {"task", "subgoals", "progress"}
    assert task.id == task_id and task.seed == 3 and task.split == "train"
    assert observation["instruction"] == task.instruction
    for action in mixed_actions(world, 3, 4):
        observation, _, terminated, truncated, info = world.step(action)
        assert set(info) == {"terms", "subgoals", "progress", "outcome", "success"}
        assert set(info["subgoals"]) == {s.name for s in task.subgoals}
        assert (info["outcome"] is not None) == (terminated or truncated)
        cameras = body.cameras if isinstance(body, Body) else ("screen",)
        proprio = {"proprio"} if isinstance(body, Body) else set()
        assert set(observation) == {"frames", "instruction", "time"} | proprio
        assert set(observation["frames"]) == set(cameras)
        assert observation["time"].shape == (1,)
        for frame in observation["frames"].values():
            assert frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3
            assert frame.max() - frame.min() > 40, "a frame that shows nothing"
        assert len(world.privileged()) == len(world.privileged_layout())
        hash(world.state_key())
        if terminated or truncated:
            break
    world.close()


@pytest.mark.parametrize("task_id", TASKS)
def test_looking_changes_nothing(task_id: str) -> None:
    """Drawing, and every question that a world answers, leaves the whole of its state as it was."""
    world = make(task_id)
    world.reset(seed=5)
    for action in mixed_actions(world, 5, 3):
        _, terminated, truncated, _ = world.advance(action)
        before = digest(to_json(world.snapshot()))
        for look in (world.observe, world.state_key, world.privileged, world.scene, world.expert):
            look()
            assert digest(to_json(world.snapshot())) == before, f"{look.__name__}() changed the world"
        if terminated or truncated:
            break
    world.close()


@pytest.mark.parametrize("task_id", TASKS)
def test_step_is_advance_then_observe(task_id: str) -> None:
    stepped, advanced = make(task_id), make(task_id)
    stepped.reset(seed=7)
    advanced.reset(seed=7)
    for action in mixed_actions(stepped, 7, 2):
        observation, *rest = stepped.step(action)
        assert digest(rest) == digest(list(advanced.advance(action)))
        assert digest(observation) == digest(advanced.observe())
        if rest[1] or rest[2]:
            break
    stepped.close()
    advanced.close()


@pytest.mark.parametrize("task_id", TASKS)
def test_other_sizes(task_id: str) -> None:
    if is_screen(task_id):
        for width, height in SIZES:
            world = make(task_id, size=(width, height))
            assert world.reset(seed=1)[0]["frames"]["screen"].shape == (height, width, 3)
            world.close()
    else:
        world = make(task_id, image_size=(160, 128), cameras=("front", "wrist"))
        frames = world.reset(seed=1)[0]["frames"]
        assert {name: f.shape for name, f in frames.items()} == {"front": (128, 160, 3), "wrist": (128, 160, 3)}
        world.close()


# --- one seed, one episode; snapshots; another process


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, Split], tuple[Job, dict[str, list[str]]]]:
    """What one other process saw of every task: played from the seed, and restored from a snapshot made here."""
    folder = tmp_path_factory.mktemp("conformance")
    jobs = []
    for task_id in TASKS:
        for split in SPLITS:
            world = make(task_id, split)
            underway(world, 11, split)
            jobs.append(Job(task_id, split, 11, DECISIONS, from_json(to_json(world.snapshot()))))
            world.close()
    write_jobs(folder / "jobs.json", jobs)
    command = [sys.executable, "-m", "tests.conformance", str(folder / "jobs.json"), str(folder / "seen.json")]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    seen = json.loads((folder / "seen.json").read_text())
    return {(job.task_id, job.split): (job, result) for job, result in zip(jobs, seen, strict=True)}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task_id", TASKS)
def test_same_seed_same_episode_in_another_process(task_id: str, split: Split, elsewhere: Any) -> None:
    job, seen = elsewhere[task_id, split]
    here = play_job(job)
    assert here["episode"] == seen["episode"], "the same seed gave another episode in another process"
    assert here["restored"] == seen["restored"], "a restored snapshot went on differently in another process"


@pytest.mark.parametrize("task_id", TASKS)
def test_snapshot_continues_bit_for_bit(task_id: str) -> None:
    world = make(task_id)
    underway(world, 13, "train")
    state = world.snapshot()
    assert "version" in state
    kept = digest(to_json(state))
    observed = digest(world.observe())
    onward = trace(world, 14, DECISIONS)
    assert digest(to_json(state)) == kept, "the snapshot changed while the world went on"

    assert digest(world.restore(state)) == observed
    assert trace(world, 14, DECISIONS) == onward, "restored into the world it came from"

    play(world, 99, "train", 3)
    assert digest(world.restore(state)) == observed
    assert digest(to_json(world.snapshot())) == kept, "snapshot, restore, snapshot is not the identity"
    assert trace(world, 14, DECISIONS) == onward, "restored over another episode"
    world.close()


@pytest.mark.parametrize("task_id", TASKS)
def test_seeds_and_splits_differ(task_id: str) -> None:
    worlds = {split: make(task_id, split) for split in SPLITS}
    starts = {digest(worlds[split].reset(seed=seed)[0]) for split in SPLITS for seed in (1, 2, 3)}
    assert len(starts) == 6


# --- pools


def literals(instruction: str) -> list[str]:
    return re.findall(r'"([^"]*)"', instruction)


def words(instruction: str) -> set[str]:
    return set(re.findall(r"[a-z]+", re.sub(r'"[^"]*"', " ", instruction).lower()))


@pytest.mark.parametrize("task_id", TASKS)
def test_train_and_heldout_pools_are_disjoint(task_id: str) -> None:
    """As far as the instructions show: whole wordings and quoted words; and no held-out word outside the vocabulary."""
    n = 150 if is_screen(task_id) else 60
    said: dict[Split, list[str]] = {}
    for split in SPLITS:
        world = make(task_id, split)
        said[split] = [world.reset(seed=episode_seed(i, split))[1]["task"].instruction for i in range(n)]
        world.close()
    train, heldout = (set(said[split]) for split in SPLITS)
    assert not train & heldout
    assert len(train) > 5
    phrasings = [{re.sub(r'"[^"]*"', '""', text) for text in group} for group in (train, heldout)]
    assert not phrasings[0] & phrasings[1], "a held-out instruction is phrased like one in training"
    quoted = [{word for text in group for word in literals(text)} for group in (train, heldout)]
    assert not quoted[0] & quoted[1], "a word on the held-out screens was also trained on"
    vocabulary = set().union(*map(words, train))
    unknown = set().union(*map(words, heldout)) - vocabulary
    assert not unknown, f"held-out instructions use words that the train split never says: {sorted(unknown)}"
    for text in quoted[0] | quoted[1]:
        assert re.fullmatch(r"[a-zA-Z0-9 ]{1,10}", text), f"a quoted literal must be plain and short: {text!r}"


# --- floors, rewards, experts


def check_floor(task_id: str, policy: str, n: int) -> None:
    outcomes = []
    for split in SPLITS:
        world = make(task_id, split)
        for seed in range(n // 2):
            account = run_native(world, 100 + seed, split, policy)
            assert np.isclose(account.paid, account.gained), "progress rewards do not add up to the progress made"
            outcomes.append(account.success)
        world.close()
        low, high = world.floors[policy]
    observed = wilson(sum(outcomes), len(outcomes))
    assert 0 <= low <= high <= 1
    assert observed[0] <= high and low <= observed[1], (
        f"{policy} succeeded in {sum(outcomes)} of {len(outcomes)}, recorded is {low}..{high}"
    )


@pytest.mark.parametrize("policy", ["noop", "random"])
@pytest.mark.parametrize("task_id", TASKS)
def test_floor_is_as_recorded(task_id: str, policy: str) -> None:
    check_floor(task_id, policy, 20 if is_screen(task_id) else 4)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["noop", "random"])
@pytest.mark.parametrize("task_id", TASKS)
def test_floor_is_as_recorded_over_200_seeds(task_id: str, policy: str) -> None:
    check_floor(task_id, policy, 200)


@pytest.mark.parametrize("task_id", TASKS)
def test_progress_adds_up_and_endings_are_named(task_id: str) -> None:
    """The expert, disturbed: sub-goals come and go, and what was paid is Φ at the end minus Φ at the start."""
    world = make(task_id)
    for seed in (21, 22):
        _, info = world.reset(seed=seed)
        task: Task = info["task"]
        start, paid = info["progress"], 0.0
        steps = count(1)
        for action in mixed_actions(world, seed, 10 * world.horizon):
            reward, terminated, truncated, info = world.advance(action)
            paid += account_step(task, reward, info)
            taken = next(steps)
            assert truncated <= (taken == world.horizon)
            if terminated or truncated:
                break
        assert np.isclose(paid, info["progress"] - start)
        assert not (terminated and truncated)
        assert terminated or truncated, "an episode must end at its horizon"
        assert terminated == (info["outcome"] in (Outcome.SUCCESS, Outcome.FAILURE))
        assert truncated == (info["outcome"] is Outcome.TRUNCATED)
        assert info["success"] == (info["outcome"] is Outcome.SUCCESS)
    world.close()


@pytest.mark.parametrize("task_id", TASKS)
def test_the_experts_way_never_costs_progress(task_id: str) -> None:
    """What a sub-goal takes back on the right way is paid to whoever does not go it: a policy learned to stay put."""
    world = make(task_id)
    for seed in range(6):
        _, info = world.reset(seed=seed)
        over = False
        while not over:
            before = info["subgoals"]
            for action in world.expert().actions:
                _, terminated, truncated, info = world.advance(action)
                over = terminated or truncated
                if over:
                    break
            lost = [name for name, held in before.items() if held and not info["subgoals"][name]]
            assert not lost, f"seed {seed}: the expert's decision loses {lost}"
    world.close()


def expert_successes(world: World, seeds: range, split: Split, codec: Codec) -> int:
    total = 0
    for seed in seeds:
        account = run_expert(world, seed, split, codec, thought=seed % 2 == 0)
        assert np.isclose(account.paid, account.gained)
        total += account.success
    return total


@pytest.mark.parametrize(("task_id", "codec", "size"), expert_cases())
def test_expert_meets_its_bar_through_the_codec(task_id: str, codec: Codec, size: tuple[int, int]) -> None:
    """Ten seeds cannot measure a bar of .98; they can refuse one: the interval must reach it."""
    successes = 0
    for split in SPLITS:
        world = sized(task_id, split, size)
        successes += expert_successes(world, range(5), split, codec)
        world.close()
    assert wilson(successes, 10)[1] >= world.expert_bar, f"{successes} of 10"


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("task_id", "codec", "size"), expert_cases())
def test_expert_over_200_seeds(task_id: str, codec: Codec, size: tuple[int, int], split: Split) -> None:
    world = sized(task_id, split, size)
    assert world.expert_bar >= (0.98 if is_screen(task_id) else 0.95)
    successes = expert_successes(world, range(200), split, codec)
    world.close()
    assert successes / 200 >= world.expert_bar, f"{successes} of 200"
