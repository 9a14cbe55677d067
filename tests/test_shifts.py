"""One pool of the held-out split at a time: each changes what it names, is undone, and leaves tasks possible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.shifts import POOLS, shifted
from episode import stream
from gui_env import content
from gui_env.tasks import click_icon, login_form
from gui_env.toolkit import themes
from sims import look
from training.worlds import all_tasks

SEEN = {
    "words": "gui/login-form-v0",
    "phrasings": "sims/reach-v0",
    "captions": "gui/login-form-v0",
    "themes": "gui/click-button-v0",
    "shades": "gui/click-icon-v0",
    "pairs": "gui/click-icon-v0",
    "scenery": "sims/put-in-bowl-v0",
    "cameras": "sims/touch-color-v0",
}
"""A task that draws from the pool."""


def start(task_id: str, seed: int) -> tuple[Any, dict[str, Any], str]:
    """A world of the training split with what it shows and asks at first."""
    world = all_tasks()[task_id](split="train")
    observation, info = world.reset(seed=seed)
    return world, observation["frames"], info["task"].instruction


def played(world: Any) -> bool:
    over, info = False, dict[str, Any]()
    while not over:
        for action in world.expert().actions:
            _, terminated, truncated, info = world.advance(action)
            over = terminated or truncated
            if over:
                break
    return bool(info["success"])


@pytest.mark.parametrize("kind", POOLS)
def test_a_shift_changes_what_is_seen_and_is_undone(kind: str) -> None:
    assert SEEN.keys() == POOLS.keys()
    changed = 0
    for seed in range(3):
        world, frames, asked = start(SEEN[kind], seed)
        world.close()
        with shifted(kind):
            world, shown, said = start(SEEN[kind], seed)
            assert played(world), "the expert must still know what to do"
            world.close()
        changed += said != asked or any(not np.array_equal(frames[name], shown[name]) for name in frames)
        world, after, again = start(SEEN[kind], seed)
        world.close()
        assert again == asked and all(np.array_equal(frames[name], after[name]) for name in frames)
    assert changed, f"{kind} changed nothing in {SEEN[kind]}"


def test_what_is_drawn_comes_from_the_held_out_pools() -> None:
    def draw(seed: int) -> np.random.Generator:
        return stream(seed, "shift")

    words = frozenset(content.WORDS["heldout"])
    with shifted("words"):
        drawn = [content.label(draw(seed), "train") for seed in range(60)]
        assert all(word in words or content.belongs(word.lower(), "heldout") for word in drawn)
    with shifted("themes"):
        assert {themes.draw_theme(draw(s), "train").name for s in range(40)} == {
            p.name for p in themes.PALETTES["heldout"]
        }
    with shifted("pairs"):
        assert all(click_icon.draw_pairs(draw(s), 4, "train")[0] in click_icon.HELDOUT for s in range(20))
    with shifted("captions"):
        assert login_form.USER["train"] == login_form.USER["heldout"]
    with shifted("phrasings"):
        assert login_form.PHRASES["train"] == login_form.PHRASES["heldout"]
        assert set(content.label(draw(s), "train") for s in range(60)).isdisjoint(words)
    near = look.draw_cameras(draw(0), ("top",))["top"]
    with shifted("cameras"):
        far = look.draw_cameras(draw(0), ("top",))["top"]
    assert far.roll == 2 * near.roll and far.target == tuple(2 * v for v in near.target)
