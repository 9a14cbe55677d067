"""Muon in float32, its work shared among the ranks.

Departures from ``torch.optim.Muon``, which this follows otherwise (arXiv 2502.16982): the Newton-Schulz iteration runs
in the parameters' own precision, because bfloat16 without instructions for it is fifty times slower on a CPU; and each
rank orthogonalises its share of the matrices only, as all of them have the same gradients.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from training import distributed

COEFFICIENTS = (3.4445, -4.775, 2.0315)
"""Of the quintic iteration, as in the reference: steep at 0, so that small singular values rise quickly."""
ITERATIONS = 5


def orthogonalise(matrix: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix to ``matrix`` [m, n], roughly: singular values end within 0.7 and 1.2."""
    a, b, c = COEFFICIENTS
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if matrix.shape[0] > matrix.shape[1] else x


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
            directions = [self._direction(p, group["momentum"], o) for p, o in zip(parameters, owner, strict=True)]
            distributed.all_reduce_tensors(directions)
            for parameter, direction in zip(parameters, directions, strict=True):
                rows, columns = parameter.shape
                parameter.add_(direction, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)

    def _direction(self, parameter: nn.Parameter, momentum: float, owner: int) -> Tensor:
        """This rank's part of a matrix's direction: all of it, or zeros."""
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer = state["momentum_buffer"]
        buffer.lerp_(gradient, 1 - momentum)
        if owner != distributed.rank():
            return torch.zeros_like(gradient)
        return orthogonalise(gradient.lerp(buffer, momentum))
