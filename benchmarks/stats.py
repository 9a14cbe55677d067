"""Intervals of means, 95 %, and how they are told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447)
"""Student's t, two-sided 95 %, for 1, 2, ... degrees of freedom."""

Interval = tuple[float, float, float]
"""Mean, low, high."""


def interval(values: NDArray[np.float64], seed: int = 0) -> Interval:
    """Mean and its bootstrap interval, for samples of dozens."""
    draws = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(1), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def t_interval(values: NDArray[np.float64]) -> Interval:
    """Mean and its t interval, for at most 7 values; of a single one nothing else is known."""
    mean = float(values.mean())
    if len(values) == 1:
        return mean, float("-inf"), float("inf")
    half = T_95[len(values) - 2] * float(values.std(ddof=1)) / len(values) ** 0.5
    return mean, mean - half, mean + half


def told(values: Sequence[float], form: str) -> str:
    """``mean (low to high)``, each in a format; the mean alone where nothing bounds it."""
    cells = [format(value, form) for value in values]
    return cells[0] if np.isinf(values[1]) else "{} ({} to {})".format(*cells)
