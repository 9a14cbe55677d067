"""What an update learns from: one sample a generation, and micro-batches of them under a token budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from episode import Decision, Generation, Trajectory
from policy.families import Family
from policy.packing import MOST, Row, shared
from training.critic import Layout

UNIT = 16
"""Rows whose lengths differ by less, in tokens, count as equally long."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One generation to learn from."""

    row: Row
    old_logps: NDArray[np.float32]
    """[R] as sampled; zeros where none were given (an expert's)."""
    advantages: NDArray[np.float32]
    """[R]."""
    mask: NDArray[np.bool_]
    """[R] True where the policy sampled the token."""
    weights: NDArray[np.float32]
    """[R] of the token's policy loss: 1, or truncated importance weights."""
    old_values: NDArray[np.float32]
    """[R] V before each token, as it was when the episode was credited."""
    targets: NDArray[np.float32]
    """[R] what V should have been."""
    valued: NDArray[np.bool_]
    """[R] True where there is a target."""
    share: float
    """What one token is of its episode: 1 / tokens that the policy sampled in it."""


def row_of(trajectory: Trajectory, decision: Decision, generation: int, layout: Layout | None = None) -> Row:
    """A generation as the model reads it: ids as they were sampled, frames by key; nothing is tokenised again.

    With a ``layout`` the row carries the privileged state too, for an asymmetric critic.
    """
    g, privileged = decision.generations[generation], None
    if layout is not None:
        assert decision.privileged is not None, "the world must be Privileged"
        privileged = layout.vector(trajectory.task.id, decision.privileged)
    images = tuple(trajectory.frames[key] for key in g.images)
    return Row(g.prompt_ids, g.reply_ids, images, g.temperature, privileged)


def samples_of(trajectories: Sequence[Trajectory], critic: bool, layout: Layout | None = None) -> list[Sample]:
    """One sample a generation. Groups whose advantages are all 0 give a critic-free method no gradient of a reward.

    They are left out, and so cost nothing; nor are they held to the start then, or counted in ``entropy`` and
    ``kl/reference``.

    An episode with a reward that is not finite has advantages that are not, whatever the algorithm made of it: the step
    is then dropped and what was not finite is named.
    """
    for trajectory in trajectories:
        if not np.isfinite([d.reward or 0.0 for d in trajectory.decisions]).all():
            for decision in trajectory.decisions:
                assert decision.advantages is not None, "credit the episodes first"
                decision.advantages = np.full_like(decision.advantages, np.nan)
    informative = {
        t.group for t in trajectories if any(d.advantages is not None and d.advantages.any() for d in t.decisions)
    }
    return [
        sample
        for trajectory in trajectories
        if critic or trajectory.group in informative
        for share in [1.0 / max(1, sum(_sampled(g).sum() for d in trajectory.decisions for g in d.generations))]
        for decision in trajectory.decisions
        for sample in _samples(trajectory, decision, critic, layout, share)
    ]


def _sampled(g: Generation) -> NDArray[np.bool_]:
    """[R] True where the policy sampled the token."""
    return np.ones(len(g.reply_ids), np.bool_) if g.mask is None else g.mask


def _samples(
    trajectory: Trajectory, decision: Decision, critic: bool, layout: Layout | None, share: float
) -> Iterator[Sample]:
    assert decision.advantages is not None, "credit the episodes first"
    start, last = 0, len(decision.generations) - 1
    for index, g in enumerate(decision.generations):
        length = len(g.reply_ids)
        mine, zeros = slice(start, start + length), np.zeros(length, np.float32)
        mask = _sampled(g)
        targets, valued = zeros, np.zeros(length, np.bool_)
        if critic and decision.token_returns is not None:
            targets, valued = decision.token_returns[mine], mask
        elif critic and index == last:
            # V of the turn alone: before the first token of what the turn does.
            targets, valued = np.full(length, decision.ret, np.float32), np.arange(length) == 0
        yield Sample(
            row=row_of(trajectory, decision, index, layout),
            old_logps=zeros if g.logps is None else g.logps,
            advantages=decision.advantages[mine],
            mask=mask,
            weights=np.ones(length, np.float32),
            old_values=zeros if decision.token_values is None else decision.token_values[mine],
            targets=targets,
            valued=valued,
            share=share,
        )
        start += length


def micro_batches(rows: Sequence[Row], budget: int, family: Family) -> list[list[int]]:
    """Indices of rows, cut so that packed rows times the longest of them stay within ``budget`` tokens (or one).

    Rows that share a prefix tree go together and count with its tokens (where the model's family packs). Trees of about
    one length go together, so that little is padded, but all that show the same images side by side, as those are
    encoded once. Batches have powers of two of packed rows: on a CPU every new shape costs the kernels a compilation.
    """
    trees = [(group.members, group.tree.length, group.keys) for group in shared(rows, family, min(MOST, budget))]
    longest: dict[tuple[str, ...], int] = {}
    for _, length, keys in trees:
        longest[keys] = max(longest.get(keys, 0), -(-length // UNIT))
    kinds = {keys: number for number, keys in enumerate(longest)}
    trees.sort(key=lambda tree: (longest[tree[2]], kinds[tree[2]], tree[1]))
    batches: list[list[int]] = []
    start = 0
    while start < len(trees):
        size = 1
        while start + 2 * size <= len(trees):
            if 2 * size * max(length for _, length, _ in trees[start : start + 2 * size]) > budget:
                break
            size *= 2
        batches.append([index for members, _, _ in trees[start : start + size] for index in members])
        start += size
    return batches
