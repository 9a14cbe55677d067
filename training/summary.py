"""What a run has done, as its checkpoints keep it and as ``summary.json`` tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from training import guards
from training.config import Config

LEARNED_NOTHING = 3
"""Exit status of the command line after a run that learned nothing."""
TOLD = ("success", "n", "interval")
"""Of each task's evaluation."""


@dataclass
class Progressed:
    """What a run has done so far; all of it goes into checkpoints."""

    step: int = 0
    """Training steps completed."""
    env_steps: int = 0
    tokens: int = 0
    episodes: int = 0
    retried: int = 0
    dropped: int = 0
    """Episodes of groups that were left out because a world broke."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of all ranks and their worlds together, on training alone."""
    optimizer_steps: int = 0
    bad_steps: int = 0
    flat_steps: int = 0
    recent: list[float] = field(default_factory=list)
    """Mean success of each of the last steps: decides which checkpoint is the best."""
    before: dict[str, Any] = field(default_factory=dict)
    """The evaluation before training."""
    after: dict[str, Any] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    """What the guards said, by a short name; on the first rank."""


def summarised(done: Progressed, config: Config, task_ids: Sequence[str], peak_memory_mb: float) -> dict[str, Any]:
    """``summary.json``; ``peak_memory_mb`` is of all ranks and their worlds."""
    moments = {"before": done.before, "after": done.after}
    learned, why = guards.learned(done.before, done.after, done.optimizer_steps, done.step)
    return {
        "tasks": {
            task_id: {
                when: {key: tasks[task_id][key] for key in TOLD} for when, tasks in moments.items() if task_id in tasks
            }
            for task_id in task_ids
        },
        "learned": learned,
        "status": LEARNED_NOTHING if learned is False else 0,
        "verdict": why,
        "warnings": list(done.warnings.values()),
        "seconds": done.seconds,
        "env_steps": done.env_steps,
        "tokens": done.tokens,
        "infra": {
            "retried": done.retried,
            "dropped": done.dropped,
            "unevaluated": sum(figures["infra_errors"] for tasks in moments.values() for figures in tasks.values()),
        },
        "peak_memory_mb": peak_memory_mb,
        "preset": config.preset,
        "seed": config.seed,
    }
