"""Direct preference: pairs become advantages, without a reward. The mathematics is in ``preferences.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from episode import Trajectory
from training.batch import assign, owners, ratios_of, returns_of, terms_of
from training.config import Config
from training.preferences import pulls, ranked_pairs, sides


@dataclass(frozen=True)
class DirectPreference:
    """DPO (arXiv 2305.18290) as credit: −log σ(margin) over pairs, by its gradient.

    With margin = β · [Σ x(chosen) − Σ x(rejected)], x = log π − log π_ref of a sampled token, the loss falls fastest
    where each token of the chosen side is made likelier by β(1 − σ(margin)) and each of the rejected less likely by as
    much. So these are the advantages, and the update weighs log-likelihoods with them. Exact for the first optimiser
    step after a collection; a second one (``minibatches``, ``epochs``) keeps the margins of the first. Departs from the
    paper: pairs are the policy's own, made afresh each step; the sum over pairs is divided by the batch's tokens.
    """

    summary: str
    level: Literal["episode", "turn"] = "episode"
    """What is chosen or rejected: episodes of a group, by their returns; or turns of a group in one state that did
    different things there, by what the judge ``critic`` gave them (SWEET-RL, arXiv 2503.15478)."""
    critic: bool = False
    grouped: bool = True
    expert: bool = False
    direct: bool = True
    judges: tuple[str, ...] = ()
    needs: tuple[type, ...] = ()

    def credit(self, trajectories: Sequence[Trajectory], config: Config) -> None:
        owner = owners(trajectories)
        if self.level == "turn":
            states = [(t.group, d.state_key) for t in trajectories for d in t.decisions]
            pairs = ranked_pairs(terms_of(trajectories, "critic"), states)
            did = [d.action for t in trajectories for d in t.decisions]
            pairs = [(better, worse) for better, worse in pairs if did[better] != did[worse]]
            side, pair = sides(pairs, len(owner))
        else:
            pairs = ranked_pairs(returns_of(trajectories, config), [t.group for t in trajectories], config.tie)
            side, pair = (of_episode[owner] for of_episode in sides(pairs, len(trajectories)))
        scores = torch.from_numpy(ratios_of(trajectories))
        assign(trajectories, pulls(scores, side, pair, len(pairs), config.beta).numpy())
