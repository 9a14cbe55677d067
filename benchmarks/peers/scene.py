"""The picture that both sides see: a red box among boxes, and a mark where each click went.

Every click changes the frame, so that the episodes of a group part after their first turn, as they do in real tasks.
numpy only: it runs in the peers' virtual environments too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIDE = 128
INSTRUCTION = "click the red box"


def box(seed: int) -> tuple[int, int]:
    """Left and top pixel of the red box, 32 pixels wide and high."""
    x, y = np.random.default_rng([seed, 1]).integers(0, SIDE - 32, 2)
    return int(x), int(y)


def frame(seed: int, clicks: Sequence[tuple[int, int]] = ()) -> NDArray[np.uint8]:
    """uint8 [128, 128, 3]."""
    rng = np.random.default_rng([seed, 0])
    image = np.full((SIDE, SIDE, 3), 235, np.uint8)
    for x, y, *color in rng.integers(0, (96, 96, 200, 200, 200), (6, 5)):
        image[y : y + 24, x : x + 32] = color
    x, y = box(seed)
    image[y : y + 32, x : x + 32] = 220, 40, 40
    for x, y in clicks:
        image[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = 20, 20, 220
    return image
