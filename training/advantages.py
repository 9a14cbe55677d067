"""Advantages: one formula for every critic-free method, and generalised advantage estimation over turns and tokens.

Pure functions over numpy arrays. N episodes, M decisions (all episodes' decisions one after another, in order), T reply
tokens (all decisions' tokens one after another, in order).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Norm = Literal["none", "mean", "mean_std", "leave_one_out"]
Array = NDArray[np.float64]
EPSILON = 1e-6
"""Added to the standard deviation, as GRPO does."""
EQUAL = 1e-9
"""Values of a group that differ by no more than this are one value: rounding must not become an advantage."""


def group_index(groups: Sequence[Hashable]) -> NDArray[np.int64]:
    """Any hashable group keys [N] as integers 0..G-1 in order of first appearance, [N]."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(key, len(seen)) for key in groups], np.int64)


def normalise(values: Array, groups: Sequence[Hashable], how: Norm) -> Array:
    """Each value [N] relative to its group [N]: norm(x_i), with μ, σ, n the group's mean, population deviation, size.

    - ``none``: x (REINFORCE without a baseline)
    - ``mean``: x − μ (Dr. GRPO, arXiv 2503.20783)
    - ``mean_std``: (x − μ) / (σ + 1e-6) (GRPO, arXiv 2402.03300)
    - ``leave_one_out``: x − mean of the others = (x − μ) · n / (n − 1) (RLOO, arXiv 2402.14740)

    A group of one, or of equal values, gives exactly 0, except with ``none``.
    """
    if values.shape != (len(groups),):
        raise ValueError(f"{len(groups)} groups for values of shape {values.shape}")
    if how == "none" or not len(values):
        return values.astype(np.float64)
    index = group_index(groups)
    size = np.bincount(index).astype(np.float64)
    centred = values - (np.bincount(index, values) / size)[index]
    low, high = np.full(len(size), np.inf), np.full(len(size), -np.inf)
    with np.errstate(invalid="ignore"):
        np.minimum.at(low, index, values)
        np.maximum.at(high, index, values)
        # What is not finite stays so: as 0 it would pass for no variance.
        varied = ~((high - low) <= EQUAL)[index]
    if how == "mean_std":
        deviation = np.sqrt(np.bincount(index, centred**2) / size)
        centred = centred / (deviation[index] + EPSILON)
    elif how == "leave_one_out":
        centred = centred * (size / np.maximum(size - 1, 1))[index]
    return np.where(varied, centred, 0.0)


def discounted_returns(rewards: Array, steps: NDArray[np.int64], episodes: NDArray[np.int64], gamma: float) -> Array:
    """G_t = r_t + γ^{k_t} · G_{t+1} within each episode, where decision t executed k_t control steps.

    Args:
        rewards: [M] reward of a decision, discounted within its chunk.
        steps: [M] control steps that it executed.
        episodes: [M] which episode it belongs to; an episode's decisions stand together and in order.
        gamma: discount a control step.

    Returns:
        [M].
    """
    returns = np.zeros(len(rewards))
    following = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        if t + 1 == len(rewards) or episodes[t + 1] != episodes[t]:
            following = 0.0
        following = returns[t] = rewards[t] + gamma ** int(steps[t]) * following
    return returns


def group_advantage(
    returns: Array,
    groups: Sequence[Hashable],
    episodes: NDArray[np.int64],
    *,
    norm: Norm = "mean_std",
    step_returns: Array | None = None,
    step_groups: Sequence[Hashable] | None = None,
    step_norm: Norm = "mean_std",
    step_weight: float = 0.0,
) -> Array:
    """A_t = norm_gE(R(τ)) + ω · norm_gS(G_t), one value a decision.

    ============================  =====================  ===  ======================  =================
    method                        gE                     ω    gS                      norm
    ============================  =====================  ===  ======================  =================
    REINFORCE                     any                    0                            ``none``
    GRPO                          task and seed          0                            ``mean_std``
    Dr. GRPO                      task and seed          0                            ``mean``
    RLOO                          task and seed          0                            ``leave_one_out``
    REINFORCE++                   one group (the batch)  0                            ``mean_std``
    task-relative REINFORCE++     task type and role     0                            ``mean_std``
    MemAgent                      task and seed          0                            ``mean``
    GiGPO                         task and seed          1    task, seed, state key   either of the two
    ============================  =====================  ===  ======================  =================

    MemAgent gives the scalar of a sample to each of the contexts that made it: M then counts contexts, and ``episodes``
    says which sample a context is of. An episode that plays several roles counts once in each: N then counts episodes
    and roles, and ``episodes`` points from each reply to that pair.

    Args:
        returns: [N] R(τ), undiscounted.
        groups: [N] gE of each episode.
        episodes: [M] index in 0..N-1 of the episode to which a decision belongs.
        norm: how an episode's return is set against its group.
        step_returns: [M] G_t; needed where ``step_weight`` is not 0.
        step_groups: [M] gS of each decision; a group of one gives 0.
        step_norm: how G_t is set against its step group.
        step_weight: ω.

    Returns:
        [M].
    """
    advantage = normalise(returns, groups, norm)[episodes]
    if step_weight:
        if step_returns is None or step_groups is None:
            raise ValueError("a step weight needs step_returns and step_groups")
        advantage = advantage + step_weight * normalise(step_returns, step_groups, step_norm)
    return advantage


def gae(
    rewards: Array,
    values: Array,
    steps: NDArray[np.int64],
    episodes: NDArray[np.int64],
    gamma: float,
    lam: float,
) -> tuple[Array, Array]:
    """Generalised advantage estimation over decisions (arXiv 1506.02438), for decisions of k_t control steps.

    δ_t = r_t + γ^{k_t} V_{t+1} − V_t,   A_t = δ_t + γ^{k_t} λ A_{t+1},   return_t = A_t + V_t.

    λ decays once a decision. Left out: no bootstrap at the horizon. A truncated episode ends with V = 0, because the
    horizon is part of the task (J sums t < T) and success in time is what is paid.

    Args:
        rewards: [M] discounted within their chunk.
        values: [M] V of the state in which each decision was taken.
        steps: [M] control steps executed.
        episodes: [M]; an episode's decisions stand together and in order.
        gamma: discount a control step.
        lam: λ in [0, 1].

    Returns:
        Advantages [M] and value targets [M].
    """
    advantages = np.zeros(len(rewards))
    for t in range(len(rewards) - 1, -1, -1):
        discount = gamma ** int(steps[t])
        ends = t + 1 == len(rewards) or episodes[t + 1] != episodes[t]
        next_value, next_advantage = (0.0, 0.0) if ends else (values[t + 1], advantages[t + 1])
        delta = rewards[t] + discount * next_value - values[t]
        advantages[t] = delta + discount * lam * next_advantage
    return advantages, advantages + values


def token_gae(
    rewards: Array,
    values: Array,
    mask: NDArray[np.bool_],
    steps: NDArray[np.int64],
    decisions: NDArray[np.int64],
    episodes: NDArray[np.int64],
    gamma: float,
    lam: float,
) -> tuple[Array, Array]:
    """Generalised advantage estimation over sampled tokens: a decision's last one is paid, and only there time passes.

    :func:`gae` over the tokens of the mask, where γ^0 = 1 stands between tokens of a decision and γ^k after its last.
    Tokens that were not sampled are passed over: the next value and λ are carried through them, and they get 0. What a
    decision without any sampled token is paid goes to the decision before it.

    Args:
        rewards: [M] discounted within their chunk.
        values: [T] V before each token.
        mask: [T] True where the policy sampled the token.
        steps: [M] control steps executed.
        decisions: [T] index in 0..M-1, not falling.
        episodes: [M]; an episode's decisions stand together and in order.
        gamma: discount a control step.
        lam: λ in [0, 1], a token.

    Returns:
        Advantages [T] and value targets [T], 0 outside the mask.
    """
    rewards, steps = _folded(rewards, np.bincount(decisions[mask], minlength=len(rewards)), steps, episodes, gamma)
    at, last = decisions[mask], _lasts(decisions[mask])
    return _scatter(
        mask,
        gae(np.where(last, rewards[at], 0.0), values[mask], np.where(last, steps[at], 0), episodes[at], gamma, lam),
    )


def bilevel_gae(
    rewards: Array,
    values: Array,
    mask: NDArray[np.bool_],
    steps: NDArray[np.int64],
    decisions: NDArray[np.int64],
    episodes: NDArray[np.int64],
    gamma: float,
    lam: float,
) -> tuple[Array, Array]:
    """Bi-level generalised advantage estimation (VAGEN, arXiv 2510.16907): turns in an episode, then tokens in a turn.

    1. :func:`gae` over decisions, V of a decision being that before its first sampled token, gives G = A + V.
    2. :func:`gae` over the sampled tokens of each decision alone, undiscounted, with G as the pay of its last token.

    So λ decays over turns for what happens between turns, and over tokens only within one. Departs from VAGEN, which
    takes a turn's value at its last token, and has a discount within the turn.

    Arguments and result as :func:`token_gae`.
    """
    counts = np.bincount(decisions[mask], minlength=len(rewards))
    rewards, steps = _folded(rewards, counts, steps, episodes, gamma)
    spoken = counts > 0
    at, last = decisions[mask], _lasts(decisions[mask])
    first = np.concatenate([[True], last[:-1]]) if len(last) else last
    _, targets = gae(rewards[spoken], values[mask][first], steps[spoken], episodes[spoken], gamma, lam)
    paid = np.zeros(len(at))
    paid[last] = targets
    return _scatter(mask, gae(paid, values[mask], np.zeros(len(at), np.int64), at, 1.0, lam))


def _folded(
    rewards: Array, counts: NDArray[np.int64], steps: NDArray[np.int64], episodes: NDArray[np.int64], gamma: float
) -> tuple[Array, NDArray[np.int64]]:
    """Rewards and steps of decisions without sampled tokens, added to those of the decision before."""
    rewards, steps = rewards.copy(), steps.copy()
    for t in range(len(rewards) - 1, 0, -1):
        if not counts[t] and episodes[t - 1] == episodes[t]:
            rewards[t - 1] += gamma ** int(steps[t - 1]) * rewards[t]
            steps[t - 1] += steps[t]
    return rewards, steps


def _lasts(decisions: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True at each decision's last entry."""
    return np.append(decisions[1:] != decisions[:-1], True)[: len(decisions)]


def _scatter(mask: NDArray[np.bool_], kept: tuple[Array, Array]) -> tuple[Array, Array]:
    advantages, targets = np.zeros(len(mask)), np.zeros(len(mask))
    advantages[mask], targets[mask] = kept
    return advantages, targets


def group_sizes(groups: Sequence[Hashable]) -> NDArray[np.int64]:
    """How many members the group of each entry has, [M]."""
    index = group_index(groups)
    return np.bincount(index)[index] if len(index) else index


def whiten(values: Array, weights: Array) -> Array:
    """(x − μ) / (σ + 1e-6) [M], where μ and σ count each value with its weight [M] (its tokens)."""
    total = weights.sum()
    if total == 0:
        return np.zeros_like(values)
    mean = (weights * values).sum() / total
    deviation = np.sqrt((weights * (values - mean) ** 2).sum() / total)
    return np.asarray((values - mean) / (deviation + EPSILON))
