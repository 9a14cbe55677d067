"""The update: losses of micro-batches, one optimiser step identical on every rank."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episode import Decision, Trajectory, stream
from policy.vlm import VLM, Scores
from training.config import Config, ConfigError
from training.critic import Layout
from training.distributed import all_reduce_gradients, all_reduce_sum, gather_objects, rank
from training.losses import aggregate, clipped_surrogate, k3, masked, truncated_weight, value_loss
from training.samples import Sample, row_of
from training.trainee import Trainee, padded, score

MEASURED = 16
"""Replies of each rank on which an update's KL is measured."""


@dataclass(slots=True)
class _Sums:
    """Sums over one step's tokens, for the log."""

    tokens: float = 0.0
    entropy: float = 0.0
    reference_kl: float = 0.0
    clipped: float = 0.0
    loss: float = 0.0
    value_loss: float = 0.0
    compared: float = 0.0
    """Tokens scored again before the weights changed."""
    difference: float = 0.0
    """Σ |recomputed − sampled log-prob| over those."""
    weights: float = 0.0
    """Σ of the tokens' importance weights."""

    def compare(self, now: Tensor, sampled: Tensor, mask: Tensor) -> float:
        """Count log-probs [B, T], masked, of unchanged weights against those of the rollout; the largest difference."""
        gap = (now - sampled).abs()
        self.compared += float(mask.sum())
        self.difference += float(gap.sum())
        return float(gap.max())


class Learner(Trainee):
    """The model, its optimiser and what they did."""

    def __init__(
        self, vlm: VLM, config: Config, longest: int, reference: VLM | None = None, layout: Layout | None = None
    ) -> None:
        """What learns, and how.

        Args:
            vlm: the model.
            config: the run's.
            longest: the longest reply in tokens.
            reference: a frozen copy of the start, where ``config.kl`` is not 0.
            layout: of the privileged states, where the critic sees them.

        Raises:
            ConfigError: the loss would be divided by zero.
        """
        if config.aggregation == "constant" and longest < 1:
            raise ConfigError(
                f"aggregation constant divides by the longest reply, and that of codec {config.codec} has {longest} "
                "tokens: give the codec a max_tokens of at least 1, or take --aggregation token"
            )
        super().__init__(vlm, config)
        self.layout = layout
        self.longest = longest
        self.reference = reference

    # --- scoring without learning

    def values(self, trajectories: Sequence[Trajectory]) -> None:
        """Fill ``token_values`` of every decision, and ``value``: V before the first token of its last generation."""

        def taken(scores: Scores) -> Tensor:
            assert scores.values is not None, "this algorithm needs a value head"
            return scores.values

        for decision, spans in self._by_token(self.vlm, trajectories, taken):
            decision.token_values, decision.value = np.concatenate(spans), float(spans[-1][0])

    def references(self, trajectories: Sequence[Trajectory]) -> None:
        """Fill ``reference_logps`` of every decision."""
        assert self.reference is not None, "this algorithm needs the policy at the start"
        for decision, spans in self._by_token(self.reference, trajectories, lambda scores: scores.logps):
            decision.reference_logps = np.concatenate(spans)

    @torch.no_grad()
    def _by_token(
        self, vlm: VLM, trajectories: Sequence[Trajectory], taken: Callable[[Scores], Tensor]
    ) -> Iterator[tuple[Decision, list[NDArray[np.float32]]]]:
        """Each decision with what a model says of its reply tokens, [R] a generation."""
        decisions = [(t, d) for t in trajectories for d in t.decisions]
        rows = [row_of(t, d, index, self.layout) for t, d in decisions for index in range(len(d.generations))]
        found: dict[int, NDArray[np.float32]] = {}
        for indices in self.batches(rows):
            numbers = taken(score(vlm, [rows[i] for i in indices])).cpu().numpy()
            found.update(zip(indices, numbers, strict=True))
        in_order = iter(found[i] for i in range(len(rows)))
        for _, decision in decisions:
            yield decision, [next(in_order)[: len(g.reply_ids)] for g in decision.generations]

    @torch.no_grad()
    def _again(self, samples: Sequence[Sample]) -> Iterator[tuple[list[int], Tensor, Tensor, Tensor]]:
        """By micro-batch: which samples, their log-probs now, the sampled ones, and the mask; 0 where it is False."""
        for indices in self.batches([s.row for s in samples]):
            part = [samples[i] for i in indices]
            logps = score(self.vlm, [s.row for s in part]).logps.cpu()
            mask = padded([s.mask for s in part], logps)
            yield indices, masked(logps, mask), masked(padded([s.old_logps for s in part], logps), mask), mask

    @torch.no_grad()
    def _rescored(self, samples: Sequence[Sample], sums: _Sums) -> tuple[list[Sample], float]:
        """The samples with log-probs of the weights as they are, and what truncated importance sampling weighs them.

        And the largest difference between these and the sampled ones: here alone both are at hand.
        """
        rescored, worst = list(samples), 0.0
        for indices, logps, sampled, mask in self._again(samples):
            worst = max(worst, sums.compare(logps, sampled, mask))
            weights = truncated_weight(logps, sampled, self.config.importance_cap)
            for index, now, weight in zip(indices, logps.numpy(), weights.numpy(), strict=True):
                length = len(samples[index].old_logps)
                rescored[index] = replace(samples[index], old_logps=now[:length], weights=weight[:length])
        return rescored, worst

    # --- learning

    def update(
        self, samples: Sequence[Sample], step: int, surrogate: bool = True, sampled: bool = True
    ) -> dict[str, float]:
        """Learn from this rank's samples together with all other ranks'.

        Args:
            samples: rows with advantages; a rank may have none.
            step: number of the training step; keys the shuffling.
            surrogate: clipped surrogate; False is the log-likelihood weighted by the advantages.
            sampled: whether the policy said these replies itself, so that its log-probs now and then are compared.

        Returns:
            Figures for the log, the same on every rank, those alone that there was something to measure. ``dropped``
            counts optimiser steps that were left out because something was not finite; ``logp_difference/…`` stands
            only where rollout and update were compared.
        """
        self.set_rates(step)  # logged, also where no step is taken: a resumed run must not log what it began with
        sums, norms, dropped, worst, before = _Sums(), [], 0, 0.0, self.optimizer_steps
        rescored = bool(self.config.importance_cap) and surrogate
        if rescored:
            samples, worst = self._rescored(samples, sums)
        self.vlm.eval()  # dropout would score another policy than the one that played
        for epoch in range(self.config.epochs):
            shuffled = stream(self.config.seed, "minibatches", step, epoch, rank()).permutation(len(samples))
            for part in np.array_split(shuffled, self.config.minibatches):
                chosen = [samples[i] for i in part]
                fresh = sampled and self.optimizer_steps == before and dropped == 0 and not rescored
                far = self._gradients(chosen, sums, fresh, surrogate)
                if far is None:
                    continue
                worst = max(worst, far)
                norm = self.descend(step)
                norms += [norm] if np.isfinite(norm) else []
                dropped += not np.isfinite(norm)
        self.vlm.weight_version += 1
        figures = self._figures(sums, norms, dropped, worst)
        return figures | ({"kl": self._moved(samples, step)} if surrogate and "entropy" in figures else {})

    def _moved(self, samples: Sequence[Sample], step: int) -> float:
        """KL a token from the policy that played to the one that this update made, over some replies of each rank."""
        drawn = stream(self.config.seed, "moved", step, rank()).permutation(len(samples))[:MEASURED]
        chosen, moved, tokens = [samples[i] for i in drawn], 0.0, 0.0
        for _, logps, sampled, mask in self._again(chosen):
            moved += float(masked(k3(sampled, logps), mask).sum())
            tokens += float(mask.sum())
        moved, tokens = all_reduce_sum([moved, tokens])
        return moved / max(tokens, 1.0)

    def _gradients(self, samples: Sequence[Sample], sums: _Sums, fresh: bool, surrogate: bool) -> float | None:
        """Summed gradients of one mini-batch over all ranks; None where no rank has a token.

        Returns the largest difference between recomputed and sampled log-probs, where the weights are still ``fresh``.
        """
        tokens, rows, sequences, valued = all_reduce_sum(
            [
                sum(int(s.mask.sum()) for s in samples),
                len(samples),
                sum(s.share * int(s.mask.sum()) for s in samples),
                sum(int(s.valued.sum()) for s in samples),
            ]
        )
        counts = {"tokens": tokens, "rows": rows, "sequences": sequences}
        if not tokens:
            return None
        self.optimizer.zero_grad(set_to_none=True)
        worst = 0.0
        for indices in self.walk([s.row for s in samples]):
            loss, far = self._loss([samples[i] for i in indices], sums, counts, max(valued, 1.0), fresh, surrogate)
            loss.backward()  # type: ignore[no-untyped-call]
            worst = max(worst, far)
        all_reduce_gradients(self.vlm)
        return worst

    def _loss(
        self,
        samples: Sequence[Sample],
        sums: _Sums,
        counts: dict[str, float],
        valued: float,
        fresh: bool,
        surrogate: bool,
    ) -> tuple[Tensor, float]:
        """This micro-batch's part of the loss of the whole batch, and the largest log-prob difference."""
        config = self.config
        scores = score(self.vlm, [s.row for s in samples])
        mask = padded([s.mask for s in samples], scores.logps)
        old = padded([s.old_logps for s in samples], scores.logps)
        advantage = padded([s.advantages for s in samples], scores.logps)
        assert scores.logps.shape == mask.shape == scores.mask.shape
        logp, old = masked(scores.logps, mask), masked(old, mask)

        share = torch.tensor([s.share for s in samples], device=scores.logps.device)

        def total(loss_bt: Tensor) -> Tensor:
            return aggregate(loss_bt, mask, config.aggregation, **counts, share_b=share, constant=float(self.longest))

        stopped = torch.zeros_like(mask)
        if surrogate:
            policy, stopped = clipped_surrogate(
                logp, old, advantage, config.clip_low, config.clip_high, config.dual_clip
            )
        else:
            policy = -advantage * logp
        if config.importance_cap:
            weight = padded([s.weights for s in samples], scores.logps)
            policy = weight * policy
            sums.weights += float(masked(weight, mask).sum())
        loss = total(policy)
        if config.entropy:
            loss = loss - config.entropy * total(scores.entropy)
        if self.reference is not None:
            with torch.no_grad():
                anchor = masked(score(self.reference, [s.row for s in samples]).logps, mask)
            penalty = k3(logp, anchor)
            loss = loss + config.kl * total(penalty)
            sums.reference_kl += float(masked(penalty, mask).detach().sum())
        sums.loss += float(loss.detach())
        if scores.values is not None and config.value:
            loss = loss + config.value * self._value_part(samples, scores.values, sums, valued)
        _count(sums, scores, logp.detach(), old, mask, stopped)
        far = 0.0
        if fresh:
            far = sums.compare(logp.detach(), old, mask)
        return loss, far

    def _value_part(self, samples: Sequence[Sample], values: Tensor, sums: _Sums, valued: float) -> Tensor:
        old, target = padded([s.old_values for s in samples], values), padded([s.targets for s in samples], values)
        squared = value_loss(values, old, target, self.config.value_clip)
        loss: Tensor = masked(squared, padded([s.valued for s in samples], values)).sum() / valued
        sums.value_loss += float(loss.detach())
        return loss

    def _figures(self, sums: _Sums, norms: Sequence[float], dropped: int, worst: float) -> dict[str, float]:
        names = [f.name for f in fields(_Sums)]
        s = _Sums(*all_reduce_sum([getattr(sums, name) for name in names]))
        largest = max(gather_objects(worst))
        updates = max(1, len(norms) + dropped)
        figures = {
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
            "updates": float(len(norms)),
            "dropped": float(dropped),
        }
        if s.compared:
            figures["logp_difference/mean"] = s.difference / s.compared
            figures["logp_difference/max"] = largest
        if not s.tokens:  # a step without variance measures nothing, and nothing is not 0
            return figures
        figures |= {"entropy": s.entropy / s.tokens, "clip": s.clipped / s.tokens, "loss": s.loss / updates}
        if norms:
            figures["grad_norm"] = float(np.mean(norms))
        if self.reference is not None:
            figures["kl/reference"] = s.reference_kl / s.tokens
        if self.config.importance_cap:
            figures["importance"] = s.weights / s.tokens
        if self.vlm.value_head is not None:
            figures["value/loss"] = s.value_loss / updates
        return figures


@torch.no_grad()
def _count(sums: _Sums, scores: Scores, logp: Tensor, old: Tensor, mask: Tensor, stopped: Tensor) -> None:
    sums.tokens += float(mask.sum())
    sums.entropy += float(masked(scores.entropy, mask).sum())
    sums.clipped += float((stopped & mask).sum())
