"""Text as alpha masks that know nothing of colour, cached, with the place of every glyph.

Glyphs stand at whole pixels, as hinted text of a desktop does: equal letters are equal pixels, a mask is put together
from cached glyphs without the font engine, and a glyph's edges are exact. The font is the one that Pillow carries.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from episode import TextRun
from gui_env.toolkit.geometry import Rect

Mask = NDArray[np.float32]
"""Coverage in [0, 1], shape [h, 3·w]: three times for each pixel, as the rows of a frame lie in memory. (numpy is
several times slower over an innermost axis of three.)"""


@dataclass(frozen=True, slots=True)
class Glyph:
    mask: Mask
    """[rows of the line, 3·advance]: its cell, in the middle of which the ink lies."""
    advance: int
    """Pixels from this pen position to the next."""


@dataclass(frozen=True, slots=True)
class Font:
    """One size (pixels an em) and weight of the embedded font."""

    size: int
    bold: bool = False

    def __hash__(self) -> int:
        """Quick: every letter is looked up by its font."""
        return 2 * self.size + self.bold

    @property
    def line(self) -> int:
        """Height of a mask: everything from accents to descenders."""
        return self.ascent + (3 * self.size + 9) // 10

    @property
    def ascent(self) -> int:
        """Rows of a mask above the baseline."""
        return self.size + 1

    @property
    def cap(self) -> int:
        """Height of a capital letter."""
        return _cap(self.size)

    def width(self, text: str) -> int:
        return _width(self, text)

    def edges(self, text: str) -> tuple[int, ...]:
        """Left edge of each glyph and the last right edge, from 0."""
        edges = [0]
        for char in text:
            edges.append(edges[-1] + glyph(self, char).advance)
        return tuple(edges)


@dataclass(frozen=True, slots=True)
class Caption:
    """A line of text at its place: what is painted and what the scene graph tells come from the same object."""

    text: str
    x: int
    """Left edge of the first glyph."""
    baseline: int
    font: Font
    role: str = "text"
    """Name of the theme's colour."""

    def run(self, clip: Rect) -> TextRun | None:
        """The glyphs that ``clip`` shows whole; None where it shows none, or cuts the letters' height."""
        top, bottom = self.baseline - self.font.cap, self.baseline
        if top < clip.y0 or bottom > clip.y1 or not self.text:
            return None
        edges = [self.x + e for e in self.font.edges(self.text)]
        first, last = 0, len(self.text)
        while first < last and edges[first] < clip.x0:
            first += 1
        while last > first and edges[last] > clip.x1:
            last -= 1
        if first == last:
            return None
        return TextRun(
            self.text[first:last],
            tuple(float(e) for e in edges[first : last + 1]),
            (top + bottom) / 2,
            float(self.font.size),
        )


def caption(text: str, font: Font, rect: Rect, align: str = "center", role: str = "text", pad: int = 0) -> Caption:
    """``text`` centred vertically in ``rect`` by the height of its capitals; ``align``: left, center or right."""
    width = font.width(text)
    x = {
        "left": rect.x0 + pad,
        "center": rect.x0 + (rect.width - width) // 2,
        "right": rect.x1 - pad - width,
    }[align]
    return Caption(text, x, rect.y0 + (rect.height + font.cap + 1) // 2, font, role)


@lru_cache(maxsize=64)
def _face(size: int) -> ImageFont.FreeTypeFont:
    default = ImageFont.load_default(float(size))
    if not isinstance(default, ImageFont.FreeTypeFont):
        raise ImportError("this build of Pillow has no FreeType: install Pillow's own wheel (pip install pillow)")
    # The basic layout engine: the other one depends on a library that some machines lack, and would kern.
    return ImageFont.truetype(io.BytesIO(default.font_bytes), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=64)
def _cap(size: int) -> int:
    return -int(_face(size).getbbox("H", anchor="ls")[1])


@lru_cache(maxsize=8192)
def glyph(font: Font, char: str) -> Glyph:
    """One character of a font; the ink is moved so that nothing hangs over the glyph's own cell."""
    face = _face(font.size)
    pad = font.size
    image = Image.new("L", (3 * pad + 8, font.line))
    ImageDraw.Draw(image).text((pad, font.ascent), char, fill=255, font=face, anchor="ls")
    ink: NDArray[np.float32] = np.asarray(image, np.float32) / np.float32(255)
    columns = np.flatnonzero(ink.max(0) > 0)
    if not columns.size:
        return _cell(ink[:, :0], max(round(face.getlength(char)), round(0.3 * font.size)))
    ink = ink[:, columns[0] : columns[-1] + 1]
    if font.bold:
        wide = np.pad(ink, ((0, 0), (0, 1)))
        ink = np.maximum(wide, np.pad(ink, ((0, 0), (1, 0))))
    # One blank column at the least between neighbours: small letters stay apart.
    return _cell(ink, max(round(face.getlength(char)), ink.shape[1] + 1))


def _cell(ink: NDArray[np.float32], advance: int) -> Glyph:
    cell = np.zeros((len(ink), advance), np.float32)
    left = (advance - ink.shape[1]) // 2
    cell[:, left : left + ink.shape[1]] = ink
    return Glyph(mask_of(cell), advance)


@lru_cache(maxsize=16384)
def _width(font: Font, text: str) -> int:
    return sum([glyph(font, char).advance for char in text])


def mask_of(coverage: NDArray[np.float32]) -> Mask:
    """From [h, w]."""
    return coverage.repeat(3, axis=1)


@lru_cache(maxsize=16384)
def text_mask(font: Font, text: str) -> Mask:
    """[line, 3·width]: all glyphs of ``text`` side by side, the baseline at row ``font.ascent``."""
    return np.concatenate([np.zeros((font.line, 0), np.float32), *(glyph(font, char).mask for char in text)], 1)
