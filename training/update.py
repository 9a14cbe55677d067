"""The update: rows from episodes, micro-batches under a token budget, one optimiser step identical on every rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episode import Decision, Trajectory, stream
from policy.vlm import VLM, Row, Scores
from training.config import Config
from training.distributed import all_reduce_gradients, all_reduce_sum, gather_objects, rank
from training.losses import aggregate, clipped_surrogate, k3, masked, value_loss

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
    old_value: float = 0.0
    target: float = 0.0
    valued: bool = False
    """Whether the value at this row's prompt has a target."""


def row_of(trajectory: Trajectory, decision: Decision, generation: int) -> Row:
    """A generation as the model reads it: ids as they were sampled, frames by key; nothing is tokenised again."""
    g = decision.generations[generation]
    return Row(g.prompt_ids, g.reply_ids, tuple(trajectory.frames[key] for key in g.images), g.temperature)


def samples_of(trajectories: Sequence[Trajectory], critic: bool) -> list[Sample]:
    """One sample a generation. Groups whose advantages are all 0 teach a critic-free method nothing: left out."""
    informative = {
        t.group for t in trajectories if any(d.advantages is not None and d.advantages.any() for d in t.decisions)
    }
    return [
        sample
        for trajectory in trajectories
        if critic or trajectory.group in informative
        for decision in trajectory.decisions
        for sample in _samples(trajectory, decision, critic)
    ]


def _samples(trajectory: Trajectory, decision: Decision, critic: bool) -> Iterator[Sample]:
    assert decision.advantages is not None, "credit the episodes first"
    start, last = 0, len(decision.generations) - 1
    for index, g in enumerate(decision.generations):
        length = len(g.reply_ids)
        valued = critic and index == last
        yield Sample(
            row=row_of(trajectory, decision, index),
            old_logps=np.zeros(length, np.float32) if g.logps is None else g.logps,
            advantages=decision.advantages[start : start + length],
            mask=np.ones(length, np.bool_) if g.mask is None else g.mask,
            old_value=float(decision.value or 0.0) if valued else 0.0,
            target=float(decision.ret or 0.0) if valued else 0.0,
            valued=valued,
        )
        start += length


def micro_batches(rows: Sequence[Row], budget: int) -> list[list[int]]:
    """Indices of rows, cut so that rows times the longest row stay within ``budget`` tokens (or one row).

    Rows of about one length go together, so that little is padded; among them those that show the same picture, as it
    is encoded once a micro-batch. Batches have powers of two of rows: on a CPU every new shape costs the kernels a
    compilation.
    """
    lengths = [len(row.prompt_ids) + len(row.reply_ids) for row in rows]
    pictures: dict[tuple[bytes, ...], int] = {}
    kinds = [pictures.setdefault(tuple(image.tobytes() for image in row.images), i) for i, row in enumerate(rows)]
    order = sorted(range(len(rows)), key=lambda i: (-(-lengths[i] // UNIT), kinds[i], i))
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        size = 1
        while start + 2 * size <= len(order):
            longest = max(lengths[i] for i in order[start : start + 2 * size])
            if 2 * size * longest > budget:
                break
            size *= 2
        batches.append(order[start : start + size])
        start += size
    return batches


@dataclass(slots=True)
class _Sums:
    """Sums over one step's tokens, for the log."""

    tokens: float = 0.0
    entropy: float = 0.0
    kl: float = 0.0
    reference_kl: float = 0.0
    clipped: float = 0.0
    loss: float = 0.0
    value_loss: float = 0.0
    compared: float = 0.0
    """Tokens scored again before the weights changed."""
    difference: float = 0.0
    """Σ |recomputed − sampled log-prob| over those."""


class Learner:
    """The model, its optimiser and what they did."""

    def __init__(self, vlm: VLM, config: Config, longest: int, reference: VLM | None = None) -> None:
        """``longest`` is the longest reply in tokens, ``reference`` a frozen copy where ``config.kl`` is not 0."""
        self.vlm = vlm
        self.config = config
        self.longest = longest
        self.reference = reference
        self.optimizer_steps = 0
        head = [] if vlm.value_head is None else list(vlm.value_head.parameters())
        body = [p for p in vlm.parameters() if p.requires_grad and not any(p is h for h in head)]
        groups = [{"params": body, "rate": config.learning_rate}]
        if head:
            groups.append({"params": head, "rate": config.value_learning_rate})
        self.optimizer = torch.optim.AdamW(
            groups, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=config.weight_decay
        )

    # --- scoring without learning

    @torch.no_grad()
    def values(self, trajectories: Sequence[Trajectory]) -> None:
        """Fill ``value`` of every decision: V at the last prompt token of its last generation."""
        decisions = [d for t in trajectories for d in t.decisions]
        rows = [row_of(t, d, len(d.generations) - 1) for t in trajectories for d in t.decisions]
        for indices in micro_batches(rows, self.config.token_budget):
            values = self._score(self.vlm, [rows[i] for i in indices]).values
            assert values is not None, "this algorithm needs a value head"
            for index, value in zip(indices, values.tolist(), strict=True):
                decisions[index].value = float(value)

    def _score(self, vlm: VLM, rows: Sequence[Row]) -> Scores:
        scores: Scores = vlm(vlm.collate(rows))
        return scores

    # --- learning

    def update(self, samples: Sequence[Sample], step: int, surrogate: bool = True) -> dict[str, float]:
        """Learn from this rank's samples together with all other ranks'.

        Args:
            samples: rows with advantages; a rank may have none.
            step: number of the training step; keys the shuffling.
            surrogate: clipped surrogate; False is the log-likelihood weighted by the advantages.

        Returns:
            Figures for the log, the same on every rank. ``dropped`` counts optimiser steps that were left out because
            something was not finite.
        """
        self.vlm.train()
        sums, norms, dropped, worst, before = _Sums(), [], 0, 0.0, self.optimizer_steps
        for epoch in range(self.config.epochs):
            shuffled = stream(self.config.seed, "minibatches", step, epoch, rank()).permutation(len(samples))
            for part in np.array_split(shuffled, self.config.minibatches):
                chosen = [samples[i] for i in part]
                fresh = self.optimizer_steps == before and dropped == 0
                far = self._gradients(chosen, sums, fresh, surrogate)
                if far is None:
                    continue
                worst = max(worst, far)
                norm = self._step(step)
                norms += [norm] if np.isfinite(norm) else []
                dropped += not np.isfinite(norm)
        self.vlm.eval()
        self.vlm.weight_version += 1
        return self._figures(sums, norms, dropped, worst)

    def _gradients(self, samples: Sequence[Sample], sums: _Sums, fresh: bool, surrogate: bool) -> float | None:
        """Summed gradients of one mini-batch over all ranks; None where no rank has a token.

        Returns the largest difference between recomputed and sampled log-probs, where the weights are still ``fresh``.
        """
        tokens, rows, valued = all_reduce_sum(
            [sum(int(s.mask.sum()) for s in samples), len(samples), sum(s.valued for s in samples)]
        )
        if not tokens:
            return None
        self.optimizer.zero_grad(set_to_none=True)
        worst = 0.0
        for indices in micro_batches([s.row for s in samples], self.config.token_budget):
            chosen = [samples[i] for i in indices]
            loss, far = self._loss(chosen, sums, tokens, rows, max(valued, 1.0), fresh, surrogate)
            loss.backward()  # type: ignore[no-untyped-call]
            worst = max(worst, far)
        all_reduce_gradients(self.vlm)
        return worst

    def _loss(
        self,
        samples: Sequence[Sample],
        sums: _Sums,
        tokens: float,
        rows: float,
        valued: float,
        fresh: bool,
        surrogate: bool,
    ) -> tuple[Tensor, float]:
        """This micro-batch's part of the loss of the whole batch, and the largest log-prob difference."""
        config = self.config
        scores = self._score(self.vlm, [s.row for s in samples])
        old, advantage, mask = _padded(samples, scores.logps.shape[1], self.vlm.device)
        assert scores.logps.shape == mask.shape == scores.mask.shape
        logp, old = masked(scores.logps, mask), masked(old, mask)

        def total(loss_bt: Tensor) -> Tensor:
            return aggregate(
                loss_bt,
                mask,
                config.aggregation,
                tokens=tokens,
                rows=rows,
                constant=float(self.longest),
            )

        stopped = torch.zeros_like(mask)
        if surrogate:
            policy, stopped = clipped_surrogate(
                logp, old, advantage, config.clip_low, config.clip_high, config.dual_clip
            )
        else:
            policy = -advantage * logp
        loss = total(policy)
        if config.entropy:
            loss = loss - config.entropy * total(scores.entropy)
        if self.reference is not None:
            with torch.no_grad():
                anchor = masked(self._score(self.reference, [s.row for s in samples]).logps, mask)
            penalty = k3(logp, anchor)
            loss = loss + config.kl * total(penalty)
            sums.reference_kl += float(masked(penalty, mask).detach().sum())
        sums.loss += float(loss.detach())
        if scores.values is not None and config.value:
            loss = loss + config.value * self._value_part(samples, scores.values, sums, valued)
        _count(sums, scores, logp.detach(), old, mask, stopped)
        far = 0.0
        if fresh and surrogate:
            gap = (logp.detach() - old).abs()
            sums.compared += float(mask.sum())
            sums.difference += float(gap.sum())
            far = float(gap.max())
        return loss, far

    def _value_part(self, samples: Sequence[Sample], values: Tensor, sums: _Sums, valued: float) -> Tensor:
        figures = np.array([(s.old_value, s.target, s.valued) for s in samples], np.float32)
        old, target, has = torch.from_numpy(figures.T.copy()).to(values.device)
        loss: Tensor = (value_loss(values, old, target, self.config.value_clip) * has).sum() / valued
        sums.value_loss += float(loss.detach())
        return loss

    def _step(self, step: int) -> float:
        """One optimiser step, left out where the gradient is not finite; the gradient's norm before it was clipped."""
        norm = float(torch.nn.utils.clip_grad_norm_(self.vlm.parameters(), self.config.max_grad_norm))
        if np.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = group["rate"] * self.rate_factor(step)
            self.optimizer.step()
            self.optimizer_steps += 1
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def rate_factor(self, step: int) -> float:
        """The schedule: linear rise over ``warmup`` optimiser steps, linear fall over the last ``decay`` of the run."""
        rise = min(1.0, (self.optimizer_steps + 1) / max(self.config.warmup, 1))
        left = (self.config.steps - step) / self.config.steps
        return rise * min(1.0, left / self.config.decay if self.config.decay else 1.0)

    def _figures(self, sums: _Sums, norms: Sequence[float], dropped: int, worst: float) -> dict[str, float]:
        names = [f.name for f in fields(_Sums)]
        s = _Sums(*all_reduce_sum([getattr(sums, name) for name in names]))
        updates = max(1, len(norms) + dropped)
        figures = {
            "entropy": s.entropy / max(s.tokens, 1.0),
            "kl": s.kl / max(s.tokens, 1.0),
            "clip": s.clipped / max(s.tokens, 1.0),
            "loss": s.loss / updates,
            "grad_norm": float(np.mean(norms)) if norms else 0.0,
            "logp_difference/mean": s.difference / max(s.compared, 1.0),
            "logp_difference/max": max(gather_objects(worst)),
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
            "updates": float(len(norms)),
            "dropped": float(dropped),
        }
        if self.reference is not None:
            figures["kl/reference"] = s.reference_kl / max(s.tokens, 1.0)
        if self.vlm.value_head is not None:
            figures["value/loss"] = s.value_loss / updates
        return figures

    # --- what a checkpoint holds of the optimiser

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """The optimiser's state by parameter name: ``NAME::exp_avg``, ``NAME::exp_avg_sq``, ``NAME::step``."""
        return {
            f"{name}::{kind}": tensor.detach().cpu().contiguous()
            for name, parameter in self.vlm.named_parameters()
            for kind, tensor in self.optimizer.state.get(parameter, {}).items()
        }

    def load_optimizer(self, tensors: dict[str, Tensor], optimizer_steps: int) -> None:
        """The inverse of :meth:`optimizer_tensors`."""
        parameters = dict(self.vlm.named_parameters())
        for key, tensor in tensors.items():
            name, kind = key.split("::")
            parameter = parameters[name]
            place = tensor if kind == "step" else tensor.to(parameter.device)
            self.optimizer.state[parameter][kind] = place.clone()
        self.optimizer_steps = optimizer_steps


def _padded(samples: Sequence[Sample], width: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Old log-probs, advantages and mask, each [B, T], padded on the right."""
    old = np.zeros((len(samples), width), np.float32)
    advantage, mask = np.zeros_like(old), np.zeros(old.shape, np.bool_)
    for b, sample in enumerate(samples):
        length = len(sample.old_logps)
        old[b, :length], advantage[b, :length], mask[b, :length] = sample.old_logps, sample.advantages, sample.mask
    return (
        torch.from_numpy(old).to(device),
        torch.from_numpy(advantage).to(device),
        torch.from_numpy(mask).to(device),
    )


@torch.no_grad()
def _count(sums: _Sums, scores: Scores, logp: Tensor, old: Tensor, mask: Tensor, stopped: Tensor) -> None:
    sums.tokens += float(mask.sum())
    sums.entropy += float(masked(scores.entropy, mask).sum())
    sums.kl += float(masked(k3(old, logp), mask).sum())
    sums.clipped += float((stopped & mask).sum())
