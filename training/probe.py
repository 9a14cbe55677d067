"""Does the policy see? A model that is blind to its images trains without an error and learns nothing to speak of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from episode import HandeyeError, Trajectory
from policy.vlm import VLM
from training.critic import Layout
from training.samples import row_of

ROWS = 4
BLIND = 1e-7
"""Nats. Rounding alone moves a log-prob by less than this when nothing but the pixels changes and nobody looks."""


class BlindPolicy(HandeyeError):
    """What the policy says does not depend on what it sees."""


@torch.no_grad()
def look(vlm: VLM, trajectories: Sequence[Trajectory], layout: Layout | None = None) -> float:
    """Largest change of a reply's log-prob when its images are replaced by their negatives.

    ``layout`` is that of the privileged states, where a critic sees them.

    Raises:
        BlindPolicy: nothing changed.
    """
    rows = [
        row_of(t, t.decisions[0], len(t.decisions[0].generations) - 1, layout)
        for t in trajectories
        if t.decisions and t.decisions[0].generations
    ][:ROWS]
    rows = [row for row in rows if row.images]
    if not rows:
        return 0.0
    seen = vlm(vlm.collate(rows)).logps
    other = [dataclasses.replace(row, images=tuple(255 - image for image in row.images)) for row in rows]
    change = float((vlm(vlm.collate(other)).logps - seen).abs().max())
    if change <= BLIND:
        raise BlindPolicy(
            "the policy's log-probs do not change when its images do: the frames do not reach the model. Check that "
            "the folder's processor and chat template write image placeholders, and that its vision weights were loaded"
        )
    return change
