"""Before a run's first step: its folder, and whether its worlds can do what its algorithm needs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from episode import HandeyeError
from training.checkpoint import name_of
from training.config import Config, ConfigError, dumps
from training.critic import Layout
from training.distributed import rank
from training.journal import write_whole
from training.pool import WorldFailed, WorldPool
from training.rollout import BrokenWorld

LOCK = ".lock"
"""In a run's folder: locked, with its number in it, by the process that writes there."""


class MissingCapability(HandeyeError):
    """An algorithm needs something of a world that it does not have."""


def require(algorithm: str, needs: Sequence[type], task_ids: Sequence[str], pool: WorldPool) -> None:
    """Refuse tasks whose worlds lack a capability that an algorithm ``needs``.

    Raises:
        BrokenWorld: one cannot be made.
        MissingCapability: one lacks it.
    """
    for task_id in task_ids:
        try:
            world = pool.take(task_id, "train")
        except WorldFailed as error:
            raise BrokenWorld(
                f"{task_id} cannot be made: {error}. Worlds run in a process of their own, which imports the modules "
                "named by --import and no others; --world-timeout 0 keeps them in this one"
            ) from error
        missing = [need.__name__ for need in needs if not isinstance(world, need)]
        pool.give(world)
        if missing:
            raise MissingCapability(
                f"{algorithm} needs worlds that are {' and '.join(missing)} (see episode.py); "
                f"{task_id} is not: give it that capability, leave it out with --tasks, or take a method that "
                "does without (docs/algorithms.md says what each needs)"
            )


def layout_of(task_ids: Sequence[str], pool: WorldPool) -> Layout:
    """The layout of the tasks' privileged states, for critics that see them."""
    worlds: dict[str, Any] = {task_id: pool.take(task_id, "train") for task_id in task_ids}
    layout = Layout.of(worlds)
    for world in worlds.values():
        pool.give(world)
    return layout


def require_empty(out: Path) -> None:
    """Raise a ConfigError if there is a run in a folder already."""
    if (out / "config.json").exists():
        raise ConfigError(f"{out} already holds a run: give another --out, or --resume {out}")


def begin_folder(config: Config, out: Path) -> None:
    """Make a new run's folder.

    Raises:
        ConfigError: there is a run in it already, or it cannot be made.
    """
    require_empty(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out} cannot be made: {error}; give another --out") from error
    write_config(config, out)


def write_config(config: Config, out: Path) -> None:
    """``config.json`` of a run, which is what the run does from now on."""
    write_whole(out / "config.json", dumps(config))


def go_on(config: Config, out: Path, step: int) -> None:
    """Make a run's folder that of a run that goes on after ``step``: with its config, and without what it will redo."""
    write_config(config, out)
    (out / "summary.json").unlink(missing_ok=True)
    for folder in (out / "episodes").glob("*"):
        if folder.name == "after" or (folder.name.startswith("step-") and folder.name > name_of(step)):
            shutil.rmtree(folder)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other processes from writing into a run's folder; its first rank does, until it ends or is killed.

    Raises:
        ConfigError: another one writes there, or a folder in it is a link.
    """
    for folder in ("checkpoints", "episodes", "nonfinite"):
        for above, below, _ in os.walk(out / folder):
            for path in (Path(above), *(Path(above, name) for name in below)):
                if path.is_symlink():
                    raise ConfigError(f"{path} is a link, and a run neither writes nor removes through one: remove it")
    if sys.platform == "win32" or rank() != 0:  # which has no such locks
        yield
        return
    import fcntl

    try:
        descriptor = os.open(out / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise ConfigError(f"{out / LOCK} cannot be opened: {error}; mend that, or give another --out") from error
    # Not inherited by what this process starts, so that a worker that outlives it holds nothing.
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = file.read(20).strip()
            raise ConfigError(
                f"process {owner} still writes into {out}: wait until it has ended, or end it (kill {owner}); "
                f"then --resume {out}"
            ) from error
        except OSError:
            pass  # a file system without locks
        file.truncate(0)
        print(os.getpid(), file=file, flush=True)
        yield


def read_config(out: Path) -> Config:
    """The config of the run in a folder.

    Raises:
        ConfigError: its config.json cannot be read.
    """
    try:
        return Config.from_json(json.loads((out / "config.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{out / 'config.json'} cannot be read: {error}; begin anew in another --out") from error
