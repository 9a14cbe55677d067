"""Drawing: every operation, cut by any clip, against the same said pixel by pixel."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from episode import Frame
from gui_env.toolkit.canvas import Canvas
from gui_env.toolkit.desktop import Desktop
from gui_env.toolkit.fonts import mask_of
from gui_env.toolkit.geometry import Rect, box
from gui_env.toolkit.icons import pointer_masks
from gui_env.toolkit.painter import Painter
from gui_env.toolkit.themes import draw_theme

WIDTH, HEIGHT = 40, 30
COLORS = st.tuples(*[st.integers(0, 255)] * 3)
BOXES = st.builds(box, *[st.integers(-10, 39)] * 2, st.integers(1, 50), st.integers(1, 40))


def noise(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def canvas_of(pixels: Frame, clip: Rect) -> Canvas:
    canvas = Canvas(WIDTH, HEIGHT)
    canvas.pixels[...] = pixels
    canvas.clip = clip.clip(canvas.clip)
    return canvas


def laid(under: Frame, coverage: Any, color: Any) -> Frame:
    """``color`` over ``under`` by coverage [h, w], rounded."""
    part = np.asarray(coverage, np.float32)[..., None]
    base = under.astype(np.float32)
    mixed: Frame = np.floor((np.asarray(color, np.float32) - base) * part + base + np.float32(0.5)).astype(np.uint8)
    return mixed


@given(area=BOXES, clip=BOXES, top=COLORS, bottom=COLORS, plain=st.booleans())
def test_a_fill_shades_from_its_first_to_its_last_row(
    area: Rect, clip: Rect, top: Any, bottom: Any, plain: bool
) -> None:
    before = noise(0, HEIGHT, WIDTH, 3)
    canvas = canvas_of(before, clip)
    canvas.fill(area, top, None if plain else bottom)
    low = top if plain else bottom
    for y in range(HEIGHT):
        share = (y - area.y0) / max(1, area.height - 1)
        for x in range(WIDTH):
            if not (area.has(x, y) and canvas.clip.has(x, y)):
                assert np.array_equal(canvas.pixels[y, x], before[y, x])
                continue
            wanted = [a + (b - a) * share for a, b in zip(top, low, strict=True)]
            assert np.abs(canvas.pixels[y, x] - np.array(wanted)).max() <= 0.501


@given(clip=BOXES, color=COLORS, x=st.integers(-15, 45), y=st.integers(-15, 35), seed=st.integers(0, 99))
def test_a_mask_lays_a_colour_or_a_column_of_colours(clip: Rect, color: Any, x: int, y: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    coverage = rng.random((9, 13), np.float32).round(1)
    before = noise(seed, HEIGHT, WIDTH, 3)
    for ink in (color, noise(seed, 9, 1, 3)):
        canvas = canvas_of(before, clip)
        canvas.mask(mask_of(coverage), x, y, ink)
        wanted = before.copy()
        spot = box(x, y, 13, 9).clip(canvas.clip)
        if not spot.empty:
            rows, columns = slice(spot.y0, spot.y1), slice(spot.x0, spot.x1)
            part = coverage[spot.y0 - y : spot.y1 - y, spot.x0 - x : spot.x1 - x]
            wanted[rows, columns] = laid(
                before[rows, columns], part, ink if isinstance(ink, tuple) else ink[spot.y0 - y : spot.y1 - y]
            )
        assert np.array_equal(canvas.pixels, wanted)


@given(area=BOXES, clip=BOXES, share=st.floats(0, 1))
def test_a_shade_darkens_its_box_alone(area: Rect, clip: Rect, share: float) -> None:
    before = noise(1, HEIGHT, WIDTH, 3)
    canvas = canvas_of(before, clip)
    canvas.shade(area, share)
    spot = area.clip(canvas.clip)
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[max(spot.y0, 0) : max(spot.y1, 0), max(spot.x0, 0) : max(spot.x1, 0)] = True
    assert np.array_equal(canvas.pixels[~inside], before[~inside])
    assert np.abs(canvas.pixels[inside] - (1 - share) * before[inside]).max(initial=0) <= 1.5


@pytest.mark.parametrize("size", [11, 15])
def test_the_pointer_is_looked_up_as_it_would_be_drawn(size: int) -> None:
    desk = Desktop(WIDTH, HEIGHT, draw_theme(np.random.default_rng(0), "train"))
    bare, pointing = Painter(desk, 0), Painter(desk, size)
    for x, y in [(0, 0), (39, 29), (39, 0), (0, 29), (20, 15), (30, 25)]:
        desk.pointer = (x, y)
        rim, body = pointer_masks(size)
        wanted = canvas_of(bare.frame(), Rect(0, 0, WIDTH, HEIGHT))
        wanted.mask(rim, x - 1, y - 1, (0, 0, 0))
        wanted.mask(body, x - 1, y - 1, (255, 255, 255))
        assert np.array_equal(pointing.frame(), wanted.pixels)
