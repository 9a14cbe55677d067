"""MiniWoB++ through Selenium and headless Chromium: random clicks on ``miniwob/click-button-v1`` for seconds, a round.

    .peers/miniwob/bin/python -m benchmarks.peers.miniwob_steps --seconds 5

Observations are MiniWoB's default: utterance, DOM and screenshot (160x210). Wall seconds, not CPU seconds: the browser
and its driver work in processes of their own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from typing import Any

import gymnasium
import miniwob  # type: ignore[import-not-found]
from miniwob.action import ActionSpaceConfig, ActionTypes  # type: ignore[import-not-found]
from selenium import webdriver  # type: ignore[import-not-found]

from benchmarks.peers.meter import Meter
from benchmarks.peers.stepping import Stepping

TASK = "miniwob/click-button-v1"
PROGRAMS = {"MINIWOB_CHROME_BINARY": "chromium", "MINIWOB_CHROMEDRIVER": "chromedriver"}
FLAGS = (
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
)
"""Nothing of the browser's own business in the measurement; MiniWoB adds headless, no-sandbox and disable-gpu."""


def installed(program: str) -> str:
    """Where a program is, or the end."""
    found = shutil.which(program)
    if found is None:
        sys.exit(f"there is no {program}: install Debian's chromium and chromium-driver")
    return found


def name_programs() -> None:
    """Tell MiniWoB where browser and driver are; without it Selenium would look for them on the net."""
    for variable, program in PROGRAMS.items():
        os.environ[variable] = installed(program)


def add_flags() -> None:
    """MiniWoB makes the browser's options itself, and lets nobody add to them."""
    plain = webdriver.ChromeOptions

    def options() -> Any:
        made = plain()
        for flag in FLAGS:
            made.add_argument(flag)
        return made

    webdriver.ChromeOptions = options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    meter = Meter(cpu=time.perf_counter)
    name_programs()
    add_flags()
    gymnasium.register_envs(miniwob)
    clicks = ActionSpaceConfig(action_types=[ActionTypes.CLICK_COORDS])
    # Ours runs without gymnasium's checks, too.
    env: Any = gymnasium.make(TASK, action_space_config=clicks, disable_env_checker=True)
    # A browser outlives its driver's client unless it is closed.
    try:
        env.action_space.seed(0)
        observation, _ = env.reset(seed=0)
        stepping = Stepping(env, env.action_space.sample, options.seconds)
        stepping.round()
        meter.ready(
            ("miniwob", "selenium", "gymnasium"),
            clock="wall",
            frame=observation["screenshot"].shape[:2],
            episode=stepping.episode,
            browser=env.unwrapped.instance.driver.capabilities["browserVersion"],
        )
        meter.serve(stepping.round)
    finally:
        env.close()


if __name__ == "__main__":
    main()
