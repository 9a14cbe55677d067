"""How fast the worlds step and draw, as ratios against named baselines of the same run. ``make bench``."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

# Before numpy and GL are loaded: with more threads the figures are slower and noisier on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LP_NUM_THREADS", "1")

import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

import gui_env
import sims
from episode import SceneObject
from sims.engine import mujoco
from sims.rig import SUBSTEPS
from training.worlds import make

TURNS = 5
SCREENS = ((128, 128), (640, 480))
FRAME = (96, 96)


@dataclass(frozen=True)
class Row:
    """One measurement. Rates are a CPU second; ``ratio`` is ours divided by the baseline, median over the turns."""

    what: str
    rate: float
    baseline: str
    baseline_rate: float
    ratio: float
    lowest: float
    highest: float


def rate(call: Callable[[], None], seconds: float) -> float:
    """Calls of ``call`` a CPU second, measured over about ``seconds`` of them."""
    calls, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        call()
        calls += 1
    return calls / spent


def compare(what: str, ours: Callable[[], None], name: str, baseline: Callable[[], None], seconds: float) -> Row:
    """Both in turns, so that a machine that gets slower does so for both."""
    ours()
    baseline()
    turns = [(rate(ours, seconds), rate(baseline, seconds)) for _ in range(TURNS)]
    ratios = sorted(a / b for a, b in turns)
    return Row(
        what,
        round(median(a for a, _ in turns), 1),
        name,
        round(median(b for _, b in turns), 1),
        round(median(ratios), 2),
        round(ratios[0], 2),
        round(ratios[-1], 2),
    )


# --- ours


def stepping(world: Any, draw: bool) -> Callable[[], None]:
    """Random native actions, episode after episode (the resets count too)."""
    seeds = iter(range(10**9))
    world.action_space.seed(0)
    world.reset(seed=next(seeds))

    def step() -> None:
        action = world.action_space.sample()
        *_, terminated, truncated, _ = world.step(action) if draw else world.advance(action)
        if terminated or truncated:
            world.reset(seed=next(seeds))

    return step


# --- baselines


def pillow_repaint(scene: list[SceneObject], size: tuple[int, int]) -> Callable[[], None]:
    """Boxes and captions of a screen, painted from nothing with Pillow, as an array."""
    font = ImageFont.load_default(11)

    def paint() -> None:
        image = Image.new("RGB", size, (240, 240, 240))
        pen = ImageDraw.Draw(image)
        for thing in scene:
            x0, y0, x1, y1 = thing.box
            pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), fill=(220, 225, 235), outline=(90, 90, 100))
            if thing.label:
                pen.text((x0 + 2, y0 + 1), thing.label, fill=(20, 20, 20), font=font)
        np.asarray(image)

    return paint


def bare_physics(model: Any) -> Callable[[], None]:
    data = mujoco.MjData(model)
    return lambda: mujoco.mj_step(model, data, nstep=SUBSTEPS)


def default_renderer(model: Any, data: Any, camera: str) -> Callable[[], None]:
    """MuJoCo's own renderer at the quality that a model gets when its author says nothing: lights cast shadows."""
    quality = model.vis.quality
    quality.shadowsize, quality.offsamples = 4096, 4
    model.light_castshadow[:] = 1
    model.vis.global_.offwidth, model.vis.global_.offheight = 640, 480
    renderer = mujoco.Renderer(model, FRAME[1], FRAME[0])

    def draw() -> None:
        renderer.update_scene(data, camera)
        renderer.render()

    return draw


# --- the run


def gui_rows(seconds: float) -> Iterator[Row]:
    for task_id in gui_env.TASKS:
        for size in SCREENS:
            world = make(task_id, size=size)
            world.reset(seed=0)
            baseline = pillow_repaint(world.scene(), size)
            what = f"{task_id} {size[0]}x{size[1]} steps"
            yield compare(what, stepping(world, draw=True), "pillow-repaint", baseline, seconds)
            world.close()


def sims_rows(seconds: float) -> Iterator[Row]:
    for task_id in sims.TASKS:
        world = make(task_id, image_size=FRAME)
        world.reset(seed=0)
        # The world compiles a new model at each reset; the baselines keep this one.
        model, data = world.rig.model, world.rig.data
        yield compare(f"{task_id} steps", stepping(world, draw=True), "mj_step", bare_physics(model), seconds)
        one = make(task_id, image_size=FRAME, cameras=("top",))
        yield compare(f"{task_id} steps, one camera", stepping(one, draw=True), "mj_step", bare_physics(model), seconds)
        one.close()
        yield compare(f"{task_id} no frames", stepping(world, draw=False), "mj_step", bare_physics(model), seconds)
        world.close()
    world.reset(seed=0)
    camera = world.embodiment.cameras[0]
    baseline = default_renderer(model, data, camera)
    observing = len(world.embodiment.cameras)
    row = compare(f"arm frames {FRAME[0]}x{FRAME[1]}", lambda: world.observe(), "mujoco.Renderer", baseline, seconds)
    # One observation is a frame of every camera.
    yield Row(
        row.what,
        row.rate * observing,
        row.baseline,
        row.baseline_rate,
        *(round(value * observing, 2) for value in (row.ratio, row.lowest, row.highest)),
    )


def main(seconds: float = 0.5, out: Path = Path("benchmarks/out/worlds.json")) -> None:
    """Measure the worlds.

    Args:
        seconds: CPU seconds a turn; each row takes ten turns.
        out: where the figures go, as JSON.
    """
    rows = [*gui_rows(seconds), *sims_rows(seconds)]
    table = Table("what", "a CPU second", "baseline", "a CPU second", "ratio", "lowest to highest", box=None)
    for row in rows:
        spread = f"{row.lowest:g} to {row.highest:g}"
        table.add_row(row.what, f"{row.rate:g}", row.baseline, f"{row.baseline_rate:g}", f"{row.ratio:g}", spread)
    # Wider than the 80 columns of a pipe: figures that wrap cannot be compared.
    Console(width=120).print(table)
    machine = {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "mujoco": mujoco.__version__,
        "load": os.getloadavg()[0],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    print(out)


if __name__ == "__main__":
    tyro.cli(main)
