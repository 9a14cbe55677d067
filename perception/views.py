"""Views: how a frame is laid into the image that a model sees, and how places in one are found in the other.

Each view is a case of one thing: the frame is scaled to a box, and the box lies in a grey canvas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, cast

import cv2
import numpy as np

from episode import Frame, HandeyeError

GREY = 127


class ViewError(HandeyeError):
    """A frame or a size that a view cannot work with."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Frames of one size in their canvas. All lengths in pixels, sizes as width, height."""

    frame: tuple[int, int]
    canvas: tuple[int, int]
    corner: tuple[int, int]
    """Where the frame's top left corner lies in the canvas."""
    box: tuple[int, int]
    """Size of the scaled frame."""

    def apply(self, frame: Frame) -> Frame:
        """The canvas, uint8 [h, w, 3]; the frame itself where nothing changes."""
        if frame.dtype != np.uint8 or frame.shape != (self.frame[1], self.frame[0], 3):
            raise ViewError(
                f"expected a frame of {self.frame[0]}x{self.frame[1]} pixels, uint8 [H, W, 3], "
                f"got {frame.dtype} {list(frame.shape)}"
            )
        if self.box != self.frame:
            # Averaging keeps thin strokes when shrinking; sampling would drop them.
            how = cv2.INTER_AREA if self.box[0] * self.box[1] < frame.shape[0] * frame.shape[1] else cv2.INTER_LINEAR
            frame = cast(Frame, cv2.resize(frame, self.box, interpolation=how))
        if self.canvas == self.box:
            return frame
        canvas = np.full((self.canvas[1], self.canvas[0], 3), GREY, np.uint8)
        x, y = self.corner
        canvas[y : y + self.box[1], x : x + self.box[0]] = frame
        return canvas

    def to_canvas(self, x: int, y: int) -> tuple[int, int]:
        """The canvas's pixel under the centre of the frame's pixel ``x, y``."""
        (left, top), (width, height), (w, h) = self.corner, self.frame, self.box
        return left + (2 * x + 1) * w // (2 * width), top + (2 * y + 1) * h // (2 * height)

    def to_frame(self, x: int, y: int) -> tuple[int, int] | None:
        """The frame's pixel under the centre of the canvas's pixel ``x, y``; None beside the frame."""
        (left, top), (width, height), (w, h) = self.corner, self.frame, self.box
        if not (left <= x < left + w and top <= y < top + h):
            return None
        return (2 * (x - left) + 1) * width // (2 * w), (2 * (y - top) + 1) * height // (2 * h)


class View(Protocol):
    """How frames of any size are laid out for a model."""

    def place(self, width: int, height: int) -> Placement:
        """Where a frame of ``width`` x ``height`` pixels goes."""


@dataclass(frozen=True, slots=True)
class Resize:
    """Stretched to ``width`` x ``height``; relative places stay what they are."""

    width: int
    height: int

    def place(self, width: int, height: int) -> Placement:
        size = (self.width, self.height)
        return Placement((width, height), size, (0, 0), size)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Scaled as a whole to fit into ``width`` x ``height``, in the middle of grey."""

    width: int
    height: int

    def place(self, width: int, height: int) -> Placement:
        scale = min(self.width / width, self.height / height)
        box = (max(1, round(width * scale)), max(1, round(height * scale)))
        corner = ((self.width - box[0]) // 2, (self.height - box[1]) // 2)
        return Placement((width, height), (self.width, self.height), corner, box)


@dataclass(frozen=True, slots=True)
class Pad:
    """Pixels untouched, grey added right and below up to multiples of ``unit``."""

    unit: int

    def place(self, width: int, height: int) -> Placement:
        canvas = (-(-width // self.unit) * self.unit, -(-height // self.unit) * self.unit)
        return Placement((width, height), canvas, (0, 0), (width, height))


@dataclass(frozen=True, slots=True)
class Fit:
    """Stretched as little as whole image tokens of ``unit`` pixels ask for, and shrunk below ``most`` pixels in all."""

    unit: int
    most: int

    def place(self, width: int, height: int) -> Placement:
        if self.most < self.unit**2:
            raise ViewError(f"{self.most} pixels are less than one image token of {self.unit}x{self.unit}")
        size = [max(1, round(side / self.unit)) for side in (width, height)]
        if size[0] * size[1] * self.unit**2 > self.most:
            scale = math.sqrt(self.most / (width * height))
            size = [max(1, math.floor(side * scale / self.unit)) for side in (width, height)]
            # A side that is less than one token takes a whole one, at the other's cost.
            long = size.index(max(size))
            size[long] = min(size[long], self.most // (self.unit**2 * size[1 - long]))
        box = (size[0] * self.unit, size[1] * self.unit)
        return Placement((width, height), box, (0, 0), box)
