"""A codec for a model that sees screens through a view: what it says about its image is carried out on the screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from episode import SCREEN_KINDS, Action, Advice, Embodiment, Screen
from perception.views import Placement, View
from policy.codecs.base import POINTING, Codec, Misread, Reply, no_action, understood

Move = Callable[[int, int], tuple[int, int]]


class Placed:
    """``codec`` behind ``view``. Bodies are not affected: their actions are in metres, not in pixels."""

    def __init__(self, codec: Codec, view: View) -> None:
        self.codec = codec
        self.view = view
        self.name = codec.name
        self.max_tokens = codec.max_tokens

    def system(self, embodiment: Embodiment) -> str:
        return self.codec.system(self._seen(embodiment))

    def format(self, advice: Advice, embodiment: Embodiment, thought: bool) -> str:
        if isinstance(embodiment, Screen):
            move = self._placement(embodiment).to_canvas
            points, checked = (tuple(move(*map(int, p)) for p in places) for places in (advice.points, advice.checked))
            actions = tuple(_moved(action, move) for action in advice.actions)
            advice = replace(advice, actions=actions, points=points, checked=checked)
        return self.codec.format(advice, self._seen(embodiment), thought)

    def parse(
        self, text: str, embodiment: Embodiment, *, grip: float = 1.0, cursor: tuple[int, int] | None = None
    ) -> Reply:
        if not isinstance(embodiment, Screen):
            return self.codec.parse(text, embodiment, grip=grip, cursor=cursor)
        placement = self._placement(embodiment)
        seen = None if cursor is None else placement.to_canvas(*cursor)
        reply = self.codec.parse(text, self._seen(embodiment), grip=grip, cursor=seen)
        if not reply.valid:
            return reply

        def back(x: int, y: int) -> tuple[int, int]:
            at = placement.to_frame(x, y)
            if at is None:
                raise Misread(f"({x}, {y}) lies in the grey beside the screen: point at the screen itself")
            return at

        try:
            return understood([_moved(action, back) for action in reply.actions], reply.thought)
        except Misread as error:
            return no_action(str(error), embodiment, grip)

    def observe(self, proprio: NDArray[np.float32] | None, embodiment: Embodiment) -> str:
        return self.codec.observe(proprio, embodiment)

    def _placement(self, screen: Screen) -> Placement:
        return self.view.place(screen.width, screen.height)

    def _seen(self, embodiment: Embodiment) -> Embodiment:
        """The embodiment as the model sees it."""
        return Screen(*self._placement(embodiment).canvas) if isinstance(embodiment, Screen) else embodiment


def _moved(action: Action, move: Move) -> Action:
    """A screen action with every place in it moved; unused entries stay 0."""
    kind = SCREEN_KINDS[int(action["kind"])]
    moved = dict(action)
    if kind in POINTING or (kind == "noop" and np.any(action["position"])):
        moved["position"] = np.array(move(*map(int, action["position"])), np.int32)
    if kind == "drag":
        moved["end"] = np.array(move(*map(int, action["end"])), np.int32)
    return moved
