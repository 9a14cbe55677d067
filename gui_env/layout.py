"""Where boxes go: in a column, in rows, or anywhere, always inside their room and never on each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gui_env.toolkit.geometry import Rect, box

Size = tuple[int, int]


def column(rng: np.random.Generator, room: Rect, sizes: Sequence[Size], gap: int) -> list[Rect]:
    """One below the other, all at the left, in the middle or at one width; spare height is spread between them."""
    style = int(rng.integers(3))
    widest = max(width for width, _ in sizes)
    spare = max(0, room.height - sum(height for _, height in sizes) - gap * (len(sizes) - 1))
    between = gap + min(spare // (len(sizes) + 1), 3 * gap)
    used = sum(height for _, height in sizes) + between * (len(sizes) - 1)
    y = room.y0 + int(rng.integers(max(1, room.height - used + 1)))
    left = room.x0 + int(rng.integers(max(1, room.width - widest + 1)))
    boxes = []
    for width, height in sizes:
        x = left if style != 1 else left + (widest - width) // 2
        boxes.append(box(x, y, widest if style == 2 else width, height))
        y += height + between
    return boxes


def rows(rng: np.random.Generator, room: Rect, sizes: Sequence[Size], gap: int) -> list[Rect]:
    """From left to right, then the next row, as text flows; the whole is moved about in the room."""
    lines: list[list[int]] = [[]]
    used = 0
    for i, (width, _) in enumerate(sizes):
        if lines[-1] and used + gap + width > room.width:
            lines.append([])
            used = 0
        used += width + (gap if lines[-1] else 0)
        lines[-1].append(i)
    high = max(height for _, height in sizes)
    total = len(lines) * high + (len(lines) - 1) * gap
    y = room.y0 + int(rng.integers(max(1, room.height - total + 1)))
    boxes = [room] * len(sizes)
    for line in lines:
        spare = room.width - sum(sizes[i][0] for i in line) - gap * (len(line) - 1)
        x = room.x0 + int(rng.integers(max(1, spare + 1)))
        for i in line:
            boxes[i] = box(x, y, *sizes[i])
            x += sizes[i][0] + gap
        y += high + gap
    return boxes


def scatter(rng: np.random.Generator, room: Rect, sizes: Sequence[Size], gap: int) -> list[Rect] | None:
    """Anywhere; None where chance found no place for one of them."""
    boxes: list[Rect] = []
    for width, height in sizes:
        for _ in range(30):
            x = room.x0 + int(rng.integers(max(1, room.width - width + 1)))
            y = room.y0 + int(rng.integers(max(1, room.height - height + 1)))
            spot = box(x, y, width, height)
            if not any(spot.inset(-gap).meets(other) for other in boxes):
                boxes.append(spot)
                break
        else:
            return None
    return boxes


def arrange(rng: np.random.Generator, room: Rect, sizes: Sequence[Size], gap: int) -> list[Rect]:
    """One of the three ways, by chance; whatever it is, everything fits if a column or rows of it do."""
    style = int(rng.integers(3))
    if style == 0:
        free = scatter(rng, room, sizes, gap)
        if free is not None:
            return free
    stacked = sum(height for _, height in sizes) + gap * (len(sizes) - 1)
    if style == 1 and stacked <= room.height:
        return column(rng, room, sizes, gap)
    flowed = rows(rng, room, sizes, gap)
    return flowed if room.covers(flowed[-1]) else column(rng, room, sizes, gap)


def across(room: Rect, widths: Sequence[int], height: int, gap: int, align: str = "right") -> list[Rect]:
    """One row at the bottom of ``room``, as a dialogue's buttons stand."""
    total = sum(widths) + gap * (len(widths) - 1)
    x = {"left": room.x0, "center": room.x0 + (room.width - total) // 2, "right": room.x1 - total}[align]
    boxes = []
    for width in widths:
        boxes.append(box(x, room.y1 - height, width, height))
        x += width + gap
    return boxes


def labelled(room: Rect, count: int, line: int, column: int, height: int, gap: int) -> list[tuple[Rect, Rect]]:
    """Captions and their controls, one pair below the other from the top of ``room``.

    A caption of ``line`` pixels stands above its control of ``height``; where ``column`` is not 0, beside it at the
    left, that wide and as high as the control.
    """
    pairs = []
    y = room.y0
    for _ in range(count):
        if column:
            pairs.append((box(room.x0, y, column, height), Rect(room.x0 + column, y, room.x1, y + height)))
            y += height + gap
        else:
            pairs.append((box(room.x0, y, room.width, line), box(room.x0, y + line, room.width, height)))
            y += line + height + gap
    return pairs
