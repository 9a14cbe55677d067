"""What a drill is, and runs to do it on: the smallest that train, each in a process of its own that may be killed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policy.tiny import SMALLEST, build_tiny
from training import checkpoint
from training.__main__ import main
from training.distributed import environment

TASK = "gui/click-button-v0"
PATIENCE = 900.0
"""Wall-clock seconds after which a run counts as hung."""


@dataclass(frozen=True)
class Setting:
    """What every drill is given."""

    folder: Path
    """Its own, empty."""
    seed: int
    scale: float
    """1 is the full figure."""

    def count(self, full: int) -> int:
        """``full`` at this scale, at least 1."""
        return max(1, round(full * self.scale))


@dataclass(frozen=True)
class Outcome:
    """What a drill found."""

    measured: str
    passed: bool


Drill = Callable[[Setting], Outcome]


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    status: int
    """Exit status; below 0 the signal that killed it."""
    said: str
    """Standard output and error."""


def apart(work: Callable[[], Any], log: Path, patience: float = PATIENCE) -> Ended:
    """Do ``work`` in a forked process that leads a group of its own; it may be killed with its whole group.

    A fork, so that a hundred runs need not import torch a hundred times: this process must neither compute with torch
    nor open GL.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.setsid()
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(output, 1)
            os.dup2(output, 2)
            work()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
    deadline = time.monotonic() + patience
    ended, raw = 0, 0
    while not ended:
        ended, raw = os.waitpid(child, os.WNOHANG)
        if not ended and time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.02)
    return Ended(os.waitstatus_to_exitcode(raw), log.read_text("utf-8", errors="replace"))


def put(owner: Any, name: str, by: Any) -> None:
    """Replace a function, for good: only in a process that is thrown away."""
    setattr(owner, name, by)


def model(setting: Setting) -> Path:
    """A random model to train."""
    folder = setting.folder / "model"
    # Apart: this process must stay fit to be forked.
    texts = ["click the button", "the named one"]
    done = apart(lambda: build_tiny(folder, texts, seed=setting.seed, shape=SMALLEST), setting.folder / "model.log")
    assert done.status == 0, done.said
    return folder


def words(policy: Path, out: Path, *more: str, steps: int = 2) -> list[str]:
    """The smallest run, as a command line: paid for short replies, as a random model would earn nothing else."""
    small = "--ranks 1 --groups 1 --group-size 2 --eval-episodes 1 --reward.length -0.01 --reward.invalid 0"
    run = ["train", "debug", "--tasks", TASK, "--policy", str(policy), "--out", str(out), "--steps", str(steps)]
    return [*run, *small.split(), *more]


def train(line: list[str], log: Path, prepare: Callable[[], Any] = lambda: None, patience: float = PATIENCE) -> Ended:
    """``handeye`` with this command line, apart; ``prepare`` may lay its traps there first."""

    def work() -> None:
        prepare()
        main(line)

    return apart(work, log, patience)


def digests(run: Path) -> dict[str, str]:
    """Of what must be bit-identical between two runs: the metrics, and weights and optimiser of the last checkpoint."""
    newest = checkpoint.find(run)
    files = [run / "metrics.jsonl", *sorted(newest.rglob("*.safetensors"))]
    return {
        str(f.relative_to(newest if newest in f.parents else run)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in files
    }


def quiet_environment() -> contextlib.AbstractContextManager[None]:
    """No tracker, one thread."""
    return environment({"WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", "LP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})
