"""Random screens for perception: what the scene graph says is what stands in the pixels."""

import numpy as np
import pytest
from numpy.typing import NDArray

from episode import SceneObject
from gui_env import content
from gui_env.gallery import random_screen
from gui_env.toolkit.fonts import Font, text_mask


def ink_of(text: SceneObject, size: tuple[int, int], bold: bool) -> NDArray[np.float32]:
    """Coverage of the run's glyphs on an empty page, drawn by another way than the widget's."""
    run = text.text
    assert run is not None
    font = Font(int(run.height), bold)
    page = np.zeros((size[1], size[0]), np.float32)
    mask = text_mask(font, run.text)[:, ::3]
    top = round(run.y + font.cap / 2) - font.ascent
    left = int(run.edges[0])
    part = page[max(top, 0) : top + mask.shape[0], left : left + mask.shape[1]]
    part[...] = mask[max(0, -top) : max(0, -top) + part.shape[0], : part.shape[1]]
    return page


@pytest.mark.parametrize("size", [(128, 128), (224, 224), (640, 480)])
def test_glyph_edges_are_where_the_letters_are(size: tuple[int, int]) -> None:
    """Within a run the pixels follow, column by column, the ink of the glyphs between the edges that are told."""
    runs = exact = 0
    for seed in range(40):
        frame, objects = random_screen(seed, size, "train" if seed % 2 else "heldout", (4, 16))
        for thing in objects:
            run = thing.text
            if run is None or thing.kind not in ("label", "button", "item") or thing.state["focused"]:
                continue
            assert len(run.edges) == len(run.text) + 1
            assert all(b > a for a, b in zip(run.edges, run.edges[1:], strict=False))
            box = thing.box
            assert box[0] <= run.edges[0] and run.edges[-1] <= box[2] + 1 and box[1] <= run.y <= box[3]
            x0, x1 = int(run.edges[0]), int(run.edges[-1])
            y0, y1 = int(run.y - 2), int(run.y + 2)
            area = frame[y0:y1, x0:x1].astype(np.float32)
            # In each row the background is one colour and the ink another: pixel = a + b * coverage.
            widths = run.edges[-1] - run.edges[0]
            fonts = [bold for bold in (False, True) if Font(int(run.height), bold).width(run.text) == widths]
            wrong = min(departure(area, ink_of(thing, size, bold)[y0:y1, x0:x1]) for bold in fonts)
            runs += 1
            exact += wrong < 3
    assert runs > 150
    # The mouse pointer may stand on a word.
    assert exact >= 0.97 * runs


def departure(area: NDArray[np.float32], ink: NDArray[np.float32]) -> float:
    """Largest distance, in levels, of any pixel from the best ``a + b * ink`` of its row."""
    worst = 0.0
    for pixels, cover in zip(area, ink, strict=True):
        basis = np.stack([np.ones_like(cover), cover], 1)
        fit, *_ = np.linalg.lstsq(basis, pixels, rcond=None)
        worst = max(worst, float(np.abs(basis @ fit - pixels).max()))
    return worst


def test_same_seed_same_screen() -> None:
    a, b = random_screen(7), random_screen(7)
    assert np.array_equal(a[0], b[0]) and a[1] == b[1]
    assert not np.array_equal(a[0], random_screen(8)[0])


def test_pools_are_disjoint() -> None:
    train, held = set(content.WORDS["train"]), set(content.WORDS["heldout"])
    assert not train & held
    assert len(train) >= 350 and len(held) >= 120
    assert all(3 <= len(word) <= 7 and word.isalpha() for word in train | held)


def test_labels_are_words_of_the_split_or_invented() -> None:
    rng = np.random.default_rng(0)
    for split, other in (("train", "heldout"), ("heldout", "train")):
        drawn = [content.label(rng, split) for _ in range(400)]  # type: ignore[arg-type]
        words = [text for text in drawn if text in content.WORDS[split]]  # type: ignore[index]
        assert 140 < len(words) < 260
        assert not set(drawn) & set(content.WORDS[other])  # type: ignore[index]
        assert all(3 <= len(text) <= 7 and text.isascii() and text.isalpha() for text in drawn)


@pytest.mark.parametrize(
    ("texts", "first"),
    [
        (["Bird", "Pond", "Pole"], "Pond"),
        (["Bird", "Pole", "Pool"], "Pole"),
        (["Polish", "Poll"], "Poll"),
        (["Bird"], "Bird"),
    ],
)
def test_the_text_that_one_would_take_for_another(texts: list[str], first: str) -> None:
    """Itself, where it is there; else what begins most like it, and then what is most like it altogether."""
    assert texts[content.most_alike("Pond" if "Pond" in texts else "Polk", texts)] == first
