"""gymnasium's spaces of a screen: members are what :func:`episode.screen_action` makes."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from episode import MAX_TEXT, SCREEN_KINDS

PRINTABLE = "".join(map(chr, range(32, 127)))
NOTCHES = 10
"""Most notches of one scroll."""
LONGEST = 1e4
"""Seconds that no episode reaches."""


def action_space(width: int, height: int) -> spaces.Dict:
    return spaces.Dict(
        {
            "kind": spaces.Discrete(len(SCREEN_KINDS)),
            "position": spaces.MultiDiscrete([width, height], np.int32),
            "end": spaces.MultiDiscrete([width, height], np.int32),
            "scroll": spaces.MultiDiscrete([2 * NOTCHES + 1], np.int32, start=[-NOTCHES]),
            "text": spaces.Text(MAX_TEXT, min_length=0, charset=PRINTABLE),
        }
    )


def observation_space(width: int, height: int) -> spaces.Dict:
    return spaces.Dict(
        {
            "frames": spaces.Dict({"screen": spaces.Box(0, 255, (height, width, 3), np.uint8)}),
            "instruction": spaces.Text(MAX_TEXT, min_length=0, charset=PRINTABLE),
            "time": spaces.Box(0, LONGEST, (1,), np.float32),
        }
    )
