"""Pools of worlds: in this process, or in a worker process that may hang or die without taking the rank with it.

One worker hosts all worlds of a rank. It answers a list of requests, one message an answer, in their order; so the
first request without an answer is the one that hung or killed it. Then the worker is replaced, and with it every world
is gone: what was played in them is played again from its start (``training.rollout``).
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from multiprocessing import Pipe
from typing import Any, Self

from episode import Action, Embodiment, HandeyeError, Split, State, Task, WorldError
from training.host import FEW_THREADS, Facts, Host, Moment, Request, answer

START_LIMIT = 300.0
"""Seconds that a worker may take to import everything."""
CLOSE_LIMIT = 2.0
"""Seconds that it may take to end when it is told to."""


Asked = tuple["Seat", str, tuple[Any, ...]]
"""A world, what is asked of it (a key of ``training.host.REQUESTS``), and with which arguments."""


class WorkerFailed(HandeyeError):
    """A worker process cannot even be started."""


class WorldFailed(WorldError):
    """A world did not do what was asked of it."""

    def __init__(self, text: str, seat: Seat, at_fault: bool = True) -> None:
        super().__init__(text)
        self.seat = seat
        self.at_fault = at_fault
        """False where it was lost with its worker, through another's fault or nobody's."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Between processes the words count: a seat is of no use elsewhere.
        return WorldError, (str(self),)


class Seat:
    """A world of a pool, wherever it lives: what it is, its capabilities' methods, and what a rollout asks of it.

    It has the methods of those protocols in ``episode`` that the world has, and no others, so that
    ``isinstance(seat, Scripted)`` says what it says of the world itself. They raise :class:`WorldFailed`.
    """

    def __init__(self, pool: WorldPool, number: int, task_id: str) -> None:
        self.pool, self.number, self.generation = pool, number, pool.generation
        self.task_id = task_id
        self.embodiment: Embodiment

    def know(self, facts: Facts) -> Self:
        self.embodiment = facts.embodiment
        for name in facts.methods:
            setattr(self, name, partial(self.request, "ask", name))
        return self

    @property
    def alive(self) -> bool:
        """Whether its world is still there."""
        return self.generation == self.pool.generation

    @property
    def action_space(self) -> Any:
        return self.request("ask", "action_space")

    def request(self, what: str, *args: Any) -> Any:
        [value] = self.pool.call([(self, what, args)])
        if isinstance(value, WorldFailed):
            raise value
        return value


class WorldPool:
    """Worlds in this process, kept warm between episodes. A context: they are closed at its end."""

    def __init__(self) -> None:
        self.generation = 0
        """Worlds of an earlier one are gone."""
        self.lost: Counter[str] = Counter()
        """Task to how many of its groups could not be played since the last episode that could."""
        self._numbers = count()
        self._host = Host()

    def take(self, task_id: str, split: Split) -> Seat:
        """An idle world of this task and split, or a new one.

        Raises:
            WorldFailed: it cannot be made.
        """
        seat = self._seat(task_id)
        return seat.know(seat.request("take", task_id, split))

    def begin(self, task_id: str, split: Split, seed: int, keep: bool) -> tuple[Seat, Task, Moment, State | None]:
        """Take a world and begin an episode; with ``keep`` also a snapshot of its start, where it can make one."""
        seat = self._seat(task_id)
        facts, task, moment, state = seat.request("reset", task_id, split, seed, keep)
        return seat.know(facts), task, moment, state

    def begin_at(self, task_id: str, split: Split, state: State) -> tuple[Seat, Moment]:
        """Take a world and begin an episode where another one began."""
        seat = self._seat(task_id)
        facts, moment = seat.request("restore", task_id, split, state)
        return seat.know(facts), moment

    def _seat(self, task_id: str) -> Seat:
        return Seat(self, next(self._numbers), task_id)

    def turns(self, asked: Sequence[tuple[Seat, Sequence[Action]]]) -> list[Moment | WorldFailed]:
        """One turn in each of these worlds, by native actions; a world whose episode has ended is idle again."""
        return self.call([(seat, "turn", (actions,)) for seat, actions in asked])

    def give(self, seat: Seat) -> None:
        """Keep a world in good health for another episode."""
        self.call([(seat, "give", ())])

    def drop(self, seat: Seat) -> None:
        """Close a world that broke, and forget it."""
        self.call([(seat, "drop", ())])

    def call(self, asked: Sequence[Asked]) -> list[Any]:
        """The answer, or a :class:`WorldFailed`, to each request, in their order."""
        results = []
        for seat, what, args in asked:
            well, value = answer(self._host, (seat.number, what, args))
            results.append(value if well else WorldFailed(value, seat))
        return results

    def usage(self) -> tuple[float, int]:
        """CPU seconds and peak memory, in bytes, that its worlds cost beside this process."""
        return 0.0, 0

    def close(self) -> None:
        self._host.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class WorkerPool(WorldPool):
    """The same worlds in a worker process: one that hangs is killed, one that died is replaced."""

    def __init__(self, limit: float, imports: Sequence[str] = ()) -> None:
        """``limit`` is how many seconds one request may take; ``imports`` are modules that the worker imports too."""
        super().__init__()
        self._limit, self._imports = limit, tuple(imports)
        self._spent, self._last, self._peak = 0.0, 0.0, 0
        self._worker: _Worker | None = _Worker(self._imports)

    def call(self, asked: Sequence[Asked]) -> list[Any]:
        worker = self._living()
        there = [seat.alive for seat, _, _ in asked]
        valid = [one for one, alive in zip(asked, there, strict=True) if alive]
        answers = iter(self._exchange(worker, valid) if valid else [])
        gone = "its worker died between two requests"
        return [
            next(answers) if alive else WorldFailed(gone, seat, at_fault=False)
            for (seat, _, _), alive in zip(asked, there, strict=True)
        ]

    def _exchange(self, worker: _Worker, asked: Sequence[Asked]) -> list[Any]:
        results: list[Any] = []
        try:
            worker.send([(seat.number, what, args) for seat, what, args in asked])
            for seat, _, _ in asked:
                well, value = worker.receive(self._limit)
                results.append(value if well else WorldFailed(value, seat))
        except _Gone as gone:
            self._bury()
            (culprit, _, _), *others = asked[len(results) :]
            results.append(WorldFailed(str(gone), culprit, gone.asked))
            lost = "its worker was lost through another world's fault"
            results += [WorldFailed(lost, seat, at_fault=False) for seat, _, _ in others]
        return results

    def usage(self) -> tuple[float, int]:
        """Left out: what a worker spent between the last time that it was asked and its death."""
        worker = self._living()
        try:
            worker.send([(0, "usage", ())])
            self._last, peak = worker.receive(self._limit)[1]
            self._peak = max(self._peak, peak)
        except _Gone:
            self._bury()
        return self._spent + self._last, self._peak

    def close(self) -> None:
        if self._worker is not None:
            self._worker.end(CLOSE_LIMIT)
        self._worker = None

    def _living(self) -> _Worker:
        """The worker, or a new one in place of one that died."""
        if self._worker is not None and self._worker.dead:
            self._bury()
        if self._worker is None:
            self._worker = _Worker(self._imports)
        self._worker.wait_until_ready()
        return self._worker

    def _bury(self) -> None:
        assert self._worker is not None
        self._worker.end(0)
        self._worker = None
        self.generation += 1
        self._spent, self._last = self._spent + self._last, 0.0


def open_pool(limit: float, imports: Sequence[str] = ()) -> WorldPool:
    """Worlds in a worker process, where a request may take ``limit`` seconds; for 0 in this process."""
    return WorkerPool(limit, imports) if limit else WorldPool()


class _Gone(Exception):
    """A worker has died, or hangs; the text says which. ``asked``: it had been given something to do."""

    def __init__(self, text: str, asked: bool = True) -> None:
        super().__init__(text)
        self.asked = asked


class _Worker:
    """A process that runs ``training.host.serve``, and this end of its pipe.

    A new interpreter with no more in it than worlds need: nothing of this process's threads, locks or GL goes with it,
    its program is not run again, and a Ctrl-C in the terminal does not reach it.
    """

    def __init__(self, imports: Sequence[str]) -> None:
        self._pipe, theirs = Pipe()
        self._coming = select.poll()  # many times cheaper than the pipe's own poll()
        self._coming.register(self._pipe.fileno(), select.POLLIN)
        program = (
            f"import sys; sys.path[:] = {sys.path!r}\n"
            f"from training.host import serve; serve({theirs.fileno()}, {tuple(imports)!r})"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            env={**os.environ, **FEW_THREADS},
            start_new_session=True,
        )
        theirs.close()
        self._ready = False

    @property
    def dead(self) -> bool:
        return self._process.poll() is not None

    def wait_until_ready(self) -> None:
        """Until it has imported everything.

        Raises:
            WorkerFailed: it died over that, or says that it cannot.
        """
        if self._ready:
            return
        try:
            well, problem = self.receive(START_LIMIT)
        except _Gone as gone:
            raise WorkerFailed(f"the process for the worlds could not be started: {gone}") from gone
        if not well:
            raise WorkerFailed(f"in the process for the worlds: {problem}")
        self._ready = True

    def send(self, requests: list[Request]) -> None:
        try:
            self._pipe.send(requests)
        except OSError as error:
            raise _Gone(self._cause(), asked=False) from error

    def receive(self, limit: float) -> tuple[bool, Any]:
        """An answer, which may be ``limit`` seconds in coming."""
        try:
            if not self._coming.poll(limit * 1000):
                raise _Gone(f"it hung: no answer within {limit:g} s")
            message = self._pipe.recv_bytes()
        except (EOFError, OSError) as error:
            raise _Gone(self._cause()) from error
        try:
            result: tuple[bool, Any] = pickle.loads(message)
        except Exception as error:
            return False, f"it returned what this process cannot read ({type(error).__name__}: {error})"
        return result

    def _cause(self) -> str:
        """How it died."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_LIMIT)
        code = self._process.returncode
        if code is None:
            return "its process closed the pipe"
        return f"its process was killed by {signal.Signals(-code).name}" if code < 0 else f"its process ended ({code})"

    def end(self, limit: float) -> None:
        """Close the pipe, which tells it to end, and kill it where it has not within ``limit`` seconds."""
        self._pipe.close()
        try:
            self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
