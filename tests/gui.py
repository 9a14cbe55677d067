"""Hands for the tests of GUI tasks."""

from typing import Any

from episode import Split, screen_action
from gui_env.toolkit.widget import Widget
from gui_env.world import GuiWorld

Result = tuple[float, bool, bool, dict[str, Any]]
"""Reward, terminated, truncated, info."""


def begun(cls: type[GuiWorld], seed: int = 0, split: Split = "train", size: tuple[int, int] = (128, 128)) -> Any:
    """A world at the start of an episode."""
    world = cls(split, size=size)
    world.reset(seed=seed)
    return world


def press(world: GuiWorld, widget: Widget) -> Result:
    """A click on the middle of a widget."""
    return world.advance(screen_action("click", *world.middle(widget)))


def act(world: GuiWorld, kind: Any, **fields: Any) -> Result:
    return world.advance(screen_action(kind, **fields))


def same_start(a: str, b: str) -> int:
    """Letters in which two labels begin alike."""
    a, b = a.lower(), b.lower()
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
