"""Experts of the arm succeed by what a policy can know: every place by its bin, a little wrong."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray

import sims
from episode import Advice, Body, chunk_of
from policy.codecs.compact import Compact, bins_of, centre
from sims.rig import Rig

EPISODES = 20
ERROR = 0.005
"""Metres, standard deviation along each axis; half of its variance stays through an episode."""
BAR = 0.85


class Seen:
    """A rig of whose places only the bins are known, some of them a neighbour's."""

    def __init__(self, rig: Rig, body: Body, errors: dict[str, NDArray[np.float64]], rng: np.random.Generator) -> None:
        self._rig, self._body = rig, body
        self._errors = {name: (kept + rng.normal(0, ERROR, 3)) / np.sqrt(2) for name, kept in errors.items()}

    def __getattr__(self, name: str) -> object:
        return getattr(self._rig, name)

    def _bin(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        return centre(bins_of(point, self._body), self._body)

    @property
    def tip(self) -> NDArray[np.float64]:
        return self._bin(self._rig.tip)

    def where(self, name: str) -> NDArray[np.float64]:
        return self._bin(self._rig.where(name) + self._errors[name])


@pytest.mark.parametrize("task", sorted(sims.TASKS))
def test_experts_succeed_by_bins(task: str) -> None:
    world, codec, won = sims.TASKS[task](), Compact(), 0
    body = world.embodiment
    for episode in range(EPISODES):
        rng = np.random.default_rng(episode)
        _, info = world.reset(seed=episode)
        errors = {thing.name: rng.normal(0, ERROR, 3) for thing in world.rig.setting.things}
        over = False
        while not over:
            seen = Seen(world.rig, body, errors, rng)
            with mock.patch.object(world, "_rig", seen):
                intent = world.plan()
            motion = centre(bins_of(intent.tip, body), body) - seen.tip
            advice = Advice(tuple(chunk_of(body, motion.tolist(), intent.grip)))
            for action in codec.parse(codec.format(advice, body, False), body).actions:
                _, terminated, truncated, info = world.advance(action)
                over = terminated or truncated
                if over:
                    break
        won += info["success"]
    world.close()
    assert won >= BAR * EPISODES
