"""Losses: pure functions over torch tensors.

Shapes: B rows (one generation each), T reply tokens, right-padded; names end in ``_bt`` or ``_b``. A token that the
policy did not sample is masked out of every loss, KL included, and gets exactly zero gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.config import Aggregation


def clipped_surrogate(
    logp_bt: Tensor,
    old_logp_bt: Tensor,
    advantage_bt: Tensor,
    clip_low: float,
    clip_high: float,
    dual_clip: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """max(−Aρ, −A · clip(ρ, 1−ε_low, 1+ε_high)), ρ = π/π_old (PPO, arXiv 1707.06347; asymmetric as in DAPO 2503.14476).

    With ``dual_clip`` c > 1, where A < 0 the loss is at most −c·A (arXiv 1912.09729).

    Returns:
        The loss [B, T] and, bool [B, T], where clipping made its gradient zero.
    """
    assert logp_bt.shape == old_logp_bt.shape == advantage_bt.shape
    ratio = torch.exp(logp_bt - old_logp_bt)
    free = -advantage_bt * ratio
    clipped = -advantage_bt * ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    loss = torch.maximum(free, clipped)
    stopped = clipped > free
    if dual_clip:
        bound = -dual_clip * advantage_bt
        over = (advantage_bt < 0) & (loss > bound)
        loss, stopped = torch.where(over, bound, loss), stopped | over
    return loss, stopped.detach()


def k3(logp_bt: Tensor, other_logp_bt: Tensor) -> Tensor:
    """Unbiased, never negative estimate of KL(π ‖ other): e^x − x − 1 with x = log other − log π, [B, T]."""
    x = other_logp_bt - logp_bt
    return torch.exp(x) - x - 1.0


def truncated_weight(logp_bt: Tensor, sampled_logp_bt: Tensor, cap: float) -> Tensor:
    """min(π / π_sampler, cap), [B, T], without gradient: truncated importance sampling.

    For log-probs that another engine or older weights gave: π is the policy at the start of the update, whose ratio the
    surrogate then clips as ever. The cap bounds the variance, at the price of a bias (Ionides 2008; arXiv 2505.24034).
    """
    assert logp_bt.shape == sampled_logp_bt.shape
    return torch.exp(logp_bt - sampled_logp_bt).clamp(max=cap).detach()


def value_loss(value_b: Tensor, old_value_b: Tensor, return_b: Tensor, clip: float) -> Tensor:
    """½ · max((V − G)², (V_clipped − G)²), V_clipped within ``clip`` of the old value; 0: not clipped. Any shape."""
    assert value_b.shape == old_value_b.shape == return_b.shape
    squared = (value_b - return_b) ** 2
    if clip:
        near = old_value_b + (value_b - old_value_b).clamp(-clip, clip)
        squared = torch.maximum(squared, (near - return_b) ** 2)
    return 0.5 * squared


def masked(values_bt: Tensor, mask_bt: Tensor) -> Tensor:
    """Values with exactly 0, and exactly zero gradient, where the mask is False, whatever stood there."""
    return torch.where(mask_bt, values_bt, torch.zeros((), dtype=values_bt.dtype, device=values_bt.device))


def aggregate(
    loss_bt: Tensor,
    mask_bt: Tensor,
    how: Aggregation,
    *,
    tokens: float,
    rows: float,
    sequences: float,
    share_b: Tensor,
    constant: float = 1.0,
) -> Tensor:
    """A scalar, such that the sum over micro-batches and ranks is the loss of the whole batch.

    - ``token``: Σ loss / tokens: every token of the batch weighs the same (DAPO)
    - ``sequence``: Σ_episodes (mean over the episode's tokens) / episodes: every episode weighs the same, however many
      turns it has (GRPO as published, whose output is one sequence)
    - ``constant``: Σ loss / (rows · constant): no length bias (Dr. GRPO)

    Args:
        loss_bt: [B, T].
        mask_bt: [B, T] bool.
        how: see above.
        tokens: unmasked tokens in the whole batch, over all ranks.
        rows: rows in the whole batch, over all ranks.
        sequences: episodes in the whole batch, over all ranks: Σ_rows share · unmasked tokens.
        share_b: [B] what one token is of its episode: 1 / unmasked tokens over all of its rows.
        constant: the longest reply, in tokens.
    """
    kept = masked(loss_bt, mask_bt)
    if how == "token":
        return kept.sum() / tokens
    if how == "sequence":
        return (kept.sum(1) * share_b).sum() / sequences
    return kept.sum() / (rows * constant)
