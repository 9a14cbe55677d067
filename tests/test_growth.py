"""How costs grow: the line and the FLOPs by hand, and everything once at toy size. Figures are looked at by people."""

import json
from concurrent.futures import ThreadPoolExecutor
from math import e
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import growth
from benchmarks.growth import Axis, fit, main
from benchmarks.point import Player, Point
from benchmarks.roofline import needed
from episode import Frame
from policy.packing import Row
from training import worlds

TOY = Point("smallest", group_size=2, turns=2, reply=4)


@pytest.fixture(autouse=True)
def no_task_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worlds, "TASKS", dict(worlds.TASKS))


def test_exponents_by_hand() -> None:
    exact = fit([1, 2, 4, 8], [3, 12, 48, 192])
    assert (exact.exponent, exact.low, exact.high) == pytest.approx((2, 2, 2))
    # Logarithms -1, 0, 1 and -2/3, 1/3, 1/3 about their means: slope (2/3 + 1/3) / 2; what is left over is -1/6, 1/3,
    # -1/6, squares 1/6 in all; the interval is 12.706 · √(1/6 / 1 / 2) = 3.668 to each side.
    found = fit([1, e, e**2], [1, e, e])
    assert (found.exponent, found.low, found.high) == pytest.approx((0.5, -3.168, 4.168), abs=1e-3)


def test_flops_of_a_gradient_by_hand() -> None:
    vlm = Player(TOY, bf16=False).vlm
    frame: Frame = np.zeros((32, 32, 3), np.uint8)  # 16 patches, 4 image tokens
    image = vlm.family.image_token_id
    prompt = np.array([*[image] * 4, *[9] * 16], np.int32)
    replies = [np.array(ids, np.int32) for ids in ([10, 11, 12], [13, 14])]
    rows = [Row(prompt, reply, (frame,)) for reply in replies]
    # One prefix tree of 20 + 3 + 2 tokens, 5 of them answers. The first 23 see 1 to 23 tokens, the last two 21 and 22:
    # 276 + 43 = 319 pairs.
    vision = 4 * 16 * (3 * 8 * 8 * 32)  # pixels: two products
    vision += 6 * 16 * (32 * 96 + 32 * 32 + 2 * 32 * 128)
    vision += 6 * 4 * (128 * 128 + 128 * 64)
    text = 6 * 25 * (4 * 64 * 128 + 3 * 64 * 64) + 6 * 5 * 64 * len(vlm.tokenizer)
    attention = 12 * (16 * 16 * 32 + 319 * 128)
    assert needed(vlm, rows) == vision + text + attention
    assert needed(vlm, rows[:1] * 3) == needed(vlm, rows[:1]), "the same again is not computed again"


def test_everything_at_toy_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = tuple(Point("smallest", group_size=n, turns=2, reply=4) for n in (2, 3, 4))
    monkeypatch.setattr(growth, "GROWTH", {"group-size": Axis("episodes of a group", "group_size", points)})
    late = Point("smallest", group_size=2, turns=5, reply=4, frames=2, side=160, learns=False)
    monkeypatch.setattr(growth, "HISTORIES", {"2 frames": late})
    monkeypatch.setattr(growth, "ROOFLINES", {"smallest": TOY})
    # Processes of their own take seconds to load everything again.
    monkeypatch.setattr(growth, "process", lambda: ThreadPoolExecutor(1))
    out, figure = tmp_path / "deep" / "growth.json", tmp_path / "growth.png"
    for only in (["group-size"], ["turn-20", "roofline"]):
        said = ["growth", "--rounds", "1", "--float32", "--out", str(out), "--plot", str(figure), "--only", *only]
        monkeypatch.setattr("sys.argv", said)
        main()
    found: dict[str, Any] = json.loads(out.read_text())
    axis = found["group-size"]
    assert axis["x"] == [2, 3, 4] and axis["commit"] and not axis["bf16"]
    for cost in ("generation", "update", "memory"):
        assert len(axis["values"][cost]) == 3 and all(low > 0 for _, low, _ in axis["values"][cost])
        assert axis["fits"][cost]["low"] <= axis["fits"][cost]["exponent"] <= axis["fits"][cost]["high"]
    turns = found["turn-20"]["histories"]["2 frames"]
    assert len(turns["seconds"]) == 5 and set(turns["ratios"]) == {"5 over 2", "5 over 5"}
    roof = found["roofline"]["models"]["smallest"]
    assert roof["needed"] > 0 and all(share > 0 for share in roof["shares"].values())
    assert figure.stat().st_size > 10_000
