"""Muon, its work shared among the ranks.

Departures from ``torch.optim.Muon``, which this follows otherwise (arXiv 2502.16982): the Newton-Schulz iteration runs
in bfloat16 only where the device is quick at it, because a CPU without instructions for it is fifty times slower; all
matrices of a shape iterate together; and each rank orthogonalises its share of the matrices only, as all of them have
the same gradients.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from policy.vlm import quick_bf16
from training import distributed

COEFFICIENTS = (3.4445, -4.775, 2.0315)
"""Of the quintic iteration, as in the reference: steep at 0, so that small singular values rise quickly."""
ITERATIONS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """The nearest semi-orthogonal ones to ``matrices`` [B, m, n], roughly: singular values end within 0.7 and 1.2.

    In the precision of ``matrices``, but for their norms.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.float().norm(dim=(1, 2), keepdim=True).clamp(min=1e-7).to(x.dtype)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _cost(matrix: Tensor) -> int:
    """Multiplications of one iteration, up to a factor."""
    short, long = sorted(matrix.shape)
    return short * short * (2 * long + short)


def shares(matrices: list[Tensor], ranks: int) -> list[int]:
    """The rank that orthogonalises each matrix, so that all have about as much to do: the largest first."""
    load, owner = [0] * ranks, [0] * len(matrices)
    for index in sorted(range(len(matrices)), key=lambda i: -_cost(matrices[i])):
        owner[index] = min(range(ranks), key=load.__getitem__)
        load[owner[index]] += _cost(matrices[index])
    return owner


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised, for matrices; every rank must hold the same gradients.

    Args:
        params: matrices [m, n].
        lr: step size; a matrix moves by ``lr · sqrt(max(1, m / n))`` along its direction.
        momentum: of the gradient, in Nesterov's form.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override] # nothing to evaluate again
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            owner = shares(parameters, distributed.world_size())
            directions = [torch.zeros_like(p) for p in parameters]
            mine: dict[torch.Size, list[int]] = defaultdict(list)
            for index, parameter in enumerate(parameters):
                gradient = self._ahead(parameter, group["momentum"])
                if owner[index] == distributed.rank():
                    directions[index] = gradient
                    mine[parameter.shape].append(index)
            for indices in mine.values():
                quick = quick_bf16(parameters[indices[0]].device)
                stacked = torch.stack([directions[i] for i in indices])
                found = orthogonalise(stacked.bfloat16() if quick else stacked)
                for i, direction in zip(indices, found.to(stacked.dtype), strict=True):
                    directions[i] = direction.contiguous()
            distributed.all_reduce_tensors(directions)
            for parameter, direction in zip(parameters, directions, strict=True):
                rows, columns = parameter.shape
                parameter.add_(direction, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)

    def _ahead(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """The gradient with the momentum that it will have had, of Nesterov."""
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer = state["momentum_buffer"]
        buffer.lerp_(gradient, 1 - momentum)
        return gradient.lerp(buffer, momentum)
