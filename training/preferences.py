"""Learning from pairs: one loss, and the margin of each method.

    loss = −log σ(margin)

=============================  ===========================================================================
method                         margin
=============================  ===========================================================================
reward model (Bradley-Terry)   r(chosen) − r(rejected)
DPO (arXiv 2305.18290)         β · [Σ_tokens x(chosen) − Σ_tokens x(rejected)]
turn-level DPO                 the same, of two replies to one turn
SWEET-RL critic (2503.15478)   β · [Σ_turns A(chosen) − Σ_turns A(rejected)], A_t = mean over tokens of x
=============================  ===========================================================================

where x = log π − log π_ref of a sampled token, and the critic's π sees the privileged state. Pure functions over torch
tensors; shapes as in ``losses.py``. Left out: what a run needs around them (collecting pairs, presets); ties and label
smoothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.losses import masked


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


def margins(scores_b: Tensor, side: Sequence[int], pair: Sequence[int], pairs: int, beta: float = 1.0) -> Tensor:
    """β · (Σ scores of the chosen side − Σ scores of the rejected side) of each pair.

    One row a side for a reward model, DPO and turn-level DPO; one row a turn for the SWEET-RL critic.

    Args:
        scores_b: [B] rewards, ratios or turn advantages.
        side: [B] +1 where the row belongs to the chosen side, −1 to the rejected.
        pair: [B] 0..pairs-1.
        pairs: how many there are.
        beta: how far the policy may leave its reference (DPO: 0.1); 1 for a reward model.

    Returns:
        [pairs].
    """
    assert scores_b.shape == (len(side),) == (len(pair),)
    signed = scores_b * torch.tensor(side, dtype=scores_b.dtype, device=scores_b.device)
    index = torch.tensor(pair, dtype=torch.int64, device=scores_b.device)
    return beta * torch.zeros(pairs, dtype=scores_b.dtype, device=scores_b.device).index_add(0, index, signed)


def ranked_pairs(scores: NDArray[np.float64], turns: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Candidates [C] of turns [C] as (better, worse): the best of a turn with its worst, the next best with the next.

    Equal scores say nothing and make no pair; of an odd number the middle one is left out. With the critic's turn
    advantages as scores these are SWEET-RL's pairs for turn-level DPO (there: drawn from the upper and lower half).
    """
    places: dict[Hashable, list[int]] = {}
    for index, turn in enumerate(turns):
        places.setdefault(turn, []).append(index)
    pairs = []
    for members in places.values():
        order = sorted(members, key=lambda i: (-scores[i], i))
        pairs += [(order[k], order[-1 - k]) for k in range(len(order) // 2)]
    return [(better, worse) for better, worse in pairs if scores[better] > scores[worse]]
