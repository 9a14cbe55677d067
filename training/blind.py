"""Questions that need no picture: rules of many steps, and of two things of which neither alone tells anything.

Pictures, which ask them now and then, did not teach them; thousands without one cost little (docs/log.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from episode import Advice, Body, Split, chunk_of
from gui_env import content
from gui_env.tasks import login_form, type_text
from perception.questions import Question
from policy.codecs.base import Codec
from policy.codecs.compact import bins_of, centre, locate
from policy.context import turn_text
from sims import moves
from sims.draw import block_names
from sims.tasks import push_to_object, push_to_zone

BLIND = frozenset({"aim", "copy", "stroke", "way"})
"""Their skills."""


@dataclass(frozen=True, slots=True)
class Blind:
    """Asks in the words of the tasks, as a policy with ``codec`` answers."""

    codec: Codec
    split: Split

    def copy(self, rng: np.random.Generator) -> Question:
        """Typing what is quoted: which of two texts, letter by letter."""
        texts = [content.label(rng, self.split).lower(), content.secret(rng)]
        if rng.random() < 0.3:
            texts.reverse()
        which = int(rng.integers(2))
        if rng.random() < 0.4:
            phrase = content.pick(rng, type_text.PHRASES[self.split])
            asked = phrase.format(text=texts[0], label=content.label(rng, self.split))
            return Question("copy", f"{asked} type", f'type"{texts[0]}"')
        phrase = content.pick(rng, login_form.PHRASES[self.split])
        asked = f"{phrase.format(*texts)} type {('user', 'password')[which]}"
        return Question("copy", asked, f'type"{texts[which]}"')

    def sums(self, rng: np.random.Generator, body: Body, count: int) -> list[Question]:
        """Arithmetic without a picture, which is not learned from images alone."""
        return [self.stroke(rng, body) if i % 4 else self.aim(rng, body) for i in range(count)]

    def aim(self, rng: np.random.Generator, body: Body) -> Question:
        """From here to there, in bins."""
        low, high = np.asarray(body.low), np.asarray(body.high)
        hand, target = rng.uniform(low, high), rng.uniform(low, high)
        if rng.random() < 0.5:
            hand = np.clip(target + rng.normal(0, 0.05, 3), low, high)
        state = self.codec.observe(np.array([*hand, rng.random(), rng.random() < 0.2], np.float32), body)
        move = self.codec.format(Advice(tuple(chunk_of(body, (target - hand).tolist(), 1.0))), body, thought=False)
        # The answer begins where the thought would have ended; the gripper is not part of the sum.
        return Question("aim", f"{state}\0at{locate(target, body)}", move.removesuffix("open"))

    def stroke(self, rng: np.random.Generator, body: Body) -> Question:
        """How to go on pushing, given where hand, thing and goal are: an axis to choose, and a way around the thing.

        In the words of the tasks: what was learned of bare numbers does not hold behind an instruction (docs/log.md).
        """
        while True:
            moment = moves.imagined_push(rng)
            # Decided from what the text says, so that the same text never asks for two things.
            tip, thing, spot = (centre(bins_of(p, body), body) for p in (moment.tip, moment.thing, moment.spot))
            intent = moves.stroke("thing", tip, moment.opening, thing, spot, moves.BLOCK, moves.SLACK)
            if intent is not None:
                break
        state = self.codec.observe(np.array([*tip, moment.opening, 0.0], np.float32), body)
        did = []
        if moment.moved is not None:  # the gripper is as the last decision left it
            last = chunk_of(body, moment.moved.tolist(), 2 * moment.opening - 1)
            did = [self.codec.format(Advice(tuple(last)), body, False)]
        asked = turn_text(self._push(rng), state, did)
        actions = chunk_of(body, (intent.tip - tip).tolist(), intent.grip)
        x, y, z = (float(v) for v in intent.tip)
        answer = self.codec.format(Advice(tuple(actions), points=((x, y, z),)), body, True)
        return Question("stroke", f"{asked}\0at{locate(thing, body)}{locate(spot, body)}", answer.removeprefix("at"))

    def _push(self, rng: np.random.Generator) -> str:
        """An instruction to push one thing into a zone or next to another thing."""
        (color, kind), (goal, other) = block_names(rng, 2, self.split, push_to_object.KINDS)
        task, end = (push_to_zone, "zone") if rng.random() < 0.5 else (push_to_object, other)
        return content.pick(rng, task.PHRASES[self.split]).format(f"{color} {kind}", f"{goal} {end}")
