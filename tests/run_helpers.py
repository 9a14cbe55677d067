"""Small runs on a random model, and what is compared of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from tests.fake_worlds import Strip
from training import checkpoint
from training.config import PRESETS, Config

TEXTS = ["go to the left edge", "go to the right edge", "click the button", "move the hand to the red marker"]
"""What the random model's tokenizer takes its words from."""


def debug(model: Path, **changes: Any) -> Config:
    """The debug preset on a random model: it is paid for short replies, as it would earn nothing else."""
    changes = {"policy": str(model), "reward": {"task": 1.0, "subgoal": 1.0, "length": -0.01}, **changes}
    return dataclasses.replace(PRESETS["debug"], **changes)


def strip(model: Path, **changes: Any) -> Config:
    """On a world that costs nothing, in this process."""
    changes = {"tasks": Strip.task_id, "ranks": 1, "eval_episodes": 0, "group_size": 4, "world_timeout": 0, **changes}
    return debug(model, **changes)


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run: Path) -> dict[str, str]:
    """Digest of every file of the newest checkpoint that must not depend on when it was written."""
    newest = checkpoint.find(run)
    return {
        str(p.relative_to(newest)): hashlib.sha256(p.read_bytes()).hexdigest() for p in newest.rglob("*.safetensors")
    }
