"""Dense labels: what every image patch should know, drawn from the scene graph.

A language loss alone did not teach a tiny model to see; throw-away heads on the vision tokens did (docs/log.md). Here
are their targets. A *patch* is ``patch`` pixels square, a *token* two by two patches. −1 means: no target.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from episode import Frame, SceneObject

ALPHABET = string.ascii_lowercase + string.digits
"""Characters told apart by the dense heads, without case; class 0 is none, class i + 1 the i-th character."""
SLOTS = 8
"""Characters of its own text that a token should name."""
PLACES = 32
"""Bins of the frame's side for the centre of a token's own object."""
DRAWN = ("icon", "button")
"""Kinds of widgets that may show a shape instead of a text; their label is the shape's name."""


@dataclass(frozen=True, slots=True)
class DenseLabels:
    """Targets for one frame of h × w patches, H × W tokens."""

    glyphs: NDArray[np.int64]
    """[h, w, 2] character class in the left and right half of each patch."""
    characters: NDArray[np.int64]
    """[H, W, SLOTS] first characters of the token's own text; −1 where it has none, 0 after its end."""
    centre: NDArray[np.int64]
    """[H, W, 2] bins of the x and y of the centre of the token's own object, or −1."""
    color: NDArray[np.int64]
    """[H, W] index into the classes' colours, or −1."""
    kind: NDArray[np.int64]
    """[H, W] index into the classes' kinds; 0 is background."""


@dataclass(frozen=True, slots=True)
class Classes:
    """Names of the classes, in a fixed order."""

    colors: tuple[str, ...]
    kinds: tuple[str, ...]

    @classmethod
    def of(cls, objects: Sequence[SceneObject]) -> Classes:
        """The colours and kinds that occur in a sample of scenes."""
        return cls(
            tuple(sorted({o.color for o in objects if o.color})),
            ("background", *sorted({kind_of(o) for o in objects})),
        )


def shape_of(thing: SceneObject) -> str:
    """The shape that a thing shows in a text's place; empty where it shows none."""
    return thing.label if thing.kind in DRAWN and thing.text is None else ""


def kind_of(thing: SceneObject) -> str:
    """What a thing is, where a tick makes it another one: a policy that cannot see it unticks what it ticked.

    What shows a shape is that shape: of a base that was taught only that it is a button, four of five wrong clicks on
    an icon went to one of the right colour.
    """
    return f"checked {thing.kind}" if thing.state.get("checked") else shape_of(thing) or thing.kind


def character_class(character: str) -> int:
    return ALPHABET.find(character.lower()) + 1


def dense_labels(frame: Frame, objects: Sequence[SceneObject], patch: int, classes: Classes) -> DenseLabels:
    """Labels for one camera's frame from the objects that it sees; later objects lie on top of earlier ones."""
    height, width = frame.shape[:2]
    rows, columns = height // patch, width // patch
    glyphs = np.zeros((rows, columns * 2), np.int64)
    size = (rows // 2, columns // 2)
    characters = np.full((*size, SLOTS), -1, np.int64)
    centre = np.full((*size, 2), -1, np.int64)
    color, kind = np.full(size, -1, np.int64), np.zeros(size, np.int64)
    for thing in objects:
        x0, y0, x1, y1 = thing.box
        token = 2 * patch
        # A token belongs to a thing when its centre is inside, with some slack so that small things own one at least.
        slack_x, slack_y = max(0.0, (token - (x1 - x0)) / 2), max(0.0, (token - (y1 - y0)) / 2)
        ys = _inside(y0 - slack_y, y1 + slack_y, token, size[0])
        xs = _inside(x0 - slack_x, x1 + slack_x, token, size[1])
        where = np.s_[ys, xs]
        name = kind_of(thing)
        kind[where] = classes.kinds.index(name) if name in classes.kinds else 0
        color[where] = classes.colors.index(thing.color) if thing.color in classes.colors else -1
        middle = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height)
        centre[where] = [min(PLACES - 1, max(0, int(m * PLACES))) for m in middle]
        characters[where] = -1
        run = thing.text
        if run is not None and run.text.strip():
            word = [character_class(c) for c in run.text[:SLOTS]]
            characters[where] = word + [0] * (SLOTS - len(word))
            _write_glyphs(glyphs, run.text, run.edges, run.y, run.height, patch)
    return DenseLabels(glyphs.reshape(rows, columns, 2), characters, centre, color, kind)


def _inside(low: float, high: float, unit: int, count: int) -> slice:
    first = max(0, int(np.ceil((low - unit / 2) / unit)))
    last = min(count - 1, int(np.floor((high - unit / 2) / unit)))
    return slice(first, last + 1)


def _write_glyphs(
    glyphs: NDArray[np.int64], text: str, edges: Sequence[float], y: float, height: float, patch: int
) -> None:
    """Name the character at the centre of each half patch on the line's rows."""
    half = patch / 2
    reach = min(half + 0.5, height / 2 + 1)
    first = max(0, int((edges[0] - half / 2) // half))
    last = min(glyphs.shape[1], int(edges[-1] // half) + 1)
    x = (np.arange(first, last) + 0.5) * half
    index = np.searchsorted(np.asarray(edges), x, side="right") - 1
    inside = (index >= 0) & (index < len(text)) & (x < edges[-1])
    codes = np.array([character_class(c) for c in text] or [0])[index.clip(0, max(0, len(text) - 1))]
    for row in range(glyphs.shape[0]):
        if abs((row + 0.5) * patch - y) <= reach:
            glyphs[row, first:last][inside] = codes[inside]
