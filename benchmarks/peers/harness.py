"""Two processes that take turns, and the ratio of what they get done in a second.

Both sides stay alive for the whole comparison and are asked for rounds alternately, so that a machine that gets slower
does so for both. CPU seconds of each side's own process, one thread: other load on the machine changes them little, and
ratios less. Wall seconds where a side works in several processes.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Literal

from episode import HandeyeError

ROOT = Path(__file__).resolve().parent.parent.parent
Clock = Literal["CPU", "wall", "step"]
"""What rates are a second of, or a step of the environment."""
GRACE = 10
"""Seconds that a side has to end after an error."""


class PeerFailed(HandeyeError):
    """A side of a comparison ended before its rounds were done."""


@dataclass(frozen=True)
class Side:
    """A module of this package that speaks the protocol of ``meter.py``, and the Python that runs it."""

    name: str
    python: Path
    module: str
    args: tuple[str, ...] = ()


@dataclass(frozen=True)
class Round:
    """What one round got done, in the comparison's unit, and its seconds by the comparison's clock."""

    work: float
    seconds: float
    steps: float = 0
    """Of the environment, where those count."""

    @property
    def rate(self) -> float:
        return self.work / self.seconds


@dataclass(frozen=True)
class Result:
    """One comparison. Rates are a second of its clock, medians over the rounds."""

    name: str
    unit: str
    ours: float
    peer: float
    ratio: float
    """Ours over the peer's: median of the rounds' ratios."""
    spread: tuple[float, float]
    """Lowest and highest of the rounds' ratios."""
    rounds: int
    commit: str
    setting: dict[str, dict[str, Any]]
    """By side: lengths and sizes that it measured itself."""
    versions: dict[str, dict[str, str]]
    """By side: of the packages that matter."""
    clock: Clock = "CPU"


def result(
    name: str,
    unit: str,
    rounds: Sequence[tuple[Round, Round]],
    about: tuple[dict[str, Any], dict[str, Any]],
    clock: Clock = "CPU",
) -> Result:
    """The comparison from its rounds, each ``(ours, the peer's)``, and what both sides said of themselves."""
    if clock == "step":
        rounds = [(Round(ours.work, ours.steps), Round(theirs.work, theirs.steps)) for ours, theirs in rounds]
    ratios = sorted(ours.rate / peer.rate for ours, peer in rounds)
    return Result(
        name=name,
        unit=unit,
        ours=float(f"{median(ours.rate for ours, _ in rounds):.4g}"),
        peer=float(f"{median(peer.rate for _, peer in rounds):.4g}"),
        ratio=round(median(ratios), 2),
        spread=(round(ratios[0], 2), round(ratios[-1], 2)),
        rounds=len(rounds),
        commit=commit(),
        setting={"ours": about[0]["setting"], "peer": about[1]["setting"]},
        versions={"ours": about[0]["versions"], "peer": about[1]["versions"]},
        clock=clock,
    )


def commit() -> str:
    """The commit that was measured; ``-dirty`` where the working tree has changes."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def write(folder: Path, found: Result) -> Path:
    """One JSON file a comparison; the last run's replaces the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{found.name}.json"
    path.write_text(json.dumps(asdict(found), indent=1) + "\n")
    return path


class Running:
    """A side's process, warmed up. Its standard error goes to ``log``."""

    def __init__(self, side: Side, log: Path, more: Sequence[str] = ()) -> None:
        self.side = side
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        # transformers and vLLM look at hubs and count threads; neither belongs into a measurement.
        quiet = {
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [str(side.python), "-m", side.module, *side.args, *more],
                cwd=ROOT,
                env={**os.environ, **quiet, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            self.about: dict[str, Any] = self._hear()["ready"]
        except PeerFailed:
            self.process.kill()
            self.process.wait()
            raise

    def round(self) -> Round:
        """Ask for one round of work."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._failed() from None
        said = self._hear()
        return Round(float(said["work"]), float(said["seconds"]), float(said["steps"]))

    def _hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise self._failed()
        said: dict[str, Any] = json.loads(line)
        return said

    def _failed(self) -> PeerFailed:
        return PeerFailed(f"{self.side.name} ({self.side.module}) ended early: its last words are in {self.log}")

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        assert self.process.stdin is not None
        # The end of its input lets a side close what it has started, a browser for one, even after an error.
        # One that is gone takes nothing any more, and was told of already.
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(None if error is None else GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
