"""Learning from pairs: one loss, and the margin of each method.

    loss = −log σ(margin)

=============================  ===========================================================================
method                         margin
=============================  ===========================================================================
reward model (Bradley-Terry)   r(chosen) − r(rejected)
DPO (arXiv 2305.18290)         β · [Σ_tokens x(chosen) − Σ_tokens x(rejected)]
turn-level DPO                 the same, of two replies to one turn
SWEET-RL critic (2503.15478)   β · [mean over turns of A(chosen) − of A(rejected)], A_t = mean over tokens of x
=============================  ===========================================================================

where x = log π − log π_ref of a sampled token, and the critic's π sees the privileged state. Means over turns, where
the paper has sums: the preferred episode of a group is mostly the shorter one, and a sum is ranked by lowering A of
every turn, which says nothing of any. Pure functions over torch tensors; shapes as in ``losses.py``. Left out: label
smoothing.

A margin spans many rows, more than go through a model at once: :func:`pulls` gives the loss's gradient by each row's
score, so that rows can be weighed with it and scored again in micro-batches.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.advantages import EQUAL
from training.losses import masked

Indices = Sequence[int] | NDArray[np.int64]


def preference_loss(margin: Tensor) -> Tensor:
    """−log σ(margin) of each pair, of any shape; its gradient by the margin is σ(margin) − 1."""
    return F.softplus(-margin)


def ratio(logp_bt: Tensor, reference_bt: Tensor, mask_bt: Tensor) -> Tensor:
    """Σ over a row's sampled tokens of log π − log π_ref, [B]; exactly zero gradient on the others."""
    assert logp_bt.shape == reference_bt.shape == mask_bt.shape
    return (masked(logp_bt, mask_bt) - masked(reference_bt, mask_bt)).sum(1)


def turn_advantage(logp_bt: Tensor, reference_bt: Tensor, mask_bt: Tensor) -> Tensor:
    """SWEET-RL's A(o, c, a) of each turn [B]: the mean over sampled tokens of log π(a|o, c) − log π_ref(a|o, c)."""
    return ratio(logp_bt, reference_bt, mask_bt) / mask_bt.sum(1).clamp(min=1)


def margins(scores_b: Tensor, side: Indices, pair: Indices, pairs: int, beta: float = 1.0) -> Tensor:
    """β · (Σ scores of the chosen side − Σ scores of the rejected side) of each pair.

    One row a side for a reward model, DPO and turn-level DPO; one row a turn for the SWEET-RL critic, its score over
    the number of the episode's turns.

    Args:
        scores_b: [B] rewards, ratios or turn advantages.
        side: [B] +1 where the row belongs to the chosen side, −1 to the rejected, 0 to none.
        pair: [B] 0..pairs-1.
        pairs: how many there are.
        beta: how far the policy may leave its reference (DPO: 0.1); 1 for a reward model.

    Returns:
        [pairs].
    """
    assert scores_b.shape == (len(side),) == (len(pair),)
    signs = torch.as_tensor(side, dtype=scores_b.dtype, device=scores_b.device)
    index = torch.as_tensor(pair, dtype=torch.int64, device=scores_b.device)
    kept = signs != 0
    sums = torch.zeros(pairs, dtype=scores_b.dtype, device=scores_b.device)
    return beta * sums.index_add(0, index[kept], (scores_b * signs)[kept])


def pulls(scores_b: Tensor, side: Indices, pair: Indices, pairs: int, beta: float = 1.0) -> Tensor:
    """Minus the gradient of Σ −log σ(margin) by each row's score: side · β · (1 − σ(margin)), [B], without gradient.

    Arguments as in :func:`margins`; 0 where a row's side is 0.
    """
    if not pairs:
        return torch.zeros_like(scores_b)
    missed = torch.sigmoid(-margins(scores_b.detach(), side, pair, pairs, beta))
    index = torch.as_tensor(pair, dtype=torch.int64, device=scores_b.device)
    return beta * missed[index] * torch.as_tensor(side, dtype=scores_b.dtype, device=scores_b.device)


def sides(pairs: Sequence[tuple[int, int]], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (better, worse) of ``count`` candidates as :func:`margins` takes them: side [C] and pair [C].

    A candidate stands in one pair at most; the side of those in none is 0.
    """
    side, pair = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for number, (better, worse) in enumerate(pairs):
        side[better], side[worse] = 1, -1
        pair[better] = pair[worse] = number
    return side, pair


def ranked_pairs(scores: NDArray[np.float64], turns: Sequence[Hashable], tie: float = 0.0) -> list[tuple[int, int]]:
    """Candidates [C] of turns [C] as (better, worse): the best of a turn with its worst, the next best with the next.

    Scores that differ by no more than ``tie`` (and rounding) say nothing and make no pair, nor does one that is not
    finite, which has no rank; of an odd number the middle one is left out. With the critic's turn advantages as scores
    these are SWEET-RL's pairs for turn-level DPO (there: drawn from the upper and lower half).
    """
    places: dict[Hashable, list[int]] = {}
    for index, turn in enumerate(turns):
        if np.isfinite(scores[index]):
            places.setdefault(turn, []).append(index)
    pairs = []
    for members in places.values():
        order = sorted(members, key=lambda i: (-scores[i], i))
        pairs += [(order[k], order[-1 - k]) for k in range(len(order) // 2)]
    return [(better, worse) for better, worse in pairs if scores[better] - scores[worse] > tie + EQUAL]
