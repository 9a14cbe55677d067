"""One side of a comparison: a process that does a round of work whenever it is asked, and says what that cost it.

Standard library only, because it runs in the peers' virtual environments too. The conversation, a line each way: first
``{"ready": {...}}`` with the versions and lengths that belong beside the figures, after a round that warms up; then,
for every line of standard input, ``{"work": ..., "seconds": ...}`` with the round's CPU seconds. End of input ends it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any


def rollout_options(about: str | None) -> argparse.ArgumentParser:
    """Options of the sides that generate: how many prompts, replies to each and tokens of a reply make a round."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--reply", type=int, default=32)
    return parser


class Meter:
    """Speaks with the harness. What libraries print on standard output goes to standard error from here on."""

    def __init__(self, cpu: Callable[[], float] = time.process_time) -> None:
        self.cpu = cpu
        self.start = 0.0
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def ready(self, packages: tuple[str, ...], **setting: Any) -> None:
        """Warmed up. ``setting`` holds lengths and sizes that the other side must have too."""
        versions = {name: version(name) for name in packages}
        self._say({"ready": {"versions": versions, "setting": setting}})

    def asked(self) -> bool:
        """Wait for the next round and start the clock; False when there is none."""
        if not sys.stdin.readline():
            return False
        self.start = self.cpu()
        return True

    def done(self, work: float, steps: int = 0) -> None:
        """The round is over; ``work`` in the comparison's unit, ``steps`` of the environment where those count."""
        self._say({"work": work, "seconds": self.cpu() - self.start, "steps": steps})

    def serve(self, work: Callable[[], float]) -> None:
        """Rounds until nobody asks any more."""
        while self.asked():
            self.done(work())

    def _say(self, message: dict[str, Any]) -> None:
        self.out.write(json.dumps(message) + "\n")
        self.out.flush()
