"""A worker process, which hosts the worlds of one rank, as that rank sees it."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import Pipe
from typing import Any

from episode import HandeyeError
from training.host import FEW_THREADS, Request

START_LIMIT = 300.0
"""Seconds that a worker may take to import everything."""
EXIT_LIMIT = 10.0
"""Seconds that it may take to be gone once it has closed its end of the pipe."""


class WorkerFailed(HandeyeError):
    """A worker process cannot even be started."""


class Gone(Exception):
    """A worker has died, or hangs; the text says which. ``asked``: it had been given something to do."""

    def __init__(self, text: str, asked: bool = True) -> None:
        super().__init__(text)
        self.asked = asked


class Worker:
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
        except Gone as gone:
            raise WorkerFailed(f"the process for the worlds could not be started: {gone}") from gone
        if not well:
            raise WorkerFailed(f"in the process for the worlds: {problem}")
        self._ready = True

    def send(self, requests: list[Request]) -> None:
        try:
            self._pipe.send(requests)
        except OSError as error:
            raise Gone(self._cause(), asked=False) from error

    def receive(self, limit: float) -> tuple[bool, Any]:
        """An answer, which may be ``limit`` seconds in coming."""
        try:
            if not self._coming.poll(limit * 1000):
                raise Gone(f"it hung: no answer within {limit:g} s")
            message = self._pipe.recv_bytes()
        except (EOFError, OSError) as error:
            raise Gone(self._cause()) from error
        try:
            result: tuple[bool, Any] = pickle.loads(message)
        except Exception as error:
            return False, f"it returned what this process cannot read ({type(error).__name__}: {error})"
        return result

    def _cause(self) -> str:
        """How it died."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_LIMIT)
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
