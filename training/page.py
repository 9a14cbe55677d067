"""Pages that are one file each and ask nobody: templates, styles and scripts put together, frames embedded once each.

What models and worlds say reaches a page as JSON that the script writes into text nodes, or through Jinja's escaping;
nothing of it is ever parsed as HTML. A content policy in the page's head forbids every request besides.
"""

from __future__ import annotations

import base64
import io
import math
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from episode import Frame, Trajectory
from training.slides import Pieces, Slide, slides

TEMPLATES = Path(__file__).parent / "templates"


@cache
def environment() -> Environment:
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":"), "ensure_ascii": False}
    return jinja


class Gallery:
    """The frames of a page: each distinct one once, as a data URI."""

    def __init__(self) -> None:
        self.images: dict[str, dict[str, Any]] = {}

    def add(self, key: str, frame: Frame) -> str:
        if key not in self.images:
            data = io.BytesIO()
            # Lossless, and about a third smaller than PNG on screens; every browser of the last years shows it.
            Image.fromarray(frame).save(data, "WEBP", lossless=True, method=4)
            uri = "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
            self.images[key] = {"uri": uri, "w": frame.shape[1], "h": frame.shape[0]}
        return key


def episode_data(trajectory: Trajectory, gallery: Gallery, label: str, pieces: Pieces | None = None) -> dict[str, Any]:
    """One episode as the player wants it; puts its frames into ``gallery``."""
    shown = slides(trajectory, pieces)
    for frames in [*(s.frames for s in shown), trajectory.final_frames]:
        for key in frames.values():
            gallery.add(key, trajectory.frames[key])
    task = trajectory.task
    return {
        "label": label,
        "task": task.id,
        "instruction": task.instruction,
        "seed": task.seed,
        "split": task.split,
        "outcome": trajectory.outcome.value,
        "error": trajectory.error,
        "subgoals": [s.name for s in task.subgoals],
        "slides": [slide_data(s) for s in shown],
        "end": dict(trajectory.final_frames),
    }


def slide_data(slide: Slide) -> dict[str, Any]:
    data = asdict(slide)
    data["tokens"] = [[t.text, _rounded(t.advantage), _rounded(t.logp), t.sampled] for t in slide.tokens]
    data["marks"] = [asdict(m) for m in slide.marks]
    for name in ("reward", "value", "ret", "progress", "time"):
        data[name] = _rounded(data[name])
    for name in ("terms", "agent_terms"):
        data[name] = {term: _rounded(amount) for term, amount in data[name].items()}
    return data


def _rounded(value: float | None) -> float | None:
    """Four digits after the point, and None for what JSON cannot hold."""
    return None if value is None or not math.isfinite(value) else round(value, 4)


def film_page(trajectory: Trajectory, pieces: Pieces | None = None) -> str:
    """A page with one episode."""
    gallery = Gallery()
    data = {"episodes": [episode_data(trajectory, gallery, "", pieces)], "frames": gallery.images}
    title = f"{trajectory.task.id}, seed {trajectory.task.seed}"
    return environment().get_template("film.html").render(title=title, data=data)
