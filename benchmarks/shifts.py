"""What of the held-out split is hard: one of its pools at a time, everything else as in training.

    python -m benchmarks.shifts [--policy RUN|FOLDER|base] [--tasks T] [--episodes 200] [--only words ...] [--json FILE]

Every row plays the same seeds, which training never sees, with sampled replies: ``none`` with the pools of the
training split, then with one pool after the other replaced by the held-out one, and ``all`` of them. A task that draws
nothing from a pool plays the episodes of ``none`` again. No camera and no font is held out: ``cameras`` are mounted
with twice the errors of training instead, and all text is in one font.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple
from functools import partial, wraps
from pathlib import Path
from typing import Any
from unittest import mock

from rich.console import Console
from rich.table import Table

from benchmarks.learning import WORLDS, percent, world_mean
from episode import Split
from sims.setting import CameraShift
from training.config import preset
from training.distributed import launch
from training.evaluate import evaluate
from training.players import check_policy, player
from training.pool import WorldPool
from training.worlds import resolve

POOLS: dict[str, tuple[str, ...]] = {
    "words": tuple(f"gui_env.content:{name}" for name in ("label", "labels", "alike", "invented")),
    "phrasings": ("PHRASES",),
    "captions": ("gui_env.form:confirming", "CONFIRM", "USER", "SUBMIT", "TITLES", "POPUPS", "HEADS"),
    "themes": ("gui_env.toolkit.themes:draw_theme",),
    "shades": ("gui_env.content:color", "gui_env.content:shades"),
    "pairs": (
        "gui_env.tasks.click_icon:draw_pairs",
        "sims.draw:block_names",
        "sims.draw:neighbours",
        "sims.look:allowed",
    ),
    "scenery": ("sims.look:draw_look", "sims.look:draw_bowl"),
    "cameras": ("sims.look:draw_cameras",),
}
"""By kind of shift: functions that draw for a split, as ``module:name``, or names of pools by split in any module."""
ROWS = ("none", *POOLS, "all")
OURS = ("gui_env", "sims")


@contextmanager
def shifted(kind: str) -> Iterator[None]:
    """Worlds of the training split draw from the held-out pools of a ``kind`` of shift."""
    with ExitStack() as stack:
        for where in POOLS[kind]:
            module, _, name = where.rpartition(":")
            if module:
                drawing = getattr(importlib.import_module(module), name)
                _everywhere(stack, drawing, (_further if kind == "cameras" else _held_out)(drawing))
            else:
                for pool in {id(p): p for m in _modules() if (p := vars(m).get(name)) is not None}.values():
                    stack.enter_context(mock.patch.dict(pool, train=pool["heldout"]))
        yield


def _modules() -> list[Any]:
    return [module for name, module in sys.modules.items() if name.split(".")[0] in OURS]


def _everywhere(stack: ExitStack, old: Any, new: Any) -> None:
    """``new`` wherever a module of the worlds has ``old``, under whatever name."""
    for module in _modules():
        for name, value in list(vars(module).items()):
            if value is old:
                stack.enter_context(mock.patch.object(module, name, new))


def _held_out(drawing: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(drawing)
    def drawn(*args: Any, **more: Any) -> Any:
        return drawing(*("heldout" if isinstance(a, str) and a == "train" else a for a in args), **more)

    return drawn


def _further(drawing: Callable[..., dict[str, CameraShift]]) -> Callable[..., Any]:
    @wraps(drawing)
    def drawn(*args: Any) -> dict[str, CameraShift]:
        return {name: CameraShift(*map(_twice, astuple(shift))) for name, shift in drawing(*args).items()}

    return drawn


def _twice(value: Any) -> Any:
    return tuple(2 * v for v in value) if isinstance(value, tuple) else 2 * value


def measure(policy: str, task_ids: list[str], episodes: int, rows: list[str]) -> dict[str, dict[str, Any]]:
    """What each rank does: figures by row and task, of worlds in its own process."""
    agent, _ = player(policy)
    found = {}
    for row in rows:
        with shifted(row) if row in POOLS else ExitStack():
            pool = WorldPool()  # of its own: a world remembers what it drew
            split: Split = "heldout" if row == "all" else "train"
            found[row] = evaluate(agent, task_ids, split, episodes, pool=pool)["tasks"]
            pool.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shifts", description=__doc__)
    parser.add_argument("--policy", default="base")
    parser.add_argument("--tasks", default="")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--only", choices=ROWS, nargs="+", default=list(ROWS))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    task_ids = resolve(args.tasks or preset("default").tasks)
    check_policy(args.policy, "")
    found = launch(partial(measure, args.policy, task_ids, args.episodes, args.only), (), 0)
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    table = Table(title=f"{args.policy}: success with one pool held out, n = {args.episodes} a task")
    worlds = [world for world in WORLDS if any(task_id.startswith(world) for task_id in task_ids)]
    for column in ("held out", *(WORLDS[world] for world in worlds)):
        table.add_column(column)
    for row, tasks in found.items():
        cells = {"tasks": {task_id: {row: figures} for task_id, figures in tasks.items()}}
        table.add_row(row, *(percent(*world_mean(cells, world, row)) for world in worlds))
    Console().print(table)


if __name__ == "__main__":
    main()
