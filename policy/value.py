"""The value head: what a state is worth, from what the policy saw and, in an asymmetric critic, what it did not."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH = 64
"""Hidden units that mix what was seen with the privileged state."""


class ValueHead(nn.Linear):
    """V(o) = w·h + b, from hidden states h of the model; with ``privileged`` entries c, V(o, c) = w·h + b + f(h, c).

    f has one hidden layer. Everything that is added up starts at zero, so that values start at 0. c reaches nothing but
    this head: no log-probability depends on it, so no gradient of a policy loss flows through it or is changed by it.
    """

    def __init__(self, hidden: int, privileged: int = 0) -> None:
        super().__init__(hidden, 1)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
        self.mixed: nn.Sequential | None = None
        if privileged:
            first, last = nn.Linear(hidden + privileged, WIDTH), nn.Linear(WIDTH, 1)
            # A generator of its own: the same start in every run and on every rank.
            nn.init.xavier_uniform_(first.weight, generator=torch.Generator().manual_seed(0))
            for tensor in (first.bias, last.weight, last.bias):
                nn.init.zeros_(tensor)
            self.mixed = nn.Sequential(first, nn.Tanh(), last)

    def forward(self, hidden: Tensor, privileged: Tensor | None = None) -> Tensor:
        """Values [B, R] of hidden states [B, R, H], given c [B, C] where this head was made for it."""
        values = super().forward(hidden)
        if self.mixed is not None:
            assert privileged is not None and privileged.shape[0] == hidden.shape[0], "this critic sees the state"
            wide = privileged[:, None].expand(-1, hidden.shape[1], -1)
            values = values + self.mixed(torch.cat([hidden, wide], -1))
        return values[..., 0]
