"""Does the policy see? A model that is blind to its images trains without an error and learns nothing to speak of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from episode import Decision, HandeyeError, Trajectory, stream
from policy.packing import Row
from policy.vlm import VLM
from training.critic import Layout
from training.distributed import gather_objects
from training.samples import row_of
from training.trainee import score

ROWS = 2
"""Replies of each world (``gui``, ``sims``) that are scored again, a rank and step: once for each of their images."""
IMAGES = 8
"""The last images of a prompt, at most, that are tried: a conversation has as many as turns."""
BLIND = 1e-7
"""Nats. Rounding alone moves a log-prob by less than this when nothing but the pixels changes and nobody looks."""


class BlindPolicy(HandeyeError):
    """What the policy says does not depend on what it sees."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the policy was shown and what it made of it, over all ranks."""

    changes: dict[str, float]
    """Largest change of a token's log-prob when one image alone is replaced by its negative, by the image's place:
    ``WORLD/K``, the K-th from the end of the prompt, where the present stands. 0 at ``WORLD/1`` where no prompt of a
    world had an image."""
    blank: float
    """Share of the frames that are of a single colour."""
    rows: int
    """Replies that were scored; 0 where no prompt had an image."""

    @property
    def change(self) -> float:
        """Of the image that matters least: one that never arrives must not hide behind the others."""
        return min(self.changes.values(), default=0.0)

    def figures(self) -> dict[str, float]:
        if not self.changes:
            return {}
        places = {f"sees/change/{place}": change for place, change in self.changes.items()}
        return {"sees/change": self.change, "sees/blank": self.blank, **places}

    def require(self) -> None:
        """Refuse a policy that cannot see.

        Raises:
            BlindPolicy: an image changed nothing, or there was nothing to see.
        """
        if self.changes and not self.rows:
            raise BlindPolicy(
                "no prompt holds an image: the policy is never shown what it acts on. Check the --codec and the agent: "
                "each turn's generations must name their images"
            )
        if self.rows and self.blank == 1.0:
            raise BlindPolicy(
                "every frame is of a single colour: the worlds draw nothing. Look at one with handeye play; on the "
                "arm, check that MuJoCo can draw"
            )
        if blind := [place for place, change in self.changes.items() if change <= BLIND]:
            raise BlindPolicy(
                f"the policy's log-probs do not change when its images do ({', '.join(blind)}; 1 is a prompt's last "
                "image): these frames do not reach the model. Check that the folder's processor and chat template "
                "write image placeholders, and that its vision weights were loaded"
            )


@torch.no_grad()
def look(
    vlm: VLM, trajectories: Sequence[Trajectory], layout: Layout | None = None, seed: int = 0, step: int = 0
) -> Sight:
    """Score some replies again with the negative of one of their images at a time; all ranks together.

    Drawn from those turns of each world that show the most images, so that every camera and older frame has its turn.

    Args:
        vlm: the policy.
        trajectories: this rank's episodes, from whose turns some are drawn.
        layout: that of the privileged states, where a critic sees them.
        seed: the run's.
        step: with ``seed`` keys which turns are drawn.
    """
    worlds: dict[str, list[tuple[Trajectory, Decision, int]]] = {}
    for trajectory in trajectories:
        turns = worlds.setdefault(trajectory.task.id.split("/")[0], [])
        turns += [(trajectory, d, i) for d in trajectory.decisions for i, g in enumerate(d.generations) if g.images]
    changes = {f"{world}/1": 0.0 for world in worlds}
    rows = 0
    for world, turns in worlds.items():
        counts = [len(d.generations[i].images) for _, d, i in turns]
        fullest = [turn for turn, count in zip(turns, counts, strict=True) if count == max(counts)]
        for number in stream(seed, "sees", step, world).permutation(len(fullest))[:ROWS]:
            rows += 1
            trajectory, decision, index = fullest[number]
            for k, change in enumerate(_changes(vlm, row_of(trajectory, decision, index, layout)), 1):
                changes[f"{world}/{k}"] = max(change, changes.get(f"{world}/{k}", 0.0))
    frames = [frame for t in trajectories for frame in t.frames.values()]
    blank = sum(bool((frame == frame[0, 0]).all()) for frame in frames)
    parts = gather_objects((changes, blank, len(frames), rows))
    everyones = sorted((place, change) for part, *_ in parts for place, change in part.items())
    _, blanks, counted, scored = zip(*parts, strict=True)
    # Sorted: of several ranks' changes at one place the largest comes last and stays.
    return Sight(dict(everyones), sum(blanks) / max(1, sum(counted)), sum(scored))


def _changes(vlm: VLM, row: Row) -> list[float]:
    """The largest change of a log-prob by each of a row's images, the last image first."""
    # Each alone in its batch: in one they would share a prefix tree, and differ by where they stand in it.
    seen = score(vlm, [row]).logps
    found = []
    for k in reversed(range(max(0, len(row.images) - IMAGES), len(row.images))):
        images = tuple(255 - image if i == k else image for i, image in enumerate(row.images))
        found.append(float((score(vlm, [dataclasses.replace(row, images=images)]).logps - seen).abs().max()))
    return found
