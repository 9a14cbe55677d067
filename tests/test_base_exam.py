"""The exam of a base: its judges by hand, and that its screens ask what they say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.base import Spot, choose, edits, spoken_place, transcribe
from gui_env import content
from gui_env.gallery import confusable_buttons


@pytest.mark.parametrize(
    ("a", "b", "distance"), [("save", "save", 0), ("save", "same", 1), ("", "abc", 3), ("kitten", "sitting", 3)]
)
def test_edits_by_hand(a: str, b: str, distance: int) -> None:
    assert edits(a, b) == edits(b, a) == distance


def test_places_by_hand() -> None:
    # Of 32 bins, number 0 has its centre at 1/64 and number 16 at 33/64.
    assert spoken_place("<loc_0><loc_16>") == (1 / 64, 33 / 64)
    assert spoken_place("<loc_0>") is None and spoken_place('"Save"') is None


@pytest.mark.parametrize("seed", range(5))
def test_words_that_are_alike_differ_and_lie_within_two_edits(seed: int) -> None:
    words = content.alike(np.random.default_rng(seed), "heldout", 9)
    assert len(set(words)) == 9
    # Each was made from the first by at most two edits.
    assert all(edits(words[0].lower(), word.lower()) <= 2 for word in words)
    trained = content.alike(np.random.default_rng(seed), "train", 9)
    assert not set(trained) & set(words)


def test_a_click_on_the_named_button_counts_and_one_beside_it_does_not() -> None:
    items = [item for seed in range(40) for item in choose(seed)]
    assert items, "of forty screens some have room for eight buttons"
    for item in items[:5]:
        right = sum(item.judge(f"<loc_{x}><loc_{y}>")["choose"] for x in range(32) for y in range(32))
        assert 1 <= right <= 100, "one button's cells of 4 by 4 pixels"
        assert item.question.count(chr(34)) == 2


def test_letters_by_hand() -> None:
    item = next(transcribe(1))
    assert item.question.startswith("Read <loc_")
    assert item.judge("") == {"transcribe, letters": 0.0, "transcribe, exact": 0.0}
    # 1 - edits / length cannot fall below 0, however much is said.
    assert item.judge(f'"{"z" * 40}"')["transcribe, letters"] == 0.0


def test_spot_counts_within_four_percent() -> None:
    spot = Spot()
    item = next(item for seed in range(20) for item in spot(seed))
    right = sum(item.judge(f"<loc_{x}><loc_{y}>")["spot"] for x in range(32) for y in range(32))
    # A disc of radius 0.04 holds the centres of 3 to 7 cells of 1/32, fewer at the frame's edge.
    assert 1 <= right <= 7
    spot.gallery.close()


def test_buttons_alone() -> None:
    _, objects = confusable_buttons(3, (128, 128), "heldout", 8)
    assert {o.kind for o in objects} <= {"button", "window", "title"}
