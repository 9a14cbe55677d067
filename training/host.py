"""Worlds behind a desk: what a rollout asks of a world in one turn is one request, answered here.

A :class:`Host` lives in the rank's own process or, started by ``training.pool``, in a process of its own. Nothing
here may import torch, so that such a process is small and soon there.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episode import (
    Action,
    Described,
    Embodiment,
    HandeyeError,
    Keyed,
    Observation,
    Outcome,
    Privileged,
    Rewindable,
    Scripted,
    Split,
    Staged,
    State,
    Task,
    WorldError,
)
from training import checks, memory
from training.worlds import all_tasks, import_modules, make

FEW_THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LP_NUM_THREADS")}
"""What must be in the environment before a process of ours imports numpy, torch and GL."""
CAPABILITIES = (Rewindable, Keyed, Privileged, Scripted, Described, Staged)
Request = tuple[int, str, tuple[Any, ...]]
"""Number of the seat, what is asked of it (a key of :data:`REQUESTS`), and with which arguments."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a world is."""

    embodiment: Embodiment
    methods: tuple[str, ...]
    """Of the capabilities that it has."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A world between two decisions, all of it checked."""

    observation: Observation
    steps: tuple[tuple[dict[str, float], float], ...] = ()
    """Terms, and Φ afterwards, of each native action since the moment before."""
    subgoals: dict[str, bool] | None = None
    """Held now; None where no action was taken."""
    outcome: Outcome | None = None
    """None: the episode goes on."""
    state_key: Hashable | None = None
    """None where the world has none, or the episode has ended; the same for ``privileged``."""
    privileged: NDArray[np.float32] | None = None


@dataclass(slots=True)
class _Seat:
    """A world that plays an episode, and what is asked of it often."""

    world: Any
    kind: tuple[str, Split]
    embodiment: Embodiment
    staged: bool
    keyed: bool
    privileged: int | None
    """Entries of its privileged state; None where it has none."""
    observation: Observation | None = None
    """The last one."""


class Host:
    """Worlds by the number of their seat, and idle ones: making a renderer costs more than an episode's frames."""

    def __init__(self) -> None:
        self._seats: dict[int, _Seat] = {}
        self._idle: defaultdict[tuple[str, Split], list[Any]] = defaultdict(list)

    def take(self, number: int, task_id: str, split: Split) -> Facts:
        """Give a seat to an idle world of this task and split, or to a new one."""
        idle = self._idle[task_id, split]
        world = idle.pop() if idle else make(task_id, split)
        methods = [name for c in CAPABILITIES if isinstance(world, c) for name in vars(c) if not name.startswith("_")]
        size = len(world.privileged_layout()) if isinstance(world, Privileged) else None
        self._seats[number] = _Seat(
            world, (task_id, split), world.embodiment, isinstance(world, Staged), isinstance(world, Keyed), size
        )
        return Facts(world.embodiment, tuple(methods))

    def reset(
        self, number: int, task_id: str, split: Split, seed: int, keep: bool
    ) -> tuple[Facts, Task, Moment, State | None]:
        """Take a world and begin an episode; with ``keep`` also a snapshot of its start, where it can make one."""
        facts, seat = self.take(number, task_id, split), self._seats[number]
        observation, info = seat.world.reset(seed=seed)
        moment = _moment(seat, observation, subgoals=checks.subgoals(info))
        state = seat.world.snapshot() if keep and isinstance(seat.world, Rewindable) else None
        return facts, checks.task(info), moment, state

    def restore(self, number: int, task_id: str, split: Split, state: State) -> tuple[Facts, Moment]:
        """Take a world and begin an episode where another one began."""
        facts, seat = self.take(number, task_id, split), self._seats[number]
        return facts, _moment(seat, seat.world.restore(state))

    def turn(self, number: int, actions: Sequence[Action]) -> Moment:
        """Take native actions until they or the episode end; frames are drawn once, after the last.

        The world of an episode that has ended is idle again.
        """
        seat = self._seats[number]
        steps, info, ended, observation = [], None, False, seat.observation
        for action in actions:
            if seat.staged:
                _, terminated, truncated, info = seat.world.advance(action)
            else:
                observation, _, terminated, truncated, info = seat.world.step(action)
            steps.append((checks.terms(info), checks.progress(info)))
            ended = checks.flag(terminated, "terminated") | checks.flag(truncated, "truncated")
            if ended:
                break
        moment = _moment(
            seat,
            seat.world.observe() if seat.staged else observation,
            steps=tuple(steps),
            subgoals=checks.subgoals(info) if steps else None,
            outcome=checks.outcome(info) if ended else None,
        )
        if ended:
            self.give(number)
        return moment

    def ask(self, number: int, name: str, *args: Any) -> Any:
        """An attribute of the world, or what a method of it returns."""
        world = self._seats[number].world
        found = getattr(world, name)
        if name == "expert":
            return checks.advice(found(), world.action_space)
        return found(*args) if callable(found) else found

    def give(self, number: int) -> None:
        """Keep a world in good health for another episode."""
        seat = self._seats.pop(number)
        self._idle[seat.kind].append(seat.world)

    def drop(self, number: int) -> None:
        """Close a world that broke, and forget it."""
        seat = self._seats.pop(number, None)
        if seat is not None:
            with suppress(Exception):  # it is broken already
                seat.world.close()

    def usage(self, number: int) -> tuple[float, int]:
        """CPU seconds of this process so far, and the most memory that it held, in bytes."""
        return time.process_time(), memory.peak()

    def close(self) -> None:
        for world in [*(s.world for s in self._seats.values()), *(w for idle in self._idle.values() for w in idle)]:
            with suppress(Exception):  # the others want to be closed too
                world.close()
        self._seats.clear()
        self._idle.clear()


REQUESTS: dict[str, Callable[..., Any]] = {
    "take": Host.take,
    "reset": Host.reset,
    "restore": Host.restore,
    "turn": Host.turn,
    "ask": Host.ask,
    "give": Host.give,
    "drop": Host.drop,
    "usage": Host.usage,
}


def _moment(seat: _Seat, observation: Any, *, outcome: Outcome | None = None, **rest: Any) -> Moment:
    seen = checks.observation(observation, seat.embodiment, seat.observation)
    seat.observation = seen
    if outcome is not None:
        return Moment(seen, outcome=outcome, **rest)
    world, size = seat.world, seat.privileged
    key = checks.state_key(world.state_key()) if seat.keyed else None
    vector = None if size is None else checks.privileged(world.privileged(), size)
    return Moment(seen, state_key=key, privileged=vector, **rest)


def answer(host: Host, request: Request) -> tuple[bool, Any]:
    """Whether it went well, and what came of it: whatever a world raises is told in words."""
    number, what, args = request
    try:
        return True, REQUESTS[what](host, number, *args)
    except Exception as error:
        return False, told(error)


def told(error: Exception) -> str:
    return str(error) if isinstance(error, WorldError) else f"{type(error).__name__}: {error}"


# --- as a process of its own


def serve(descriptor: int, imports: Sequence[str]) -> None:
    """Answer lists of requests that come through a pipe, one message an answer, until the other end is closed.

    The first message says that the process is ready, or why it never will be.
    """
    faulthandler.enable()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    pipe = Connection(descriptor)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # nobody listens any more
        try:
            import_modules(imports)
        except HandeyeError as error:
            pipe.send((False, str(error)))
            return
        all_tasks()  # imports every world now, while nobody holds a watch
        pipe.send((True, None))
        host = Host()
        while True:
            for request in pipe.recv():
                pipe.send_bytes(_packed(answer(host, request)))


def _packed(result: tuple[bool, Any]) -> bytes:
    try:
        return pickle.dumps(result, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        return pickle.dumps((False, f"it returned what no other process can read ({told(error)})"))


def _end_with_parent() -> None:
    """Standard input ends when the rank has died, by whatever hand; a world may be hanging then."""
    os.read(0, 1)
    os._exit(1)
