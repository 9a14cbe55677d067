"""The value head: what a state is worth, from what the policy saw and, in an asymmetric critic, what it did not."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

WIDTH = 64
"""Hidden units that mix what was seen with the privileged state."""


def mixer(hidden: int, privileged: int, out: int) -> nn.Sequential:
    """f(h, c) of one hidden layer, which starts as 0: see :func:`mixed`."""
    first, last = nn.Linear(hidden + privileged, WIDTH), nn.Linear(WIDTH, out)
    # A generator of its own: the same start in every run and on every rank.
    nn.init.xavier_uniform_(first.weight, generator=torch.Generator().manual_seed(0))
    for tensor in (first.bias, last.weight, last.bias):
        nn.init.zeros_(tensor)
    return nn.Sequential(first, nn.Tanh(), last)


def mixed(f: nn.Sequential, hidden: Tensor, privileged: Tensor | None) -> Tensor:
    """f(h, c) [B, R, out] of hidden states [B, R, H] and one c [B, C] a row."""
    assert privileged is not None and privileged.shape[0] == hidden.shape[0], "this critic sees the state"
    wide = privileged[:, None].expand(-1, hidden.shape[1], -1)
    return cast(Tensor, f(torch.cat([hidden, wide], -1)))


class ValueHead(nn.Linear):
    """V(o) = w·h + b, from hidden states h of the model; with ``privileged`` entries c, V(o, c) = w·h + b + f(h, c).

    f has one hidden layer. Everything that is added up starts at zero, so that values start at 0. c reaches nothing but
    this head: no log-probability depends on it, so no gradient of a policy loss flows through it or is changed by it.
    """

    def __init__(self, hidden: int, privileged: int = 0) -> None:
        super().__init__(hidden, 1)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
        self.mixed = mixer(hidden, privileged, 1) if privileged else None

    def forward(self, hidden: Tensor, privileged: Tensor | None = None) -> Tensor:
        """Values [B, R] of hidden states [B, R, H], given c [B, C] where this head was made for it."""
        values = super().forward(hidden)
        if self.mixed is not None:
            values = values + mixed(self.mixed, hidden, privileged)
        return values[..., 0]
