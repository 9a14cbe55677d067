"""Random actions, episode after episode: the loop that both sides of GUI steps run.

Standard library only, because it runs in the peers' virtual environments too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Any


class Stepping:
    """An environment of gymnasium's interface, stepped in rounds of ``seconds`` by the wall clock."""

    def __init__(
        self, env: Any, act: Callable[[], Any], seconds: float, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.env, self.act, self.seconds, self.clock = env, act, seconds, clock
        self.seeds = count()
        self.steps = self.episodes = 0

    def round(self) -> float:
        """Steps done. Every episode has a new seed, the first of a round too: MiniWoB's end by the wall clock."""
        end, before = self.clock() + self.seconds, self.steps
        self._reset()
        while self.clock() < end:
            *_, terminated, truncated, _ = self.env.step(self.act())
            self.steps += 1
            if terminated or truncated:
                self._reset()
        return self.steps - before

    @property
    def episode(self) -> float:
        """Mean steps an episode so far."""
        return round(self.steps / self.episodes, 1)

    def _reset(self) -> None:
        self.env.reset(seed=next(self.seeds))
        self.episodes += 1
