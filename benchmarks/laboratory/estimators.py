"""How each method turns the chain's episodes into advantages: ``training.advantages``, and nothing of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.laboratory.chain import Array, Chain, Episodes, Ints, play
from training.advantages import discounted_returns, gae, group_advantage, normalise

GAMMA, LAM = 0.95, 0.95
"""Of the step term and of generalised advantage estimation, as in the presets ``gigpo`` and ``ppo``."""


@dataclass(frozen=True)
class Batch:
    """Played episodes, their groups, and what a critic has learned."""

    played: Episodes
    group: Ints
    """[E]."""
    returns: Array
    """[E]."""
    rewards: Array
    """[M]."""
    values: dict[str, Array]
    """Critic to V at each decision, [M]."""

    @property
    def steps(self) -> Ints:
        return np.ones(len(self.rewards), np.int64)

    def step_returns(self) -> Array:
        return discounted_returns(self.rewards, self.steps, self.played.episode, GAMMA)

    def keys(self, bins: int = 0) -> list[tuple[int, int, int]]:
        """Group and state of each decision: the place, and with ``bins`` the time in bins of so many steps too."""
        time = self.played.time // bins if bins else np.zeros_like(self.played.time)
        of = self.group[self.played.episode].tolist()
        return list(zip(of, self.played.place.tolist(), time.tolist(), strict=True))


def grpo(batch: Batch) -> Array:
    return group_advantage(batch.returns, batch.group.tolist(), batch.played.episode)


def step_term(batch: Batch) -> Array:
    return normalise(batch.step_returns(), batch.keys(), "mean_std")


def gigpo(batch: Batch, bins: int = 0) -> Array:
    return group_advantage(
        batch.returns,
        batch.group.tolist(),
        batch.played.episode,
        step_returns=batch.step_returns(),
        step_groups=batch.keys(bins),
        step_weight=1.0,
    )


def critic(name: str) -> Callable[[Batch], Array]:
    """Generalised advantage estimation with the values of a critic, undiscounted as success is."""
    return lambda batch: gae(batch.rewards, batch.values[name], batch.steps, batch.played.episode, 1.0, LAM)[0]


ESTIMATORS: dict[str, Callable[[Batch], Array]] = {
    "GRPO": grpo,
    "step term alone": step_term,
    "GiGPO": gigpo,
    "learned V(o)": critic("V(o)"),
    "learned V(o, random c)": critic("V(o, random c)"),
    "learned V(o, c)": critic("V(o, c)"),
    "exact value": critic("exact"),
}


class Critics:
    """Tables of mean returns, learned from episodes that the same policy played before."""

    def __init__(self, world: Chain, leads: Ints, policy: Array, episodes: int, rng: np.random.Generator) -> None:
        self.rng, self.horizon, self.places = rng, world.horizon, world.places
        played = play(world, leads[None], policy[None], np.zeros(episodes, np.int64), rng)
        returns = played.success[played.episode]
        self.seen = _means(played.place, returns, self.places, np.zeros(self.places))
        empty = np.tile(self.seen, world.horizon)  # a cell that nobody visited is worth what its place is
        self.known = _means(self._cell(played.time, played.place), returns, len(empty), empty)
        self.random = _means(self._cell(self._noise(played), played.place), returns, len(empty), empty)

    def values(self, played: Episodes, exact: Array) -> dict[str, Array]:
        return {
            "V(o)": self.seen[played.place],
            "V(o, c)": self.known[self._cell(played.time, played.place)],
            "V(o, random c)": self.random[self._cell(self._noise(played), played.place)],
            "exact": exact[played.time, played.place],
        }

    def _cell(self, time: Ints, place: Ints) -> Ints:
        return time * self.places + place

    def _noise(self, played: Episodes) -> Ints:
        return self.rng.integers(self.horizon, size=len(played.time))


def _means(cell: Ints, returns: Array, cells: int, empty: Array) -> Array:
    count = np.bincount(cell, minlength=cells)
    return np.where(count > 0, np.bincount(cell, returns, cells) / np.maximum(count, 1), empty)


def paid_at_the_end(played: Episodes, returns: Array) -> Array:
    """Rewards [M]: an episode's return at its last decision."""
    return np.where(played.last, returns[played.episode], 0.0)
