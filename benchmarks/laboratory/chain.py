"""A chain with setbacks: small enough that every value and the policy's gradient are exact, long enough to be hard.

N places in a row, T steps to get past the last. Each place has four actions, shuffled: ahead, stay, back one, back
two. The only reward is 1 for getting past the last place. States repeat within and between episodes, as on a screen
where clicks go wrong. The policy sees the place (o); how many steps are gone (c) is hidden from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
MOVES = np.array([1, 0, -1, -2])
ACTIONS = len(MOVES)


@dataclass(frozen=True)
class Chain:
    """A world, and how well its policy starts: ``skill`` is the logit of the action that goes ahead."""

    places: int
    horizon: int
    skill: float
    slip: float = 0.0
    """Probability that another action, any of them, is carried out instead of the chosen one."""

    def shuffled(self, seed: int) -> Ints:
        """Where each action of each place leads, [N, A]; place N is the goal."""
        rng = np.random.default_rng([seed, self.places])
        moves = np.array([MOVES[rng.permutation(ACTIONS)] for _ in range(self.places)])
        return np.asarray(np.maximum(np.arange(self.places)[:, None] + moves, 0))

    def start(self, leads: Ints) -> Array:
        """Logits of the starting policy, [N, A]."""
        return np.asarray(self.skill * (leads == np.arange(self.places)[:, None] + 1))


def softmax(logits: Array) -> Array:
    """Over the last axis."""
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(weights / weights.sum(-1, keepdims=True))


@dataclass(frozen=True)
class Episodes:
    """Episodes played at once; decisions [M] stand one after another, an episode's in order."""

    success: Array
    """[E] 1 or 0."""
    reached: Ints
    """[E] the place at the end, N where the episode succeeded."""
    episode: Ints
    """[M]."""
    time: Ints
    """[M] steps gone before the decision."""
    place: Ints
    """[M]."""
    action: Ints
    """[M]."""
    last: NDArray[np.bool_]
    """[M] True at an episode's last decision."""


def play(world: Chain, leads: Ints, policy: Array, run: Ints, rng: np.random.Generator) -> Episodes:
    """One episode for each entry of ``run`` [E], which says with which of R shuffles and policies, both [R, N, A]."""
    count, places, horizon = len(run), world.places, world.horizon
    above = policy.cumsum(-1)
    here = np.zeros(count, np.int64)
    seen, done = np.zeros((count, horizon), np.int64), np.zeros((count, horizon), np.int64)
    for t in range(horizon):
        # Who is at the goal goes on in place 0 for nothing: cut off below.
        at = np.minimum(here, places - 1)
        action = np.minimum((above[run, at] < rng.random(count)[:, None]).sum(1), ACTIONS - 1)
        seen[:, t], done[:, t] = here, action
        if world.slip:
            action = np.where(rng.random(count) < world.slip, rng.integers(ACTIONS, size=count), action)
        here = np.where(here < places, leads[run, at, action], here)
    alive = seen < places
    episode, time = np.nonzero(alive)
    last = np.append(episode[1:] != episode[:-1], True)
    return Episodes((here == places).astype(np.float64), here, episode, time, seen[alive], done[alive], last)


def exact(world: Chain, leads: Ints, policy: Array) -> tuple[Array, Array]:
    """Values [T, N] and the gradient [N, A] of the success probability by the logits, by dynamic programming.

    Q_t(s, a) = E V_{t+1}(s'), V_t = Σ π Q, V = 1 past the last place, 0 after the last step;
    ∇_{s,a} J = Σ_t d_t(s) π(a|s) (Q_t(s, a) − V_t(s)) with d_t the probability of being in s at t.
    """
    places, horizon = world.places, world.horizon
    carried = _carried(world, policy)
    values = np.zeros((horizon + 1, places + 1))
    values[:, places] = 1.0
    for t in range(horizon - 1, -1, -1):
        values[t, :places] = (carried * values[t + 1][leads]).sum(1)
    gradient, visits = np.zeros_like(policy), np.zeros(places + 1, np.float64)
    visits[0] = 1.0
    for t in range(horizon):
        following = values[t + 1][leads]
        q = (1 - world.slip) * following + world.slip * following.mean(1, keepdims=True)
        gradient += visits[:places, None] * policy * (q - values[t, :places, None])
        moved = (visits[:places, None] * carried).ravel()
        visits = np.bincount(leads.ravel(), moved, places + 1).astype(np.float64)
    return values[:horizon, :places], gradient


def _carried(world: Chain, policy: Array) -> Array:
    """Probability with which each action is carried out."""
    return (1 - world.slip) * policy + world.slip / ACTIONS


def success(world: Chain, leads: Ints, policy: Array) -> Array:
    """Exact success probability of R policies [R, N, A] in their worlds [R, N, A], [R]."""
    runs, places = leads.shape[:2]
    carried = _carried(world, policy)
    value = np.zeros((runs, places + 1))
    value[:, places] = 1.0
    for _ in range(world.horizon):
        value[:, :places] = (carried * value[np.arange(runs)[:, None, None], leads]).sum(2)
    return value[:, 0]


def gradients(played: Episodes, advantage: Array, policy: Array, run: Ints, owner: Ints, owners: int) -> Array:
    """Σ A_t ∇ log π(a_t | s_t) over the decisions of each owner (a group, a run), [owners, N, A].

    Args:
        played: M decisions.
        advantage: [M].
        policy: [R, N, A].
        run: [E] whose policy an episode was played with.
        owner: [E] where its gradient is summed; an owner's episodes are all of one run.
        owners: how many there are.
    """
    places = policy.shape[1]
    cell = owner[played.episode] * places + played.place
    taken = np.bincount(cell * ACTIONS + played.action, advantage, owners * places * ACTIONS)
    summed = np.bincount(cell, advantage, owners * places).reshape(owners, places, 1)
    of = np.zeros(owners, np.int64)
    of[owner] = run
    return np.asarray(taken.reshape(owners, places, ACTIONS) - summed * policy[of])
