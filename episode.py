"""The vocabulary that minds, worlds and the trainer share: what a task is, what happened, and what a world may also do.

Nothing here knows of torch, transformers, MuJoCo or a GUI; only numpy is imported. Minds (``perception``, ``policy``)
and worlds (``sims``, ``gui_env``) never import each other: they meet in these types and in gymnasium's spaces.

Units: lengths in metres, times in seconds of the world's own logical clock, screen positions in pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION = 1

Split = Literal["train", "heldout"]
Frame = NDArray[np.uint8]
"""An image, uint8, shape [H, W, 3], RGB."""
Observation = dict[str, Any]
"""``{"frames": {camera: Frame}, "instruction": str, "proprio": float32 [P], "time": float32 [1]}``.

Screens have one camera, ``"screen"``, and no ``proprio``."""
Action = Any
"""One native action: a dict from :func:`screen_action` on screens, float32 [4] (metres and gripper) on a body."""


class HandeyeError(Exception):
    """Base of every error that the project raises on purpose; its text says what was wrong and what to do."""

    status: ClassVar[int] = 2
    """Exit status of the command that it ends."""


class WorldError(HandeyeError):
    """A world broke, hung, or was asked for something it cannot do."""


class Outcome(StrEnum):
    """How an episode ended. ``INFRA_ERROR`` never enters a baseline or a success rate."""

    SUCCESS = "success"
    FAILURE = "failure"
    TRUNCATED = "truncated"
    INFRA_ERROR = "infra_error"


# --- tasks


@dataclass(frozen=True, slots=True)
class SubGoal:
    """A named predicate over the world's state; ``after`` names the sub-goals that should be held before it."""

    name: str
    weight: float = 1.0
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """What one episode asks for. Given as ``info["task"]`` by ``reset``."""

    id: str
    """Registered name, such as ``gui/login-form-v0``."""
    instruction: str
    subgoals: tuple[SubGoal, ...]
    seed: int
    split: Split = "train"


def progress(subgoals: Sequence[SubGoal], held: Mapping[str, bool]) -> float:
    """Φ: the weighted share, in [0, 1], of the sub-goals that are held *now*. 0 where a task has none."""
    total = sum(s.weight for s in subgoals)
    return sum(s.weight for s in subgoals if held[s.name]) / total if total else 0.0


def environment_terms(before: float, after: float, success: bool) -> dict[str, float]:
    """The environment's raw reward terms of one step, given Φ before and after it.

    Exactly one of r_task, r_sub, 0 is paid: completion pays ``task = 1 + ΔΦ`` (the last step's progress is folded in),
    any other step pays ``subgoal = ΔΦ``, negative when a sub-goal is lost. Undiscounted and meant *not* to be
    policy-invariant: a failure that came further is worth more.
    """
    delta = after - before
    return {"task": 1.0 + delta, "subgoal": 0.0} if success else {"task": 0.0, "subgoal": delta}


# --- embodiments, actions

ScreenKind = Literal["noop", "click", "double_click", "right_click", "drag", "scroll", "type", "key", "wait", "done"]
SCREEN_KINDS: tuple[ScreenKind, ...] = (
    "noop",
    "click",
    "double_click",
    "right_click",
    "drag",
    "scroll",
    "type",
    "key",
    "wait",
    "done",
)
MAX_TEXT = 256
"""Longest text or key name that one screen action carries, in characters."""


def screen_action(
    kind: ScreenKind, x: int = 0, y: int = 0, x2: int = 0, y2: int = 0, scroll: int = 0, text: str = ""
) -> dict[str, Any]:
    """One native screen action, a member of the GUI worlds' action space.

    ``x, y`` are pixels of the frame (0-based); ``x2, y2`` the end of a drag; ``scroll`` is in notches, positive shows
    what lies *further down*; ``text`` is what ``type`` types, or the key that ``key`` presses (``enter``, ``tab``).
    """
    return {
        "kind": SCREEN_KINDS.index(kind),
        "position": np.array([x, y], np.int32),
        "end": np.array([x2, y2], np.int32),
        "scroll": np.array([scroll], np.int32),
        "text": text,
    }


@dataclass(frozen=True, slots=True)
class Screen:
    """The embodiment of a GUI world: one action a decision, in pixels of its only camera, ``"screen"``."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Body:
    """The embodiment of a manipulation world: bounded end-effector displacements and a gripper.

    One native action is float32 ``[dx, dy, dz, grip]``: displacement of the end effector's *target* in the world frame,
    each within ``±max_step`` metres, and the gripper, −1 closed to +1 open. A decision is a chunk of ``chunk`` actions.
    ``proprio`` starts with the end effector's x, y, z in metres and the gripper's opening in [0, 1].
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    max_step: float = 0.03
    chunk: int = 5
    control_hz: float = 10.0
    control_mode: str = "end_effector_delta"
    cameras: tuple[str, ...] = ("top", "front")


Embodiment = Screen | Body
HAND = 4
"""Entries that every ``proprio`` has: x, y, z and the opening."""


def chunk_of(body: Body, delta: Sequence[float], grip: float) -> list[NDArray[np.float32]]:
    """A displacement (metres, any size) as ``body.chunk`` equal native actions, clipped to what the body can do."""
    step = np.clip(np.asarray(delta, np.float64) / body.chunk, -body.max_step, body.max_step)
    return [np.array([*step, grip], np.float32) for _ in range(body.chunk)]


# --- capabilities

State = dict[str, Any]
"""A versioned tree of arrays and JSON scalars: all that a world needs to continue bit for bit, in any process."""


@dataclass(frozen=True, slots=True)
class TextRun:
    """Text as it is drawn: where its glyphs lie, so that perception can be taught to read. Pixels of one camera."""

    text: str
    edges: tuple[float, ...]
    """x of each glyph's left edge and, last, of the final right edge: ``len(text) + 1`` values."""
    y: float
    """Vertical centre of the letters."""
    height: float


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One thing in the scene graph, as seen by ``camera``. Never part of the observation."""

    name: str
    """Unique in the scene, stable over the episode."""
    kind: str
    """``button``, ``field``, ``cube``, ``bowl``, ``gripper``, ..."""
    camera: str
    box: tuple[float, float, float, float]
    """Visible extent x0, y0, x1, y1 in pixels of that camera's frame, clipped to it."""
    label: str = ""
    """How a person would name it: the caption of a widget, ``"red cube"`` for a thing on the table."""
    color: str = ""
    text: TextRun | None = None
    position: tuple[float, float, float] | None = None
    """Centre in the world frame (metres), for things in a manipulation world."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """``checked``, ``focused``, ``value``, ``held``, ...: JSON scalars."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What an expert would do now: the native actions of one decision, and what it would say first."""

    actions: tuple[Action, ...]
    thought: str = ""
    points: tuple[tuple[float, ...], ...] = ()
    """Places that a codec may write as the thought, each following from those before it: of what this decision has to
    look at, if anything, and on a body last where it wants the end effector to be. World frame, metres, on a body;
    pixels (x, y) on a screen."""
    checked: tuple[tuple[float, ...], ...] = ()
    """On a screen besides: places of what is checked, as far as the decision had to look at them after ``points``."""
    reads: str = ""
    """On a screen besides: what stands at the last of ``points``, where the decision hangs on it."""


@runtime_checkable
class Rewindable(Protocol):
    def snapshot(self) -> State:
        """All of the state, generators and queues included."""

    def restore(self, state: State) -> Observation:
        """Continue from ``state``, bit for bit; returns the observation there."""


@runtime_checkable
class Keyed(Protocol):
    def state_key(self) -> Hashable:
        """What makes two moments the same for credit: from the simulator's state, never from pixels."""


@runtime_checkable
class Privileged(Protocol):
    def privileged(self) -> NDArray[np.float32]:
        """State for critics, shape [len(privileged_layout())]."""

    def privileged_layout(self) -> tuple[str, ...]:
        """A name for each entry."""


@runtime_checkable
class Scripted(Protocol):
    def expert(self) -> Advice:
        """The next decision of a scripted expert, from the state alone; callable at any moment of an episode."""


@runtime_checkable
class Described(Protocol):
    def scene(self) -> list[SceneObject]:
        """The scene graph now, one entry an object and camera."""


@runtime_checkable
class Staged(Protocol):
    """A world whose step can be taken without drawing a frame: ``step(a)`` is ``advance(a)`` and then ``observe()``."""

    def advance(self, action: Action) -> tuple[float, bool, bool, dict[str, Any]]:
        """Reward, terminated, truncated, info."""

    def observe(self) -> Observation:
        """The observation now; drawing it changes nothing in the world."""


# --- the record


@dataclass(slots=True)
class Generation:
    """One reply of the model: token in, token out. Sampled ids are stored once and never retokenised."""

    prompt_ids: NDArray[np.int32]
    """[P], image placeholders included."""
    reply_ids: NDArray[np.int32]
    """[R], the end token included when it was sampled."""
    images: tuple[str, ...]
    """Keys into ``Trajectory.frames``, in the order of the prompt's image spans."""
    text: str
    """The reply decoded, for codecs and people; never encoded again."""
    logps: NDArray[np.float32] | None = None
    """[R] log-probabilities under the sampling distribution (temperature and bans applied); None if none were given."""
    mask: NDArray[np.bool_] | None = None
    """[R] True where the policy sampled the token itself; None means everywhere."""
    role: str = "act"
    temperature: float = 1.0
    weight_version: int = 0


@dataclass(slots=True)
class ControlStep:
    """One native action that was executed, and what the world paid for it."""

    action: Action
    terms: dict[str, float]
    """Raw named terms of the environment (``task``, ``subgoal``)."""
    progress: float
    """Φ after the step."""
    time: float
    """Logical clock after the step, seconds."""


@dataclass(slots=True)
class Decision:
    """One turn: what was seen, what was generated, what it did. No field is ever overwritten with another meaning."""

    frames: dict[str, str]
    """Camera name to key into ``Trajectory.frames``."""
    generations: list[Generation]
    action: str
    """The action as text, for people."""
    thought: str
    valid: bool
    """False: the reply was no action (outcome ``policy_error`` of this turn; the world took a no-op)."""
    error: str
    steps: list[ControlStep]
    planned: int
    """Native actions that the reply asked for; ``len(steps)`` of them were executed."""
    subgoals: dict[str, bool]
    """Held after the decision."""
    state_key: Hashable | None = None
    """Of the state in which the decision was taken."""
    privileged: NDArray[np.float32] | None = None
    terms: dict[str, float] = field(default_factory=dict)
    """Agent-side terms (``format``, ``length``, ``invalid``)."""
    reward: float | None = None
    """Weighted sum over terms and steps, discounted within the chunk."""
    value: float | None = None
    ret: float | None = None
    advantages: NDArray[np.float32] | None = None
    """[sum of R over generations], one a reply token."""
    token_values: NDArray[np.float32] | None = None
    """[sum of R over generations] V before each reply token; None without a critic."""
    token_returns: NDArray[np.float32] | None = None
    """[sum of R over generations] what they should have been; None where the critic learns ``ret`` alone."""
    reference_logps: NDArray[np.float32] | None = None
    """[sum of R over generations] log-probs of each reply token under the policy at the start of the run."""


@dataclass(slots=True)
class Trajectory:
    """One episode: a task, an outcome, decisions, and each distinct frame once."""

    task: Task
    outcome: Outcome
    decisions: list[Decision]
    frames: dict[str, Frame]
    episode: int = 0
    """Logical number of the episode in its run; with the run's seed it keys every random draw."""
    group: int = 0
    """Episodes with the same number started from one snapshot."""
    final_frames: dict[str, str] = field(default_factory=dict)
    """What the world looked like at the end."""
    error: str = ""
    """How its world broke, for good or in the attempt before this one; empty where it did not."""
    attempts: int = 1
    """How often it was begun because its world broke, this time included."""
    schema: int = SCHEMA_VERSION

    @property
    def success(self) -> bool:
        return self.outcome is Outcome.SUCCESS


def frame_key(frame: Frame) -> str:
    """Content hash of a frame: equal pixels and shape, equal key, in any process."""
    digest = hashlib.blake2b(repr(frame.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(frame).tobytes())
    return digest.hexdigest()


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A generator for one named use of a seed (``task``, ``content``, ``layout``, ``appearance``, ``physics``, ...).

    Streams of the same seed are independent, so that the look can vary while the task stays.
    """
    digest = hashlib.blake2b("/".join(map(str, names)).encode(), digest_size=8).digest()
    return np.random.Generator(np.random.PCG64([seed & 0xFFFFFFFF, seed >> 32, int.from_bytes(digest, "little")]))


def nearest(word: str, valid: Iterable[str], count: int = 3) -> str:
    """``'did you mean a, b?'``, or the list of valid names where none is near; for error messages."""
    import difflib

    names = sorted(valid)
    close = difflib.get_close_matches(word, names, n=count, cutoff=0.4)
    return f"did you mean {', '.join(close)}?" if close else f"valid: {', '.join(names)}"
