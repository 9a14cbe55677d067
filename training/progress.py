"""The one bar on long work, with what matters on it: step, success in each world, return, entropy."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tqdm import tqdm

SHOWN = {"gui": "success/gui", "sims": "success/sims", "return": "return", "entropy": "entropy"}
"""Short name on the bar: key of the metric. A metric that a step does not have is not shown."""


class Progress:
    """A tqdm bar over training steps; quiet when ``shown`` is false (ranks other than the first)."""

    def __init__(self, total: int, done: int = 0, shown: bool = True) -> None:
        self._bar = tqdm(total=total, initial=done, unit="step", disable=not shown, dynamic_ncols=True, file=sys.stderr)

    def note(self, text: str) -> None:
        """Say what is going on besides the steps (``evaluating``)."""
        self._bar.set_description_str(text)

    def step(self, metrics: Mapping[str, float]) -> None:
        shown = {name: f"{metrics[key]:.2f}" for name, key in SHOWN.items() if key in metrics}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def close(self) -> None:
        self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
