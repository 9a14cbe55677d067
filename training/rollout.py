"""Rollout: many worlds at once, one batched policy.

All live episodes decode in one batch; when one ends, the next takes its place. Order is logical, never by arrival, and
every draw is keyed by run, episode and decision, so that the same seed gives the same episodes in any process.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

from episode import (
    ControlStep,
    Decision,
    HandeyeError,
    Outcome,
    Split,
    State,
    Task,
    Trajectory,
    frame_key,
)
from policy.agent import Agent, Request, Turn
from training.host import Moment
from training.pool import Seat, WorldFailed, WorldPool
from training.rewards import RewardWeights, score

ATTEMPTS = 3
"""How often an episode's own world may break before the episode counts as an ``infra_error``."""
MAX_BEGUN = 100
"""How often an episode is begun at all, also where others took its worker with them."""
MAX_LOST = 6
"""Groups of one task in a row that could not be played, after which its world is simply broken."""
MAX_DECISIONS = 1000
"""A world that never ends an episode is broken."""


class BrokenWorld(HandeyeError):
    """Episodes of a task cannot be played at all."""


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
class _Live:
    """An episode being played."""

    spec: EpisodeSpec
    seat: Seat
    moment: Moment
    subgoals: dict[str, bool]
    """Held now."""
    trajectory: Trajectory


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

    A world that raises, returns garbage, or (in a ``WorkerPool``) hangs or dies gets its episode played again from the
    start in a fresh world. When that has happened three times the trajectory's outcome is ``INFRA_ERROR``, and so is
    that of whatever of its group was not yet played: the group cannot be compared any more.

    Args:
        agent: answers the requests of all live episodes in one call.
        specs: what to play.
        batch: episodes alive at once.
        run_seed: keys the draws of the agent.
        pool: worlds to reuse; None makes them in this process and closes them.
        on_turn: called after every turn of the batch with episodes ended and episodes in all.

    Raises:
        BrokenWorld: group after group of one task could not be played.
    """
    own = WorldPool() if pool is None else pool
    players = _Players(own, specs)
    try:
        while len(players.done) < len(specs):
            players.admit(batch)
            order = sorted(players.live)
            if not order:
                continue
            try:
                turns = agent.act([_request(players.live[i], run_seed) for i in order])
            except WorldFailed as error:  # a scripted agent asks the world itself
                players.broke(players.index_of(error.seat), error)
                continue
            asked = [(players.live[i].seat, turn.reply.actions) for i, turn in zip(order, turns, strict=True)]
            for index, turn, moment in zip(order, turns, own.turns(asked), strict=True):
                if index in players.live:  # else it went with its group
                    players.record(index, turn, moment)
            if on_turn is not None:
                on_turn(len(players.done), len(specs))
    finally:
        if pool is None:
            own.close()
    return [players.done[i] for i in range(len(specs))]


Group = tuple[str, int, Split, int]


class _Players:
    """Who waits, who plays and who is done; each episode is always one of the three."""

    def __init__(self, pool: WorldPool, specs: Sequence[EpisodeSpec]) -> None:
        self.pool = pool
        self.specs = specs
        self.waiting = deque(range(len(specs)))
        self.live: dict[int, _Live] = {}
        self.done: dict[int, Trajectory] = {}
        self.begun = [0] * len(specs)
        self.failures = [0] * len(specs)
        self.errors = [""] * len(specs)
        self.starts: dict[Group, tuple[Task, Moment, State]] = {}
        self.groups: dict[Group, list[int]] = {}
        for index, spec in enumerate(specs):
            self.groups.setdefault(_group(spec), []).append(index)

    def admit(self, batch: int) -> None:
        """Make those who wait live, in their order, until ``batch`` are."""
        self._recall()
        while self.waiting and len(self.live) < batch:
            index = self.waiting.popleft()
            try:
                self.live[index] = self._begin(index)
            except WorldFailed as error:
                self.broke(index, error)
                self._recall()

    def _begin(self, index: int) -> _Live:
        """From its group's snapshot where there is one."""
        spec = self.specs[index]
        group = _group(spec)
        self.begun[index] += 1
        if group in self.starts:
            task, first, state = self.starts[group]
            # A copy each: a world may continue to write into the state that it was given.
            seat, moment = self.pool.begin_at(spec.task_id, spec.split, deepcopy(state))
            moment = replace(moment, subgoals=first.subgoals)
        else:
            keep = len(self.groups[group]) > 1
            seat, task, moment, kept = self.pool.begin(spec.task_id, spec.split, spec.seed, keep)
            if kept is not None:
                self.starts[group] = task, moment, kept
        trajectory = Trajectory(
            task,
            Outcome.TRUNCATED,
            [],
            {},
            episode=spec.episode,
            group=spec.group,
            error=f"begun again after {self.errors[index]}" if self.errors[index] else "",
            attempts=1 + self.failures[index],
        )
        episode = _Live(spec, seat, moment, moment.subgoals or {}, trajectory)
        _keep_frames(episode)
        return episode

    def record(self, index: int, turn: Turn, moment: Moment | WorldFailed) -> None:
        """Write down what a turn did; where it ended the episode, that is done."""
        episode = self.live[index]
        if isinstance(moment, WorldFailed):
            self.broke(index, moment)
            return
        _record(episode, turn, moment)
        if moment.outcome is not None:
            self.pool.lost[episode.spec.task_id] = 0
            self.done[index] = self.live.pop(index).trajectory
        elif len(episode.trajectory.decisions) >= MAX_DECISIONS:
            self.broke(index, WorldFailed(f"it did not end within {MAX_DECISIONS} decisions", episode.seat))

    def broke(self, index: int, error: WorldFailed) -> None:
        """An episode's world failed: it waits to be played again, before all others, or is given up."""
        spec = self.specs[index]
        self.live.pop(index, None)
        self.pool.drop(error.seat)
        if error.at_fault:
            self.failures[index] += 1
            self.errors[index] = f"{spec.task_id} seed {spec.seed} {spec.split}: {error}"
        if self.failures[index] < ATTEMPTS and self.begun[index] < MAX_BEGUN:
            self.waiting.appendleft(index)
        else:
            self._give_up(index, str(error))

    def index_of(self, seat: Seat) -> int:
        return next(index for index, episode in self.live.items() if episode.seat is seat)

    def _recall(self) -> None:
        """Those whose worlds are gone through no fault of theirs wait again, before all others."""
        gone = [index for index in sorted(self.live) if not self.live[index].seat.alive]
        for index in reversed(gone):
            del self.live[index]
            self.waiting.appendleft(index)

    def _give_up(self, index: int, error: str) -> None:
        """End an episode as an ``infra_error``, and with it what is not done of its group."""
        spec = self.specs[index]
        for member in self.groups[_group(spec)]:
            if member in self.done:
                continue
            if member in self.live:
                self.pool.drop(self.live.pop(member).seat)
            elif member in self.waiting:
                self.waiting.remove(member)
            reason = self.errors[index] or error
            self.done[member] = self._infra_error(
                member, reason if member == index else f"given up with its group: {reason}"
            )
        self.pool.lost[spec.task_id] += 1
        if self.pool.lost[spec.task_id] >= MAX_LOST:
            raise BrokenWorld(
                f"{spec.task_id} is broken: {MAX_LOST} of its groups in a row could not be played, each begun "
                f"{ATTEMPTS} times; the last error: {self.errors[index] or error}. Mend the world, or leave it out "
                "with --tasks"
            )

    def _infra_error(self, index: int, error: str) -> Trajectory:
        """The record of an episode that could not be played."""
        spec = self.specs[index]
        return Trajectory(
            Task(spec.task_id, "", (), spec.seed, spec.split),
            Outcome.INFRA_ERROR,
            [],
            {},
            episode=spec.episode,
            group=spec.group,
            error=error,
            attempts=max(1, self.failures[index]),
        )


def _group(spec: EpisodeSpec) -> Group:
    return spec.task_id, spec.seed, spec.split, spec.group


def _request(episode: _Live, run_seed: int) -> Request:
    trajectory = episode.trajectory
    return Request(
        observation=episode.moment.observation,
        embodiment=episode.seat.embodiment,
        history=trajectory.decisions,
        frames=trajectory.frames,
        seed=generation_seed(run_seed, trajectory.episode, len(trajectory.decisions)),
        world=episode.seat,
    )


def _keep_frames(episode: _Live) -> dict[str, str]:
    """Store the current frames, each distinct one once; camera name to key."""
    keys = {}
    for camera, frame in episode.moment.observation["frames"].items():
        keys[camera] = key = frame_key(frame)
        if key not in episode.trajectory.frames:
            # A copy: a world may draw its next frame into the same memory.
            episode.trajectory.frames[key] = frame.copy()
    return keys


def _record(episode: _Live, turn: Turn, after: Moment) -> None:
    """Write down one turn, which led from the episode's moment to the one ``after`` it."""
    trajectory, reply, before = episode.trajectory, turn.reply, episode.moment
    trajectory.frames.update(turn.frames)
    start, end = (float(moment.observation["time"][0]) for moment in (before, after))
    # The clock is read with the frames; control steps are equally long.
    steps = [
        ControlStep(reply.actions[j], terms, progress, start + (end - start) * (j + 1) / len(after.steps))
        for j, (terms, progress) in enumerate(after.steps)
    ]
    if after.subgoals is not None:
        episode.subgoals = after.subgoals
    decision = Decision(
        frames=_keep_frames(episode),
        generations=turn.generations,
        action=reply.action,
        thought=reply.thought,
        valid=reply.valid,
        error=reply.error,
        steps=steps,
        planned=len(reply.actions),
        subgoals=dict(episode.subgoals),
        state_key=before.state_key,
        privileged=before.privileged,
    )
    trajectory.decisions.append(decision)
    episode.moment = after
    trajectory.final_frames = _keep_frames(episode)
    if after.outcome is not None:
        trajectory.outcome = after.outcome
