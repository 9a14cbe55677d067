"""What the conformance test shares with the helper process that it starts: making worlds, playing them, hashing them.

Run as ``python -m tests.conformance JOB RESULT`` it is that other process: it plays the same seeds and restores the
snapshots of the job, and writes what it saw.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import gymnasium as gym
import numpy as np

from episode import (
    Action,
    Body,
    Described,
    Keyed,
    Privileged,
    Rewindable,
    Scripted,
    Split,
    Staged,
    State,
    Task,
    chunk_of,
    progress,
    screen_action,
    stream,
)
from policy.codecs import Codec
from training import worlds

HELDOUT_SEEDS = 1_000_000


class World(worlds.World, Rewindable, Keyed, Privileged, Scripted, Described, Staged, Protocol):
    """A world with every capability, as all of ours are."""

    action_space: gym.Space[Any]


def task_ids() -> list[str]:
    """Every registered task, those of the modules named in HANDEYE_IMPORT included."""
    worlds.import_modules(filter(None, os.environ.get("HANDEYE_IMPORT", "").split(",")))
    return list(worlds.all_tasks())


def make(task_id: str, split: Split = "train", **options: Any) -> World:
    return cast(World, worlds.make(task_id, split, **options))


def episode_seed(index: int, split: Split) -> int:
    return index + (HELDOUT_SEEDS if split == "heldout" else 0)


# --- hashing and carrying trees


def digest(tree: Any) -> str:
    """Equal for equal types, shapes and bits; for observations, infos, scenes, snapshots."""
    hasher = hashlib.blake2b(digest_size=12)
    for part in _parts(tree):
        hasher.update(part)
    return hasher.hexdigest()


def _parts(tree: Any) -> Iterator[bytes]:
    if isinstance(tree, np.ndarray | np.generic):
        array = np.asarray(tree)
        yield f"{array.dtype}{array.shape}".encode()
        yield np.ascontiguousarray(array).tobytes()
    elif isinstance(tree, Mapping):
        for key in sorted(tree):
            yield repr(key).encode()
            yield from _parts(tree[key])
    elif isinstance(tree, list | tuple):
        yield f"{len(tree)}[".encode()
        for item in tree:
            yield from _parts(item)
    elif is_dataclass(tree):
        for item in fields(tree):
            yield item.name.encode()
            yield from _parts(getattr(tree, item.name))
    else:
        yield f"{type(tree).__name__}:{tree!r}".encode()


def to_json(tree: Any) -> Any:
    """A tree of arrays and JSON scalars as plain JSON; anything else in a snapshot is an error."""
    if isinstance(tree, np.ndarray):
        text = base64.b64encode(np.ascontiguousarray(tree).tobytes()).decode()
        return {"__array__": text, "dtype": str(tree.dtype), "shape": list(tree.shape)}
    if isinstance(tree, dict):
        assert all(isinstance(key, str) for key in tree), f"keys of a snapshot must be text: {list(tree)}"
        return {key: to_json(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [to_json(item) for item in tree]
    assert tree is None or type(tree) in (bool, int, float, str), f"{type(tree)} in a snapshot: {tree!r}"
    return tree


def from_json(tree: Any) -> Any:
    if isinstance(tree, dict) and "__array__" in tree:
        flat = np.frombuffer(base64.b64decode(tree["__array__"]), tree["dtype"])
        return flat.reshape(tree["shape"]).copy()
    if isinstance(tree, dict):
        return {key: from_json(value) for key, value in tree.items()}
    return [from_json(item) for item in tree] if isinstance(tree, list) else tree


# --- playing


def mixed_actions(world: World, seed: int, decisions: int) -> Iterator[Action]:
    """Half an expert, half at random: deep into the task, and off the path."""
    rng = stream(seed, "conformance")
    world.action_space.seed(seed)
    for _ in range(decisions):
        if rng.random() < 0.6:
            yield from world.expert().actions
        else:
            yield world.action_space.sample()


def trace(world: World, seed: int, decisions: int) -> list[str]:
    """A digest of everything that can be seen or asked after each step, until the episode ends."""
    seen = []
    for action in mixed_actions(world, seed, decisions):
        observation, reward, terminated, truncated, info = world.step(action)
        shown = [observation, float(reward), terminated, truncated, info]
        asked = [repr(world.state_key()), world.privileged(), world.scene()]
        seen.append(f"{digest(shown)} {digest(asked)}")
        if terminated or truncated:
            break
    return seen


def play(world: World, seed: int, split: Split, decisions: int) -> list[str]:
    observation, info = world.reset(seed=episode_seed(seed, split))
    return [digest([observation, info]), *trace(world, seed, decisions)]


def underway(world: World, seed: int, split: Split) -> None:
    """Bring ``world`` to the middle of an episode: as many of two decisions as do not end it."""
    for decisions in (2, 1, 0):
        world.reset(seed=episode_seed(seed, split))
        for action in mixed_actions(world, seed, decisions):
            _, terminated, truncated, _ = world.advance(action)
            if terminated or truncated:
                break
        else:
            return


@dataclass(frozen=True)
class Account:
    """What one whole episode paid and how it ended."""

    success: bool
    paid: float
    """Sum of ``subgoal`` terms and of ``task - 1`` on success."""
    gained: float
    """Φ at the end minus Φ after the reset."""


def run_native(world: World, seed: int, split: Split, policy: str) -> Account:
    """One episode of ``noop`` or ``random`` native actions, no frame drawn but the first."""
    _, info = world.reset(seed=episode_seed(seed, split))
    world.action_space.seed(seed)
    start = float(info["progress"])
    paid = 0.0
    task: Task = info["task"]
    while True:
        action = idle_action(world) if policy == "noop" else world.action_space.sample()
        reward, terminated, truncated, info = world.advance(action)
        paid += account_step(task, reward, info)
        if terminated or truncated:
            return Account(bool(info["success"]), paid, float(info["progress"]) - start)


def account_step(task: Task, reward: float, info: Mapping[str, Any]) -> float:
    """Progress that one step paid, after checking the step's own books."""
    terms = info["terms"]
    assert set(terms) == {"task", "subgoal"}
    assert np.isclose(reward, sum(terms.values())), f"reward {reward} is not the sum of {terms}"
    assert terms["task"] == 0 or terms["subgoal"] == 0, f"more than one branch paid: {terms}"
    assert (terms["task"] != 0) <= info["success"], f"the task's reward without success: {terms}"
    assert np.isclose(info["progress"], progress(task.subgoals, info["subgoals"]))
    return float(terms["task"] - 1 if info["success"] else terms["subgoal"])


def idle_action(world: World) -> Action:
    body = world.embodiment
    return chunk_of(body, (0, 0, 0), 1.0)[0] if isinstance(body, Body) else screen_action("noop")


def run_expert(world: World, seed: int, split: Split, codec: Codec, thought: bool) -> Account:
    """One episode of the expert, every decision written and read again by a codec."""
    _, info = world.reset(seed=episode_seed(seed, split))
    start, paid, grip = float(info["progress"]), 0.0, 1.0
    task: Task = info["task"]
    while True:
        text = codec.format(world.expert(), world.embodiment, thought)
        reply = codec.parse(text, world.embodiment, grip=grip)
        assert reply.valid, f"{codec.name} cannot read what it wrote: {text!r}: {reply.error}"
        for action in reply.actions:
            reward, terminated, truncated, info = world.advance(action)
            paid += account_step(task, reward, info)
            if terminated or truncated:
                return Account(bool(info["success"]), paid, float(info["progress"]) - start)
        if isinstance(world.embodiment, Body):
            grip = float(reply.actions[-1][3])


# --- the other process


@dataclass(frozen=True)
class Job:
    """What both processes do with one task and split."""

    task_id: str
    split: Split
    seed: int
    decisions: int
    state: State | None = None


def play_job(job: Job) -> dict[str, list[str]]:
    """The episode from its seed, and the continuation of the job's snapshot, each in a fresh world."""
    world = make(job.task_id, job.split)
    seen = {"episode": play(world, job.seed, job.split, job.decisions)}
    world.close()
    if job.state is not None:
        world = make(job.task_id, job.split)
        seen["restored"] = [digest(world.restore(job.state)), *trace(world, job.seed + 1, job.decisions)]
        world.close()
    return seen


def write_jobs(path: Path, jobs: Sequence[Job]) -> None:
    rows = [
        [job.task_id, job.split, job.seed, job.decisions, None if job.state is None else to_json(job.state)]
        for job in jobs
    ]
    path.write_text(json.dumps(rows))


def main(job_file: str, result_file: str) -> None:
    task_ids()
    rows = json.loads(Path(job_file).read_text())
    results = [
        play_job(Job(task_id, split, seed, decisions, from_json(state)))
        for task_id, split, seed, decisions, state in rows
    ]
    Path(result_file).write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
