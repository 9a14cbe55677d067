"""Pools of worlds: in this process, or in a worker process that may hang or die without taking the rank with it.

One worker hosts all worlds of a rank. It answers a list of requests, one message an answer, in their order; so the
first request without an answer is the one that hung or killed it. Then the worker is replaced, and with it every world
is gone: what was played in them is played again from its start (``training.rollout``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any, Self

from episode import Action, Embodiment, Split, State, Task, WorldError
from training.host import Facts, Host, Moment, answer
from training.worker import Gone, Worker

CLOSE_LIMIT = 2.0
"""Seconds that a worker may take to end when it is told to."""
Asked = tuple["Seat", str, tuple[Any, ...]]
"""A world, what is asked of it (a key of ``training.host.REQUESTS``), and with which arguments."""


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
        self._worker: Worker | None = Worker(self._imports)

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

    def _exchange(self, worker: Worker, asked: Sequence[Asked]) -> list[Any]:
        results: list[Any] = []
        try:
            worker.send([(seat.number, what, args) for seat, what, args in asked])
            for seat, _, _ in asked:
                well, value = worker.receive(self._limit)
                results.append(value if well else WorldFailed(value, seat))
        except Gone as gone:
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
        except Gone:
            self._bury()
        return self._spent + self._last, self._peak

    def close(self) -> None:
        if self._worker is not None:
            self._worker.end(CLOSE_LIMIT)
        self._worker = None

    def _living(self) -> Worker:
        """The worker, or a new one in place of one that died."""
        if self._worker is not None and self._worker.dead:
            self._bury()
        if self._worker is None:
            self._worker = Worker(self._imports)
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
