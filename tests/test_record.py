from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from episode import (
    Body,
    ControlStep,
    Decision,
    Generation,
    Outcome,
    SubGoal,
    Task,
    Trajectory,
    chunk_of,
    frame_key,
    screen_action,
)
from training import record
from training.record import RecordError


def trajectory() -> Trajectory:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (8, 12, 3), np.uint8) for _ in range(2)]
    keys = [frame_key(f) for f in frames]
    body = Body((0, 0, 0), (1, 1, 1))
    generation = Generation(
        np.array([1, 2, 3], np.int32),
        np.array([4, 5], np.int32),
        (keys[0],),
        'say "ß"\n',
        logps=rng.standard_normal(2).astype(np.float32),
        mask=np.array([True, False]),
        weight_version=3,
    )
    decision = Decision(
        frames={"screen": keys[0]},
        generations=[generation],
        action="click",
        thought="hm",
        valid=True,
        error="",
        steps=[
            ControlStep(screen_action("type", text="ab"), {"task": 0.0, "subgoal": 1 / 3}, 1 / 3, 0.1),
            ControlStep(chunk_of(body, (0.1, 0, 0), 1.0)[0], {"task": 4 / 3, "subgoal": 0.0}, 1.0, 0.2),
        ],
        planned=2,
        subgoals={"a": True},
        state_key=("form", (1, 2.5), None, frozenset({"x"}), b"\x00\xff"),
        privileged=np.array([0.1], np.float32),
        terms={"length": 2.0},
        reward=0.1 + 0.2,
        value=-1.5,
        advantages=np.array([0.1, 0.2], np.float32),
    )
    task = Task("gui/x-v0", "do", (SubGoal("a"), SubGoal("b", 2.0, ("a",))), 7, "heldout")
    return Trajectory(
        task, Outcome.SUCCESS, [decision], dict(zip(keys, frames, strict=True)), 5, 2, {"screen": keys[1]}
    )


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, Trajectory | Decision | Generation | ControlStep):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and bool(a == b)


def test_every_bit_comes_back(tmp_path: Path) -> None:
    written = trajectory()
    record.save(written, tmp_path / "e")
    read = record.load(tmp_path / "e")
    assert same(written, read)
    assert hash(read.decisions[0].state_key) == hash(written.decisions[0].state_key)
    assert record.find(tmp_path) == [tmp_path / "e"]


def test_what_is_no_episode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"holds no episode\.json"):
        record.load(tmp_path)
    path = record.save(trajectory(), tmp_path / "e") / "episode.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"schema": 99}))
    with pytest.raises(RecordError, match="schema 99"):
        record.load(tmp_path / "e")
    path.write_text(path.read_text()[:50])
    with pytest.raises(RecordError, match="cannot be read"):
        record.load(tmp_path / "e")


def test_a_frame_is_a_png_of_sane_size_or_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = trajectory()
    record.save(written, tmp_path)
    frame = tmp_path / "frames" / f"{next(iter(written.frames))}.png"
    frame.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(RecordError, match="UnidentifiedImageError"):
        record.load(tmp_path)
    record.save(written, tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(RecordError, match="DecompressionBomb"):
        record.load(tmp_path)


def test_what_cannot_be_written_as_json_is_refused(tmp_path: Path) -> None:
    broken = trajectory()
    broken.decisions[0].state_key = object()
    with pytest.raises(RecordError, match="cannot hold a object"):
        record.save(broken, tmp_path / "e")


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    written, folder = trajectory(), tmp_path / "episode"
    (folder / "frames").mkdir(parents=True)
    (tmp_path / "victim").write_text("precious")
    (folder / "episode.json").symlink_to(tmp_path / "victim")
    (folder / "beside").write_text("precious")
    frame = folder / "frames" / f"{next(iter(written.frames))}.png"
    frame.symlink_to(folder / "beside")
    record.save(written, folder)
    assert (tmp_path / "victim").read_text() == (folder / "beside").read_text() == "precious"
    assert not frame.is_symlink() and record.load(folder).frames.keys() == written.frames.keys()
