"""Random valid actions on every registered world: nothing raises, nothing is infinite, nothing grows."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import psutil

from benchmarks.faults.drill import Outcome, Setting
from episode import Observation, Privileged, Rewindable
from training import memory
from training.worlds import all_tasks, make

WARM = 0.2
"""Share of a world's actions after which its memory is measured first."""
GROWTH = 0.05
LOOK = 8
"""Actions between frames that are drawn and looked at: drawing changes no state and costs more than all the rest."""
SIZE = 4.0
"""How many times the size of its first moment a world's state may grow to."""
LIMIT = 1e3
"""Entries of the privileged state are of about one; of a state that blew up they are not."""


def random_actions(setting: Setting) -> Outcome:
    """The full figure on each world."""
    tasks, wrong, growth = list(all_tasks()), list[str](), 0.0
    each = max(20, setting.count(100_000))
    process, total = psutil.Process(), 0
    # Process memory has one warm-up, that of all worlds; each world's own growth is measured within its turn.
    for task in tasks:
        try:
            base, peak, taken = _play(task, each, setting.seed, process)
            growth, total = max(growth, (peak - base) / base), total + taken
        except Exception as error:
            wrong.append(f"{task}: {type(error).__name__}: {error}")
    passed = not wrong and growth < GROWTH
    told = f"{total:,} actions on {len(tasks)} worlds, {len(wrong)} wrong, memory grew by {growth:.1%} at most"
    return Outcome(told + "".join(f"; {w}" for w in wrong[:3]), passed)


def _play(task: str, count: int, seed: int, process: psutil.Process) -> tuple[int, int, int]:
    """Resident bytes after the warm-up and at the end, and actions taken."""
    world = make(task)
    world.action_space.seed(seed)
    number = seed
    _sound(world, world.reset(seed=number)[0])
    first, warm = _size(world), 0
    for i in range(count):
        if i == int(WARM * count):
            warm = _resident(process)
        reward, terminated, truncated, info = world.advance(world.action_space.sample())
        numbers = [reward, info["progress"], *info["terms"].values()]
        assert np.isfinite(np.asarray(numbers, np.float64)).all(), f"reward {numbers}"
        if i % LOOK == 0:
            _sound(world, world.observe())
        if terminated or truncated:
            assert _size(world) <= SIZE * first + 65536, f"the state grew from {first} to {_size(world)} bytes"
            number += 1
            _sound(world, world.reset(seed=number)[0])
    end = _resident(process)
    world.close()
    return warm, end, count


def _sound(world: Any, observation: Observation) -> None:
    for name, frame in observation["frames"].items():
        assert frame.dtype == np.uint8 and frame.ndim == 3, f"frame {name} is {frame.dtype} {frame.shape}"
    for name in ("proprio", "time"):
        if name in observation:
            assert np.isfinite(observation[name]).all(), f"{name} is {observation[name]}"
    if isinstance(world, Privileged):
        state = world.privileged()
        assert np.isfinite(state).all() and float(np.abs(state).max(initial=0.0)) < LIMIT, f"privileged state {state}"


def _size(world: Any) -> int:
    return _bytes(world.snapshot()) if isinstance(world, Rewindable) else 0


def _bytes(tree: Any) -> int:
    if isinstance(tree, dict):
        return sum(_bytes(v) for v in tree.values())
    if isinstance(tree, list | tuple):
        return sum(map(_bytes, tree))
    return tree.nbytes if isinstance(tree, np.ndarray) else len(str(tree))


def _resident(process: psutil.Process) -> int:
    gc.collect()
    memory.trim()
    return int(process.memory_info().rss)
