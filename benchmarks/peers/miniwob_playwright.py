"""MiniWoB++'s pages through Playwright and headless Chromium, without its Selenium: random clicks, a round.

    .peers/miniwob/bin/python -m benchmarks.peers.miniwob_playwright --seconds 5

The same page, observations (utterance, DOM, screenshot of 160x210) and clicks as ``miniwob_steps``, as somebody would
write them who counts round trips: one for a click with what came of it, one for the screenshot. Wall seconds, not CPU
seconds: the browser works in processes of its own.
"""

from __future__ import annotations

import argparse
import io
import random
import time
from pathlib import Path
from typing import Any

import miniwob  # type: ignore[import-not-found]
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.peers.meter import Meter
from benchmarks.peers.miniwob_steps import FLAGS, installed
from benchmarks.peers.stepping import Stepping

PAGE = Path(miniwob.__file__).parent / "html" / "miniwob" / "click-button.html"
WIDTH, HEIGHT = 160, 210
STATE = "() => [WOB_DONE_GLOBAL, WOB_RAW_REWARD_GLOBAL, core.getUtterance(), core.getDOMInfo()]"
BEGIN = "seed => { core.endEpisode(0); Math.seedrandom(seed); core.startEpisodeReal(); }"


class Pages:
    """The part of gymnasium's interface that :class:`Stepping` uses, on one page of MiniWoB++."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.goto(PAGE.as_uri())
        page.wait_for_selector("#sync-task-cover")

    def reset(self, *, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        self.page.evaluate(BEGIN, str(seed))
        self.page.wait_for_function("WOB_TASK_READY")
        return self._observe(self.page.evaluate(STATE)), {}

    def step(self, action: tuple[int, int]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.page.mouse.click(*action)
        state = self.page.evaluate(STATE)
        done, reward, *_ = state
        return ({} if done else self._observe(state)), float(reward), bool(done), False, {}

    def _observe(self, state: Any) -> dict[str, Any]:
        *_, utterance, dom = state
        png = self.page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT})
        frame = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        return {"utterance": utterance, "dom_elements": dom, "screenshot": frame}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    meter = Meter(cpu=time.perf_counter)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=installed("chromium"), args=[f"--{flag}" for flag in FLAGS]
        )
        try:
            env = Pages(browser.new_page(viewport={"width": 500, "height": 320}))
            draw = random.Random(0)
            stepping = Stepping(env, lambda: (draw.randrange(WIDTH), draw.randrange(HEIGHT)), options.seconds)
            stepping.round()
            observation, _ = env.reset(seed=0)
            meter.ready(
                ("miniwob", "playwright"),
                clock="wall",
                frame=observation["screenshot"].shape[:2],
                episode=stepping.episode,
                browser=browser.version,
            )
            meter.serve(stepping.round)
        finally:
            browser.close()


if __name__ == "__main__":
    main()
