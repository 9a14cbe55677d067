"""Throw-away heads on the vision tokens: the part of pretraining that makes a tiny model see.

They read the vision tower's patches (which characters lie in me?) and its merged tokens (what does the thing that I
belong to say, where is its centre, what colour and kind is it?). They are dropped when the model is saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from perception.dense import ALPHABET, PLACES, SLOTS, Classes, DenseLabels

CHARACTERS = len(ALPHABET) + 1


class DenseHeads(nn.Module):
    """Linear read-outs; ``forward`` gives the loss and the accuracies of one batch of frames."""

    def __init__(self, patch_width: int, token_width: int, classes: Classes) -> None:
        super().__init__()
        self.classes = classes
        self.glyphs = nn.Linear(patch_width, 2 * CHARACTERS)
        self.characters = nn.Linear(token_width, SLOTS * CHARACTERS)
        self.centre = nn.Linear(token_width, 2 * PLACES)
        self.color = nn.Linear(token_width, len(classes.colors))
        self.kind = nn.Linear(token_width, len(classes.kinds))

    def forward(self, vision: Any, labels: Sequence[DenseLabels]) -> tuple[Tensor, dict[str, float]]:
        """``vision``: the tower's output for the frames of ``labels``, in order."""
        patches = vision.last_hidden_state.float()
        tokens = torch.cat(list(vision.pooler_output)).float()
        names = ("characters", "centre", "color", "kind")
        want = {name: _flat(labels, name).to(tokens.device) for name in names}
        glyphs = _glyph_targets(labels).to(tokens.device)
        parts = {
            "glyphs": self._glyphs(self.glyphs(patches).view(-1, CHARACTERS), glyphs),
            "characters": _cross(self.characters(tokens).view(-1, CHARACTERS), want["characters"].flatten()),
            "centre": _cross(self.centre(tokens).view(-1, PLACES), want["centre"].flatten(), slack=1),
            "color": _cross(self.color(tokens), want["color"]),
            "kind": self._kinds(self.kind(tokens), want["kind"]),
        }
        weights = {"glyphs": 0.5, "characters": 1.5, "centre": 0.5, "color": 0.3, "kind": 0.5}
        loss = torch.stack([weights[k] * part[0] for k, part in parts.items()]).sum()
        return loss, {f"dense/{k}": part[1] for k, part in parts.items()}

    def _glyphs(self, logits: Tensor, target: Tensor) -> tuple[Tensor, float]:
        """Most of a screen is empty: ink and background are averaged apart."""
        loss = F.cross_entropy(logits, target, reduction="none")
        ink = target > 0
        if not ink.any():
            return 0.3 * loss.mean(), float("nan")
        right = (logits.argmax(-1) == target)[ink].float().mean()
        return loss[ink].mean() + 0.3 * loss[~ink].mean(), float(right)

    def _kinds(self, logits: Tensor, target: Tensor) -> tuple[Tensor, float]:
        loss = F.cross_entropy(logits, target, reduction="none")
        thing = target > 0
        if not thing.any():
            return 0.3 * loss.mean(), float("nan")
        right = (logits.argmax(-1) == target)[thing].float().mean()
        return loss[thing].mean() + 0.3 * loss[~thing].mean(), float(right)


def _flat(labels: Sequence[DenseLabels], name: str) -> Tensor:
    """All tokens of all frames in the model's order (row by row), [sum of H·W, ...]."""
    arrays = [getattr(one, name) for one in labels]
    return torch.from_numpy(np.concatenate([a.reshape(-1, *a.shape[2:]) for a in arrays]))


def _glyph_targets(labels: Sequence[DenseLabels]) -> Tensor:
    """Half patches in the tower's order: blocks of two by two patches, row by row within a block."""
    flat = []
    for one in labels:
        h, w, _ = one.glyphs.shape
        flat.append(one.glyphs.reshape(h // 2, 2, w // 2, 2, 2).transpose(0, 2, 1, 3, 4).reshape(-1))
    return torch.from_numpy(np.concatenate(flat))


def _cross(logits: Tensor, target: Tensor, slack: int = 0) -> tuple[Tensor, float]:
    """Cross-entropy and accuracy (within ``slack`` bins) where there is a target."""
    on = target >= 0
    if not on.any():
        return logits.sum() * 0.0, float("nan")
    right = ((logits[on].argmax(-1) - target[on]).abs() <= slack).float().mean()
    return F.cross_entropy(logits[on], target[on]), float(right)
