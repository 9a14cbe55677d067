"""``handeye list``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from training.commands.options import Common, parse, say


@dataclass(frozen=True)
class ListArgs(Common):
    """Everything that the other commands can be told by name."""


def run(argv: list[str]) -> dict[str, Any]:
    parse(ListArgs, argv, "list", "Tasks, presets, algorithms, codecs and models, a line each.")
    found = catalogue()
    for kind, entries in found.items():
        say(f"{kind}")
        width = max(map(len, entries))
        for name, line in entries.items():
            say(f"  {name:{width}}  {line}")
    return found


def catalogue() -> dict[str, dict[str, str]]:
    """Kind to name to a line about it."""
    from policy.codecs import CODECS
    from training.algorithms import ALGORITHMS
    from training.config import PRESETS, SUMMARIES
    from training.players import POLICIES
    from training.worlds import all_tasks

    return {
        "tasks": {task_id: world.summary for task_id, world in all_tasks().items()},
        "presets": {
            name: SUMMARIES.get(name, f"algorithm {c.algorithm}, tasks {c.tasks}") for name, c in PRESETS.items()
        },
        "algorithms": {name: algorithm.summary for name, algorithm in ALGORITHMS.items()},
        "codecs": {name: _about(codec) for name, codec in CODECS.items()},
        "models": {**POLICIES, "FOLDER": "a run, a checkpoint, or any image-text-to-text model of transformers"},
    }


def _about(codec: object) -> str:
    """First line of the module of a codec, which begins with the codec's name."""
    first = (sys.modules[type(codec).__module__].__doc__ or "").strip().split("\n")[0]
    return first.split(": ", 1)[-1]
