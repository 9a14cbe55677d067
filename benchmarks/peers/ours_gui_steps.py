"""Ours, GUI steps: random clicks on ``gui/click-button-v0`` for some seconds, a round.

An episode ends when a button is hit, as MiniWoB's does, whose time limit random clicks do not reach either. Every step
is drawn. Wall seconds, not CPU seconds, as the peer's browser does not work in the peer's process.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random

import tyro

from benchmarks.peers.meter import Meter
from benchmarks.peers.stepping import Stepping
from episode import Action, screen_action
from gui_env.tasks.click_button import ClickButton


class Patient(ClickButton):
    horizon = 1000


@dataclass(frozen=True)
class Options:
    seconds: float = 5.0
    """Wall seconds of a round."""
    side: int = 224
    """Width and height of the frame."""


def stepping(options: Options) -> Stepping:
    world, rng = Patient(split="train", size=(options.side, options.side)), Random(0)

    def click() -> Action:
        return screen_action("click", rng.randrange(options.side), rng.randrange(options.side))

    return Stepping(world, click, options.seconds)


def main(options: Options) -> None:
    meter = Meter(cpu=time.perf_counter)
    steps = stepping(options)
    steps.round()
    frame = steps.env.observe()["frames"]["screen"].shape[:2]
    meter.ready(("gymnasium", "numpy", "pillow"), clock="wall", frame=frame, episode=steps.episode)
    meter.serve(steps.round)


if __name__ == "__main__":
    main(tyro.cli(Options))
