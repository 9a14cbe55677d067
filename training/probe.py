"""Does the policy see? A model that is blind to its images trains without an error and learns nothing to speak of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from episode import HandeyeError, Trajectory, stream
from policy.vlm import VLM
from training.critic import Layout
from training.distributed import gather_objects
from training.samples import row_of

ROWS = 4
"""Replies that are scored again, a rank and step."""
BLIND = 1e-7
"""Nats. Rounding alone moves a log-prob by less than this when nothing but the pixels changes and nobody looks."""


class BlindPolicy(HandeyeError):
    """What the policy says does not depend on what it sees."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the policy was shown and what it made of it, over all ranks."""

    change: float
    """Largest change of a token's log-prob when its images are replaced by their negatives."""
    blank: float
    """Share of the frames that are of a single colour."""
    rows: int
    """Replies that were scored; 0 where no prompt had an image."""

    def figures(self) -> dict[str, float]:
        return {"sees/change": self.change, "sees/blank": self.blank} if self.rows else {}

    def require(self) -> None:
        """Refuse a policy that cannot see.

        Raises:
            BlindPolicy: nothing changed, or there was nothing to see.
        """
        if self.rows and self.blank == 1.0:
            raise BlindPolicy(
                "every frame is of a single colour: the worlds draw nothing. Look at one with handeye play; on the "
                "arm, check that MuJoCo can draw"
            )
        if self.rows and self.change <= BLIND:
            raise BlindPolicy(
                "the policy's log-probs do not change when its images do: the frames do not reach the model. Check "
                "that the folder's processor and chat template write image placeholders, and that its vision weights "
                "were loaded"
            )


@torch.no_grad()
def look(
    vlm: VLM, trajectories: Sequence[Trajectory], layout: Layout | None = None, seed: int = 0, step: int = 0
) -> Sight:
    """Score some replies again with the negatives of their images; all ranks together.

    Args:
        vlm: the policy.
        trajectories: this rank's episodes, from whose turns some are drawn.
        layout: that of the privileged states, where a critic sees them.
        seed: the run's.
        step: with ``seed`` keys which turns are drawn.
    """
    turns = [(t, d, i) for t in trajectories for d in t.decisions for i, g in enumerate(d.generations) if g.images]
    drawn = stream(seed, "sees", step).permutation(len(turns))[:ROWS]
    rows = [row_of(t, d, g, layout) for t, d, g in (turns[i] for i in drawn)]
    change = 0.0
    if rows:
        other = [dataclasses.replace(row, images=tuple(255 - image for image in row.images)) for row in rows]
        seen, unseen = (vlm(vlm.collate(part)).logps for part in (rows, other))
        change = float((unseen - seen).abs().max())
    frames = [frame for t in trajectories for frame in t.frames.values()]
    blank = sum(bool((frame == frame[0, 0]).all()) for frame in frames)
    parts = gather_objects((change, blank, len(frames), len(rows)))
    changes, blanks, counts, scored = zip(*parts, strict=True)
    return Sight(max(changes), sum(blanks) / max(1, sum(counts)), sum(scored))
