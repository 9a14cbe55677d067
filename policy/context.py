"""What a turn sees: frames, instruction, state of the body and last actions, as one prompt of tokens.

Usually each turn is a fresh context of one user message. Frames come first, then everything that changes more often, so
that turns and questions about the same frames share their prefix:

    [system] user: frame frame ... instruction, state of the body, last actions   assistant:

Or a conversation goes on, with every reply as the policy gave it, token by token, and all frames so far:

    [system] user: frame, instruction, state   assistant: reply   user: frame, state   assistant: ...
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episode import (
    Action,
    Advice,
    Body,
    Decision,
    Embodiment,
    Frame,
    HandeyeError,
    Observation,
    Screen,
    frame_key,
    nearest,
)
from perception.views import View
from policy.codecs import Codec, CodecError, describe

Message = dict[str, Any]
"""``{"role": ..., "content": [{"type": "image"} | {"type": "text", "text": ...}]}``, as chat templates take it."""
_BODY, _REPLY = "\N{WHITE SQUARE}text\N{WHITE SQUARE}", "\N{WHITE SQUARE}reply\N{WHITE SQUARE}"
"""Stand for the text of a turn and for a reply while a chat template is rendered; no world writes them."""


class ContextError(HandeyeError):
    """A prompt that cannot be built so that the model would see what it should."""


@dataclass(frozen=True)
class Prompt:
    """One turn's input, token in."""

    ids: NDArray[np.int32]
    """[P], as many placeholders for each image as the model makes features of it."""
    images: tuple[Frame, ...]
    """In the order of their spans in ``ids``."""
    text: str
    """What ``ids`` stand for, with one placeholder an image; for people."""


@dataclass(frozen=True)
class Dialect:
    """How one model writes its prompts. Plain functions, so that prompts can be built and tested without a model."""

    render: Callable[[list[Message]], str]
    """The chat template with the generation prompt, one ``image_token`` an image."""
    encode: Callable[[str], Sequence[int]]
    """Tokenizer, without adding special tokens of its own."""
    image_tokens: Callable[[Frame], int]
    """Features that the model makes of a frame of this size."""
    image_token_id: int
    end_id: int
    """Ends a reply."""
    special: Sequence[str]
    """How special tokens are spelled, the image token's among them: for the template alone to write."""


class ContextBuilder:
    """Builds prompts for one dialect and codec. Holds nothing of an episode; safe to share between agents.

    Args:
        dialect: how the model writes its prompts.
        codec: how the body's state and last actions are written.
        frames: frames of each camera, the current one included; fewer at the start of an episode.
        cameras: cameras of a body, in this order; None takes all that it has. A screen has one.
        last_actions: actions of the turns before that are told, the newest last, and whether it changed what is seen.
        limit: most tokens of a prompt. Above it the oldest frames go, with their placeholders, then the oldest of the
            last actions; what is seen now is never cut.
        conversation: a turn goes on from the one before instead of beginning afresh, which it does where that one was
            not generated, and where it would be longer than ``limit``.
        view: how frames are laid into images; None gives them as they are. With a view that adds grey, ``codec`` must
            be :class:`policy.codecs.placed.Placed` behind the same view.
    """

    def __init__(
        self,
        dialect: Dialect,
        codec: Codec,
        frames: int = 1,
        cameras: Sequence[str] | None = None,
        last_actions: int = 0,
        limit: int | None = None,
        view: View | None = None,
        conversation: bool = False,
    ) -> None:
        if frames < 1 or last_actions < 0:
            raise ContextError(f"frames must be at least 1 and last_actions at least 0, got {frames}, {last_actions}")
        self.dialect = dialect
        self.codec = codec
        self.frames = frames
        self.cameras = cameras
        self.last_actions = last_actions
        self.limit = limit
        self.view = view
        self.conversation = conversation
        self._around: dict[tuple[str, int], tuple[str, str]] = {}
        self._linked: dict[int, tuple[str, str]] = {}

    def build(
        self,
        observation: Observation,
        history: Sequence[Decision],
        frames: Mapping[str, Frame],
        embodiment: Embodiment,
    ) -> Prompt:
        """The prompt of the next turn.

        Args:
            observation: what is seen now.
            history: the episode's decisions so far.
            frames: frames by their keys, at least those of the last decisions.
            embodiment: decides cameras and how state and actions are written.

        Raises:
            ContextError: a camera is missing, a frame is of a wrong size, or the prompt is longer than ``limit``.
        """
        cameras = self._cameras(embodiment, observation)
        if self.conversation and history and history[-1].generations:
            prompt = self._on(observation, history[-1], frames, embodiment, cameras)
            if self.limit is None or len(prompt.ids) <= self.limit:
                return prompt
        past = history[max(0, len(history) - self.frames + 1) :] if self.frames > 1 else ()
        seen = [[self._look(frames[decision.frames[camera]], embodiment) for camera in cameras] for decision in past]
        seen.append([self._look(observation["frames"][camera], embodiment) for camera in cameras])
        last = history[-self.last_actions :] if self.last_actions else ()
        did = [self._told(decision, embodiment) for decision in last]
        # The codec's own words around what was typed may be special tokens.
        foreign = " ".join([observation["instruction"], *(describe(_taken(decision)) for decision in last)])
        unchanged = bool(history) and frame_keys(observation) == dict(history[-1].frames)
        state = self.codec.observe(observation.get("proprio"), embodiment)
        system = self.codec.system(embodiment)
        while True:
            text = turn_text(observation["instruction"], state, did, unchanged)
            prompt = self.compose([image for step in seen for image in step], text, system, foreign)
            if self.limit is None or len(prompt.ids) <= self.limit:
                return prompt
            if len(seen) > 1:
                seen.pop(0)
            elif did:
                did.pop(0)
            else:
                raise ContextError(
                    f"the prompt has {len(prompt.ids)} tokens, {self.limit} are allowed and nothing is left to drop: "
                    "use smaller frames, fewer cameras or a higher limit"
                )

    def repeats(self, embodiment: Embodiment) -> bool:
        """Whether a turn's prompt begins as that of an earlier turn did, for long enough to be worth remembering."""
        return self.conversation or self.frames > 1 or bool(self.codec.system(embodiment))

    def _on(
        self,
        observation: Observation,
        last: Decision,
        frames: Mapping[str, Frame],
        embodiment: Embodiment,
        cameras: Sequence[str],
    ) -> Prompt:
        """The turn after ``last`` in one conversation: its prompt and its reply as they were, then what is seen now."""
        said = last.generations[-1]
        images = tuple(self._look(observation["frames"][camera], embodiment) for camera in cameras)
        state = self.codec.observe(observation.get("proprio"), embodiment)
        unchanged = frame_keys(observation) == dict(last.frames)
        outcome = "" if last.valid and not unchanged else "unchanged" if last.valid else "invalid"
        text = " ".join(part for part in (state, outcome) if part)
        before, after = self._between(len(images))
        new = self._expand(np.asarray(self._encode(text, "", before, after), np.int32), images)
        end = self.dialect.end_id
        if new[0] != end:
            raise ContextError(
                "the model's chat template does not close a reply with the token that ends it, so that no conversation "
                "can go on: take --conversation False"
            )
        # A reply that was cut off at its longest has no end of its own.
        new = new[1:] if len(said.reply_ids) and said.reply_ids[-1] == end else new
        ids = np.concatenate([said.prompt_ids, said.reply_ids, new])
        return Prompt(ids, (*(frames[key] for key in said.images), *images), f"...{before}{text}{after}")

    def compose(self, images: Sequence[Frame], text: str, system: str = "", foreign: str | None = None) -> Prompt:
        """A prompt of frames and a text: of a turn, or of any question about frames.

        ``foreign``: what in ``text`` comes from worlds or policies, so that it stays text whatever special token it
        spells; None is all of it.
        """
        before, after = self._surroundings(system, len(images))
        foreign = text if foreign is None else foreign
        ids = self._expand(np.asarray(self._encode(text, foreign, before, after), np.int32), images)
        return Prompt(ids, tuple(images), before + text + after)

    def reply_ids(self, text: str, foreign: str | None = None) -> NDArray[np.int32]:
        """A reply that was written, not sampled, as tokens with the end token: what a model learns to say.

        ``foreign``: as for :meth:`compose`.
        """
        return np.array([*self._encode(text, text if foreign is None else foreign), self.dialect.end_id], np.int32)

    def _encode(self, text: str, foreign: str, before: str = "", after: str = "") -> list[int]:
        """Tokens of the whole, where no special token that ``foreign`` spells is made of ``text``.

        It is cut behind the first character of each, and what was cut is encoded apart: the same letters, and nothing
        changes for a text without. That holds for any tokenizer, also where the image token is not called special.
        """
        special = "|".join(re.escape(token) for token in self.dialect.special if token in foreign)
        ids = list[int]()
        while special and (found := re.search(special, text)):
            cut = found.start() + 1
            ids += self.dialect.encode(before + text[:cut])
            before, text = "", text[cut:]
        return [*ids, *self.dialect.encode(before + text + after)]

    def _cameras(self, embodiment: Embodiment, observation: Observation) -> Sequence[str]:
        if isinstance(embodiment, Screen):
            return ("screen",)
        cameras = embodiment.cameras if self.cameras is None else self.cameras
        for camera in cameras:
            if camera not in observation["frames"]:
                raise ContextError(f"no camera is called {camera!r}; {nearest(camera, observation['frames'])}")
        return cameras

    def _look(self, frame: Frame, embodiment: Embodiment) -> Frame:
        """A frame as the model sees it."""
        frame = _checked(frame, embodiment)
        return frame if self.view is None else self.view.place(frame.shape[1], frame.shape[0]).apply(frame)

    def _told(self, decision: Decision, embodiment: Embodiment) -> str:
        """A past decision in the codec's words: what was executed, so that it holds for any agent's decisions.

        ``other`` where the codec has no words for it, as for the long texts that a random agent types.
        """
        if not decision.valid:
            return "invalid"
        try:
            return self.codec.format(Advice(_taken(decision)), embodiment, False)
        except CodecError:
            return "other"

    def _surroundings(self, system: str, images: int) -> tuple[str, str]:
        """What the chat template writes before and after the turn's text; rendered once for each shape of turn."""
        if (system, images) not in self._around:
            messages = [_user(images, _BODY)]
            if system:
                messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
            before, found, after = self.dialect.render(messages).partition(_BODY)
            if not found:
                raise ContextError("the model's chat template leaves out the text of a user message with images")
            self._around[system, images] = before, after
        return self._around[system, images]

    def _between(self, images: int) -> tuple[str, str]:
        """What the chat template writes from the end of a reply to the next turn's text, and after that."""
        if images not in self._linked:
            reply: Message = {"role": "assistant", "content": [{"type": "text", "text": _REPLY}]}
            whole = self.dialect.render([_user(images, ""), reply, _user(images, _BODY)])
            before, found, after = whole.partition(_REPLY)[2].partition(_BODY)
            if not found:
                raise ContextError("the model's chat template leaves out what follows on a reply")
            self._linked[images] = before, after
        return self._linked[images]

    def _expand(self, ids: NDArray[np.int32], images: Sequence[Frame]) -> NDArray[np.int32]:
        """``ids`` with each image's one placeholder repeated for every feature of it."""
        spans = ids == self.dialect.image_token_id
        if int(spans.sum()) != len(images):
            raise ContextError(
                f"{int(spans.sum())} image placeholders for {len(images)} images: the model's chat template must write "
                "one an image"
            )
        repeats = np.ones(len(ids), np.int64)
        repeats[spans] = [self.dialect.image_tokens(image) for image in images]
        return np.repeat(ids, repeats)


def _user(images: int, text: str) -> Message:
    return {"role": "user", "content": [{"type": "image"}] * images + [{"type": "text", "text": text}]}


def turn_text(instruction: str, state: str, did: Sequence[str] = (), unchanged: bool = False) -> str:
    """What a turn says beside its frames: pretraining must write it as acting does.

    ``unchanged``, of the last action: every frame is as it was before it. Told with the actions, as without either a
    turn that did nothing looks like the first of its kind, and a policy that is sure of itself repeats it for ever.
    """
    last = "last " + "; ".join(did) + (" unchanged" if unchanged else "") if did else ""
    return " ".join(part for part in (instruction, state, last) if part)


def frame_keys(observation: Observation) -> dict[str, str]:
    """Camera name to key of what it shows, as decisions hold them."""
    return {name: frame_key(frame) for name, frame in observation["frames"].items()}


def _taken(decision: Decision) -> tuple[Action, ...]:
    return tuple(step.action for step in decision.steps)


def _checked(frame: Frame, embodiment: Embodiment) -> Frame:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ContextError(f"a frame must be uint8 [H, W, 3], got {frame.dtype} {list(frame.shape)}")
    if not isinstance(embodiment, Body) and frame.shape[:2] != (embodiment.height, embodiment.width):
        raise ContextError(
            f"the screen is {embodiment.width}x{embodiment.height} but its frame is {frame.shape[1]}x{frame.shape[0]}: "
            "clicks would miss; give frames in the screen's own size"
        )
    return frame
