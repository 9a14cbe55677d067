"""A model that learns, as policies and judges do: its optimiser, its schedule, and what a checkpoint holds of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episode import frame_key
from policy.packing import Row
from policy.vlm import VLM, Scores
from training.checkpoint import CheckpointError
from training.config import Config
from training.samples import micro_batches


class Trainee:
    """A model with its AdamW; what starts from nothing (value head, adapter) learns at a rate of its own."""

    def __init__(self, vlm: VLM, config: Config) -> None:
        self.vlm = vlm
        self.config = config
        self.optimizer_steps = 0
        head = [p for part in (vlm.value_head, vlm.adapter) if part is not None for p in part.parameters()]
        body = [p for p in vlm.parameters() if p.requires_grad and not any(p is h for h in head)]
        groups = [{"params": body, "rate": config.learning_rate}]
        if head:
            groups.append({"params": head, "rate": config.value_learning_rate})
        self.optimizer = torch.optim.AdamW(
            groups, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=config.weight_decay
        )

    def batches(self, rows: Sequence[Row]) -> list[list[int]]:
        """Indices of rows by micro-batch."""
        return micro_batches(rows, self.config.token_budget, self.vlm.family)

    def walk(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """The same one by one: each is scored and walked backward once before the next is asked for.

        So frames that several of them show go through a vision tower that learns once.
        """
        batches = self.batches(rows)
        frames = [{frame_key(image) for i in indices for image in rows[i].images} for indices in batches]
        for number in self.vlm.family.sharing(frames):
            yield batches[number]

    def descend(self, step: int) -> float:
        """One optimiser step, left out where the gradient is not finite; the gradient's norm before it was clipped."""
        norm = float(torch.nn.utils.clip_grad_norm_(self.vlm.parameters(), self.config.max_grad_norm))
        if np.isfinite(norm):
            self.set_rates(step)
            self.optimizer.step()
            self.optimizer_steps += 1
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def set_rates(self, step: int) -> None:
        """What the schedule says at training step ``step``."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * self.rate_factor(step)

    def rate_factor(self, step: int) -> float:
        """The schedule: linear rise over ``warmup`` optimiser steps, and a linear fall to 0.

        The fall takes the last ``decay`` of the steps in which the policy learns.
        """
        rise = min(1.0, (self.optimizer_steps + 1) / max(self.config.warmup, 1))
        left = (self.config.steps - step) / (self.config.steps - self.config.judge_steps)
        return rise * min(1.0, left / self.config.decay if self.config.decay else 1.0)

    # --- what a checkpoint holds of the optimiser

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """The optimiser's state by parameter name: ``NAME::exp_avg``, ``NAME::exp_avg_sq``, ``NAME::step``."""
        return {
            f"{name}::{kind}": tensor.detach().cpu().contiguous()
            for name, parameter in self.vlm.named_parameters()
            for kind, tensor in self.optimizer.state.get(parameter, {}).items()
        }

    def load_optimizer(self, tensors: dict[str, Tensor], optimizer_steps: int) -> None:
        """The inverse of :meth:`optimizer_tensors`.

        Raises:
            CheckpointError: they are of other parameters than those that are trained.
        """
        parameters = dict(self.vlm.named_parameters())
        trained = {name for name, p in parameters.items() if p.requires_grad and optimizer_steps}
        if other := sorted(trained ^ {key.split("::")[0] for key in tensors}):
            what = ("lacks", "trains") if other[0] in trained else ("holds", "does not train")
            raise CheckpointError(
                f"the checkpoint's optimiser {what[0]} {other[0]}, which this run {what[1]}: it was written with "
                "another --algorithm, --train-vision or --train-embeddings. Resume without those options, or begin a "
                "new run from its model folder with --policy"
            )
        for key, tensor in tensors.items():
            name, kind = key.split("::")
            parameter = parameters[name]
            place = tensor if kind == "step" else tensor.to(parameter.device)
            self.optimizer.state[parameter][kind] = place.clone()
        self.optimizer_steps = optimizer_steps


def score(vlm: VLM, rows: Sequence[Row]) -> Scores:
    """What a model says of rows, in one batch."""
    scores: Scores = vlm(vlm.collate(rows))
    return scores


def padded(parts: Sequence[NDArray[Any]], like: Tensor) -> Tensor:
    """Arrays [R] of several lengths as one [B, T], padded on the right to the width of ``like`` and on its device."""
    whole = np.zeros((len(parts), like.shape[1]), parts[0].dtype)
    for row, part in zip(whole, parts, strict=True):
        row[: len(part)] = part
    return torch.from_numpy(whole).to(like.device)
