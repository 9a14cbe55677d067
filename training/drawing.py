"""A slide as one picture, for videos and GIFs: frames side by side and enlarged, the action drawn, the story below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from episode import Frame, Outcome, Trajectory
from training.slides import Mark, Motion, Slide, cameras

CAMERA_SIZE = 384
"""Longest side, in pixels, that a small frame is enlarged to (by a whole factor: a pixel stays a square)."""
REACH = 0.15
"""Longest displacement of one decision along an axis, metres: the full length of a motion's arrow."""
PAD = 16
DIAL = 112
"""Width of the column that shows a motion."""

INK, MUTED, PAPER, LINE = "#e7eaf0", "#98a2b3", "#12161f", "#2a3140"
ACTION, GOOD, BAD = "#ff2d78", "#3ddc97", "#ff6b5e"
OUTCOME = {Outcome.SUCCESS: GOOD, Outcome.FAILURE: BAD, Outcome.TRUNCATED: "#f5b83d", Outcome.INFRA_ERROR: BAD}
ASCII = str.maketrans({"→": "->", "−": "-", "×": "x", "Δ": "d", "Φ": "Phi", "✓": "+", "≥": ">=", "≤": "<="})
"""The font that Pillow carries lacks these."""


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def magnification(shape: Sequence[int]) -> int:
    """Whole factor by which a frame of this shape is enlarged so that a person can see it."""
    return max(1, CAMERA_SIZE // max(shape[:2]))


def enlarged(frame: Frame) -> Image.Image:
    factor = magnification(frame.shape)
    return Image.fromarray(frame).resize((frame.shape[1] * factor, frame.shape[0] * factor), Image.Resampling.NEAREST)


def draw_mark(canvas: Image.Image, mark: Mark, scale: float) -> None:
    """Draw one screen action on an enlarged frame; ``scale`` enlarged pixels to a pixel of the frame."""
    draw = ImageDraw.Draw(canvas)
    if mark.shape == "move":
        for width, colour in ((6, "#ffffff"), (3, ACTION)):
            _arrow(draw, mark.x * scale, mark.y * scale, mark.x2 * scale, mark.y2 * scale, colour, width)
        return
    x, y = (mark.x + 0.5) * scale, (mark.y + 0.5) * scale
    for width, colour in ((7, "#ffffff"), (3, ACTION)):  # a white rim, so that it shows on any theme
        match mark.shape:
            case "click" | "right" | "double":
                radii = (13, 21) if mark.shape == "double" else (13,)
                for radius in radii:
                    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=width)
                dot = width - 1
                draw.ellipse((x - dot, y - dot, x + dot, y + dot), fill=colour)
                if mark.shape == "right":
                    draw.line((x + 9, y - 9, x + 22, y - 22), fill=colour, width=width)
            case "drag":
                _arrow(draw, x, y, (mark.x2 + 0.5) * scale, (mark.y2 + 0.5) * scale, colour, width)
            case "scroll":
                _arrow(draw, x, y, x, y + 46 * (mark.y2 - mark.y), colour, width)
            case _:
                pass
    if mark.label:
        _pill(draw, canvas.size, mark.label)


def _arrow(draw: ImageDraw.ImageDraw, x: float, y: float, x2: float, y2: float, colour: str, width: int) -> None:
    length = math.hypot(x2 - x, y2 - y)
    draw.line((x, y, x2, y2), fill=colour, width=width)
    if length < 1:
        return
    ux, uy = (x2 - x) / length, (y2 - y) / length
    head = min(11.0, length)
    for side in (-0.5, 0.5):
        draw.line((x2, y2, x2 - head * (ux - side * uy), y2 - head * (uy + side * ux)), fill=colour, width=width)


def _pill(draw: ImageDraw.ImageDraw, size: tuple[int, int], label: str) -> None:
    text = label.translate(ASCII)
    width = draw.textlength(text, font(16))
    x, y = size[0] / 2, size[1] - 24
    draw.rounded_rectangle((x - width / 2 - 12, y - 15, x + width / 2 + 12, y + 15), 15, ACTION, "#ffffff", 2)
    draw.text((x, y), text, "#ffffff", font(16), anchor="mm")


def dial(motion: Motion, height: int) -> Image.Image:
    """What the hand was asked to do: an arrow in the table's plane (x right, y up), a bar for z, and the gripper."""
    canvas = Image.new("RGB", (DIAL, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    radius, x, y = DIAL / 2 - 10, DIAL / 2, DIAL / 2 + 6.0
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=LINE, width=2)
    draw.line((x - radius, y, x + radius, y), fill=LINE)
    draw.line((x, y - radius, x, y + radius), fill=LINE)
    to = (x + radius * _share(motion.x), y - radius * _share(motion.y))
    _arrow(draw, x, y, *to, ACTION, 4)
    y = DIAL + 16.0
    draw.text((4, y), "x y, up to 15 cm", MUTED, font(12))
    draw.text((4, y + 26), f"z {100 * motion.z:+.1f} cm", INK, font(14))
    draw.rectangle((4, y + 48, DIAL - 4, y + 54), LINE)
    draw.rectangle(_bar(x, y + 48, motion.z), ACTION)
    opened = 6 + 14 * (motion.grip + 1) / 2
    y += 84
    draw.text((4, y - 16), "gripper " + ("open" if motion.grip > 0 else "closed"), INK, font(14))
    for side in (-1, 1):
        draw.line((x, y + 10, x + side * opened, y + 16, x + side * opened, y + 34), INK, 4)
    return canvas


def _share(metres: float) -> float:
    return max(-1.0, min(1.0, metres / REACH))


def _bar(x: float, y: float, metres: float) -> tuple[float, float, float, float]:
    end = x + (x - 4) * _share(metres)
    return (min(x, end), y, max(x, end), y + 6)


class Stage:
    """Composes the pictures of one episode, all of one size (even sides, as video codecs want them)."""

    def __init__(self, trajectory: Trajectory, slides: Sequence[Slide]) -> None:
        self._episode = trajectory
        self._slides = slides
        self._cameras = cameras(trajectory)
        shapes = [enlarged(trajectory.frames[self._first(c)]).size for c in self._cameras]
        self._moves = any(s.motion for s in slides)
        self._top = max((h for _, h in shapes), default=0)
        wide = sum(w + PAD for w, _ in shapes) + PAD + (DIAL + PAD if self._moves else 0)
        self._width = max(wide, 420) // 2 * 2
        self._rows = len(trajectory.task.subgoals)
        lines = 6 + self._rows  # instruction (2), thought (2), action, reward
        self._height = (self._top + 2 * PAD + 38 + 22 * lines + PAD) // 2 * 2

    def _first(self, camera: str) -> str:
        seen = [d.frames for d in self._episode.decisions] + [self._episode.final_frames]
        return next(frames[camera] for frames in seen if camera in frames)

    def picture(self, slide: Slide | None, number: int, marked: bool = True) -> Frame:
        """The picture of decision ``number`` (0-based), or of the end where ``slide`` is None. RGB.

        Not ``marked``: the moment before, when nothing was done yet.
        """
        canvas = Image.new("RGB", (self._width, self._height), PAPER)
        x = PAD
        for camera in self._cameras:
            key = (slide.frames if slide else self._episode.final_frames).get(camera)
            view = enlarged(self._episode.frames[key if key else self._first(camera)])
            if slide and marked:
                scale = magnification(self._episode.frames[key].shape) if key else 1
                for mark in slide.marks:
                    if mark.camera == camera:
                        draw_mark(view, mark, scale)
            canvas.paste(view, (x, PAD))
            x += view.width + PAD
        if slide and slide.motion:
            canvas.paste(dial(slide.motion, max(self._top, 1)), (x, PAD))
        self._story(ImageDraw.Draw(canvas), slide, number, marked)
        return np.asarray(canvas)

    def _story(self, draw: ImageDraw.ImageDraw, slide: Slide | None, number: int, done: bool) -> None:
        task, outcome, y = self._episode.task, self._episode.outcome, self._top + 2 * PAD
        head = f"{task.id}   seed {task.seed}"
        draw.text((PAD, y), head, MUTED, font(14))
        right = f"{number + 1} / {len(self._slides)}" if slide else outcome.value.replace("_", " ")
        draw.text((self._width - PAD, y), right, MUTED if slide else OUTCOME[outcome], font(16), anchor="ra")
        y = self._lines(draw, task.instruction, y + 24, 2, INK, 16)
        if slide:
            y = self._lines(draw, slide.thought, y, 2, MUTED, 14)
        if slide and done:
            said = slide.action if slide.valid else f"no action: {slide.reply}"
            y = self._lines(draw, said, y, 1, ACTION if slide.valid else BAD, 16)
            paid = "   ".join(f"{name} {amount:+.2f}" for name, amount in slide.terms.items() if amount)
            self._lines(draw, paid or "no reward", y, 1, GOOD if paid else MUTED, 14)
        held = self._held(number if done and slide else number - 1)
        y = self._height - PAD - 22 * self._rows
        for subgoal in task.subgoals:
            self._tick(draw, y, subgoal.name, held.get(subgoal.name, False))
            y += 22

    def _held(self, after: int) -> dict[str, bool]:
        """Sub-goals that hold after decision ``after``."""
        return self._slides[after].subgoals if 0 <= after < len(self._slides) else {}

    def _tick(self, draw: ImageDraw.ImageDraw, y: int, name: str, held: bool) -> None:
        draw.rounded_rectangle((PAD, y + 1, PAD + 14, y + 15), 3, GOOD if held else None, GOOD if held else MUTED, 1)
        if held:
            draw.line((PAD + 3, y + 8, PAD + 6, y + 11, PAD + 11, y + 4), PAPER, 2)
        draw.text((PAD + 24, y), name.replace("_", " ").translate(ASCII), INK if held else MUTED, font(14))

    def _lines(self, draw: ImageDraw.ImageDraw, text: str, y: int, most: int, colour: str, size: int) -> int:
        """Write at most ``most`` lines; returns the y below the room that they have, used or not."""
        words, lines = text.translate(ASCII).split(), [""]
        for word in words:
            longer = f"{lines[-1]} {word}".strip()
            if draw.textlength(longer, font(size)) > self._width - 2 * PAD and lines[-1]:
                lines.append(word)
            else:
                lines[-1] = longer
        for i, line in enumerate(lines[:most]):
            ellipsis = " ..." if i == most - 1 and len(lines) > most else ""
            draw.text((PAD, y + 22 * i), line + ellipsis, colour, font(size))
        return y + 22 * most
