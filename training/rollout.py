"""Rollout: many worlds at once, one batched policy.

All live episodes decode in one batch; when one ends, the next takes its place. Order is logical, never by arrival, and
every draw is keyed by run, episode and decision, so that the same seed gives the same episodes in any process.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from episode import (
    ControlStep,
    Decision,
    Keyed,
    Observation,
    Outcome,
    Privileged,
    Rewindable,
    Split,
    Staged,
    State,
    Task,
    Trajectory,
    WorldError,
    frame_key,
)
from policy.agent import Agent, Request, Turn
from training.rewards import RewardWeights, score
from training.worlds import WorldPool

ATTEMPTS = 3
"""How often an episode is begun before it counts as an ``infra_error``."""
MAX_DECISIONS = 1000
"""A world that never ends an episode is broken."""


@dataclass(frozen=True, slots=True)
class EpisodeSpec:
    """Which episode to play."""

    task_id: str
    seed: int
    split: Split = "train"
    episode: int = 0
    """Number of the episode in its run; with the run's seed it keys every draw."""
    group: int = 0
    """Episodes with the same number (and task and seed) start from one snapshot."""


@dataclass(slots=True)
class _Start:
    """Where a group's episodes begin."""

    state: State
    observation: Observation
    info: dict[str, Any]


@dataclass(slots=True)
class _Live:
    """An episode being played."""

    spec: EpisodeSpec
    world: Any
    observation: Observation
    trajectory: Trajectory
    embodiment: Any
    staged: bool
    info: dict[str, Any] = field(default_factory=dict)


def generation_seed(run_seed: int, episode: int, decision: int) -> int:
    """64 bits that key the draws of one decision."""
    digest = hashlib.blake2b(f"{run_seed}/{episode}/{decision}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def run_episodes(
    agent: Agent,
    specs: Sequence[EpisodeSpec],
    weights: RewardWeights,
    batch: int = 64,
    on_turn: Callable[[int, int], None] | None = None,
    *,
    run_seed: int = 0,
    pool: WorldPool | None = None,
) -> list[Trajectory]:
    """Play ``specs`` and score them (γ = 1); one trajectory each, in the order of ``specs``. See :func:`collect`."""
    trajectories = collect(agent, specs, batch=batch, on_turn=on_turn, run_seed=run_seed, pool=pool)
    for trajectory in trajectories:
        score(trajectory, weights)
    return trajectories


def collect(
    agent: Agent,
    specs: Sequence[EpisodeSpec],
    *,
    batch: int = 64,
    run_seed: int = 0,
    pool: WorldPool | None = None,
    on_turn: Callable[[int, int], None] | None = None,
) -> list[Trajectory]:
    """Play ``specs``; one trajectory each, in their order, not yet scored.

    A world that raises gets its episode played again from the start in a fresh world; after three attempts the
    trajectory's outcome is ``INFRA_ERROR``. Left out: a world that hangs inside one call hangs the rollout; worlds that
    may do so belong in a process of their own.

    Args:
        agent: answers the requests of all live episodes in one call.
        specs: what to play.
        batch: episodes alive at once.
        run_seed: keys the draws of the agent.
        pool: worlds to reuse; None makes them and closes them.
        on_turn: called after every turn of the batch with episodes ended and episodes in all.
    """
    own = WorldPool() if pool is None else pool
    players = _Players(own, specs)
    done: dict[int, Trajectory] = {}
    waiting = deque(range(len(specs)))
    live: dict[int, _Live] = {}
    try:
        while waiting or live:
            while waiting and len(live) < batch:
                index = waiting.popleft()
                _admit(players, index, live, done)
            order = sorted(live)
            turns = agent.act([_request(live[i], run_seed) for i in order])
            for index, turn in zip(order, turns, strict=True):
                episode = live[index]
                try:
                    ended = _play(episode, turn)
                except WorldError as error:
                    players.failed(index, error)
                    with suppress(Exception):  # it is broken already
                        live.pop(index).world.close()
                    _admit(players, index, live, done)
                    continue
                if ended:
                    own.give(episode.world, episode.spec.task_id, episode.spec.split)
                    done[index] = live.pop(index).trajectory
            if on_turn is not None:
                on_turn(len(done), len(specs))
    finally:
        if pool is None:
            own.close()
    return [done[i] for i in range(len(specs))]


class _Players:
    """Starts episodes: worlds from the pool, one snapshot a group, and a count of attempts."""

    def __init__(self, pool: WorldPool, specs: Sequence[EpisodeSpec]) -> None:
        self.pool = pool
        self.specs = specs
        self.attempts = [0] * len(specs)
        self.errors = [""] * len(specs)
        self.starts: dict[tuple[str, int, Split, int], _Start] = {}
        self.siblings: dict[tuple[str, int, Split, int], int] = {}
        for spec in specs:
            key = (spec.task_id, spec.seed, spec.split, spec.group)
            self.siblings[key] = self.siblings.get(key, 0) + 1

    def start(self, index: int) -> _Live:
        """Begin episode ``index``, from its group's snapshot where there is one."""
        spec = self.specs[index]
        self.attempts[index] += 1
        with _guarded(spec):
            world = self.pool.take(spec.task_id, spec.split)
            observation, info = self._begin(world, spec)
            _check(observation)
        task: Task = info["task"]
        trajectory = Trajectory(task, Outcome.TRUNCATED, [], {}, episode=spec.episode, group=spec.group)
        episode = _Live(spec, world, observation, trajectory, world.embodiment, isinstance(world, Staged), info)
        _keep_frames(episode)
        return episode

    def _begin(self, world: Any, spec: EpisodeSpec) -> tuple[Observation, dict[str, Any]]:
        key = (spec.task_id, spec.seed, spec.split, spec.group)
        start = self.starts.get(key)
        if start is not None:
            # A copy each: a world may continue to write into the state that it was given.
            return world.restore(deepcopy(start.state)), dict(start.info)
        observation, info = world.reset(seed=spec.seed)
        if self.siblings[key] > 1 and isinstance(world, Rewindable):
            self.starts[key] = _Start(world.snapshot(), observation, dict(info))
        return observation, info

    def failed(self, index: int, error: WorldError) -> None:
        self.errors[index] = str(error)

    def given_up(self, index: int) -> bool:
        return self.attempts[index] >= ATTEMPTS

    def infra_error(self, index: int) -> Trajectory:
        """The record of an episode that could not be played."""
        spec = self.specs[index]
        task = Task(spec.task_id, "", (), spec.seed, spec.split)
        return Trajectory(
            task, Outcome.INFRA_ERROR, [], {}, episode=spec.episode, group=spec.group, error=self.errors[index]
        )


def _admit(players: _Players, index: int, live: dict[int, _Live], done: dict[int, Trajectory]) -> None:
    """Make episode ``index`` live, or record that it cannot be played."""
    while not players.given_up(index):
        try:
            live[index] = players.start(index)
            return
        except WorldError as error:
            players.failed(index, error)
    done[index] = players.infra_error(index)


@contextmanager
def _guarded(spec: EpisodeSpec) -> Iterator[None]:
    """Whatever a world raises is a WorldError that says which episode it was."""
    try:
        yield
    except Exception as error:
        raise WorldError(f"{spec.task_id} seed {spec.seed} {spec.split}: {type(error).__name__}: {error}") from error


def _request(episode: _Live, run_seed: int) -> Request:
    trajectory = episode.trajectory
    return Request(
        observation=episode.observation,
        embodiment=episode.embodiment,
        history=trajectory.decisions,
        frames=trajectory.frames,
        seed=generation_seed(run_seed, trajectory.episode, len(trajectory.decisions)),
        world=episode.world,
    )


def _keep_frames(episode: _Live) -> dict[str, str]:
    """Store the current frames, each distinct one once; camera name to key."""
    keys = {}
    for camera, frame in episode.observation["frames"].items():
        keys[camera] = key = frame_key(frame)
        if key not in episode.trajectory.frames:
            # A copy: a world may draw its next frame into the same memory.
            episode.trajectory.frames[key] = frame.copy()
    return keys


def _play(episode: _Live, turn: Turn) -> bool:
    """Carry out one turn and record it; whether the episode has ended."""
    trajectory, reply, world = episode.trajectory, turn.reply, episode.world
    trajectory.frames.update(turn.frames)
    trajectory.frames.update(turn.frames)
    with _guarded(episode.spec):
        decision = Decision(
            frames=_keep_frames(episode),
            generations=turn.generations,
            action=reply.action,
            thought=reply.thought,
            valid=reply.valid,
            error=reply.error,
            steps=[],
            planned=len(reply.actions),
            subgoals={},
            state_key=world.state_key() if isinstance(world, Keyed) else None,
            privileged=world.privileged().copy() if isinstance(world, Privileged) else None,
        )
        ended, info = _execute(episode, decision, reply.actions)
    decision.subgoals = dict(info["subgoals"])
    trajectory.decisions.append(decision)
    if not ended and len(trajectory.decisions) >= MAX_DECISIONS:
        raise WorldError(f"{episode.spec.task_id} did not end within {MAX_DECISIONS} decisions")
    trajectory.final_frames = _keep_frames(episode)
    if ended:
        trajectory.outcome = Outcome(info["outcome"])
    return ended


def _check(observation: Observation) -> None:
    """A simulation that blew up says so only by its numbers."""
    for camera, frame in observation["frames"].items():
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or not frame.size:
            shown = f"{frame.dtype} {list(frame.shape)}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise WorldError(f"camera {camera!r} gave {shown} instead of a frame, uint8 [H, W, 3]")
    if "proprio" in observation and not np.isfinite(observation["proprio"]).all():
        raise WorldError(f"the body's state is not finite: {observation['proprio']}")


def _execute(episode: _Live, decision: Decision, actions: Sequence[Any]) -> tuple[bool, dict[str, Any]]:
    """Take the native actions until they or the episode end; frames are drawn once, after the last."""
    world, before = episode.world, float(episode.observation["time"][0])
    ended, info = False, episode.info
    for action in actions:
        if episode.staged:
            _, terminated, truncated, info = world.advance(action)
        else:
            episode.observation, _, terminated, truncated, info = world.step(action)
        terms, held = {str(k): float(v) for k, v in info["terms"].items()}, float(info["progress"])
        for name, value in (*terms.items(), ("progress", held)):
            if not np.isfinite(value):
                raise WorldError(f"the reward term {name!r} is {value}")
        decision.steps.append(ControlStep(action, terms, held, 0.0))
        ended = terminated or truncated
        if ended:
            break
    if episode.staged:
        episode.observation = world.observe()
    _check(episode.observation)
    after = float(episode.observation["time"][0])
    for j, step in enumerate(decision.steps):
        # The clock is read with the frames; control steps are equally long.
        step.time = before + (after - before) * (j + 1) / len(decision.steps)
    return ended, info
