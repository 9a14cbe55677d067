"""An episode as a person is to see it: one slide a decision, and what is drawn on its frames.

The page, the video and the GIF all show these slides, so that they cannot tell different stories. Nothing here draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from episode import SCREEN_KINDS, Decision, Generation, Trajectory

Pieces = Callable[[Sequence[int]], list[str]]
"""Token ids to the text of each; a tokenizer that a page can do without."""

Shape = Literal["click", "double", "right", "drag", "scroll", "text", "move"]


@dataclass(frozen=True, slots=True)
class Mark:
    """An action as drawn on a frame. Pixels of the frame; ``x2, y2`` end a drag or motion, or point a scroll's way."""

    shape: Shape
    x: float = 0
    y: float = 0
    x2: float = 0
    y2: float = 0
    label: str = ""
    """What is typed or pressed, or how far is scrolled; stands beside the frame where the action has no place."""
    camera: str = "screen"


@dataclass(frozen=True, slots=True)
class Motion:
    """What a decision moved: the displacement (metres, world frame) over its executed steps, and the last grip."""

    x: float
    y: float
    z: float
    grip: float


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a reply. ``advantage`` and ``logp`` are None where the record has none."""

    text: str
    advantage: float | None
    logp: float | None
    sampled: bool


@dataclass(frozen=True, slots=True)
class Slide:
    """One decision: what was seen, said and done, and what came of it (``subgoals``, ``progress``: held after it)."""

    frames: dict[str, str]
    marks: tuple[Mark, ...]
    motion: Motion | None
    action: str
    thought: str
    valid: bool
    error: str
    executed: int
    planned: int
    terms: dict[str, float]
    """The world's raw reward terms, summed over the steps."""
    agent_terms: dict[str, float]
    """The agent's raw terms (``format``, ``length``, ``invalid``); their weights, not their signs, say what is good."""
    reward: float | None
    value: float | None
    ret: float | None
    progress: float
    time: float
    subgoals: dict[str, bool]
    reply: str
    prompt: str
    tokens: tuple[Token, ...]


def slides(trajectory: Trajectory, pieces: Pieces | None = None) -> list[Slide]:
    """Slides of the decisions of ``trajectory``; ``pieces`` spells single tokens out where a tokenizer is at hand."""
    shown: list[Slide] = []
    progress, time = 0.0, 0.0
    for decision in trajectory.decisions:
        if decision.steps:
            progress, time = decision.steps[-1].progress, decision.steps[-1].time
        bodily = bool(decision.steps) and not isinstance(decision.steps[0].action, dict)
        motion = _motion(decision) if bodily and decision.valid else None
        shown.append(
            Slide(
                frames=decision.frames,
                marks=_marks(trajectory, decision, motion),
                motion=motion,
                action=decision.action,
                thought=decision.thought,
                valid=decision.valid,
                error=decision.error,
                executed=len(decision.steps),
                planned=decision.planned,
                terms=world_terms(decision),
                agent_terms=dict(decision.terms),
                reward=decision.reward,
                value=decision.value,
                ret=decision.ret,
                progress=progress,
                time=time,
                subgoals={name: bool(held) for name, held in decision.subgoals.items()},
                reply="\n".join(g.text for g in decision.generations),
                prompt="\n".join(_prompt(g, pieces) for g in decision.generations) if pieces else "",
                tokens=_tokens(decision, pieces),
            )
        )
    return shown


def world_terms(decision: Decision) -> dict[str, float]:
    """The world's raw reward terms of a decision by name, summed over its steps."""
    total: dict[str, float] = {}
    for step in decision.steps:
        for name, amount in step.terms.items():
            total[name] = total.get(name, 0.0) + amount
    return total


def _marks(trajectory: Trajectory, decision: Decision, motion: Motion | None) -> tuple[Mark, ...]:
    if not decision.valid:
        return ()
    if motion is None:
        return tuple(_mark(step.action) for step in decision.steps)
    if not trajectory.task.id.startswith("sims/") or decision.privileged is None:
        return ()  # somebody else's body: we know neither its cameras nor where its hand is
    shapes = {camera: trajectory.frames[key].shape for camera, key in decision.frames.items()}
    return tuple(arrows(decision.privileged[:3].astype(np.float64), motion, shapes))


def arrows(tip: NDArray[np.float64], motion: Motion, shapes: Mapping[str, Sequence[int]]) -> Iterator[Mark]:
    """A motion of the arm from ``tip`` [3] (metres) as it lies on frames of ``shapes`` [H, W, ...] of fixed cameras.

    Left out: an episode's mounting errors of its cameras (5 mm and a degree, which is about a pixel).
    """
    from sims.scene import DISTANCE, HALF_VIEW, MOUNTS  # loads the physics library: only where there is an arm

    ends = np.stack([tip, tip + np.array([motion.x, motion.y, motion.z])])
    for camera, mount in MOUNTS.items():
        if camera not in shapes:
            continue
        height, width = shapes[camera][:2]
        sin, cos = math.sin(mount.elevation), math.cos(mount.elevation)
        axes = np.array([[1.0, 0.0, 0.0], [0.0, sin, cos], [0.0, -cos, sin]])  # right, up and towards the camera
        right, up, near = ((ends - mount.target) @ axes.T).T
        scale = height / 2 / HALF_VIEW * DISTANCE / (DISTANCE - near)
        u, v = width / 2 + scale * right, height / 2 - scale * up
        x, x2, y, y2 = (round(float(value), 1) for value in (*u, *v))
        yield Mark("move", x, y, x2, y2, camera=camera)


def _mark(action: dict[str, Any]) -> Mark:
    kind = SCREEN_KINDS[int(action["kind"])]
    x, y = (int(v) for v in np.asarray(action["position"]))
    x2, y2 = (int(v) for v in np.asarray(action["end"]))
    notches = int(np.asarray(action["scroll"]).reshape(-1)[0])
    text = str(action["text"])
    match kind:
        case "click":
            return Mark("click", x, y)
        case "double_click":
            return Mark("double", x, y)
        case "right_click":
            return Mark("right", x, y)
        case "drag":
            return Mark("drag", x, y, x2, y2)
        case "scroll":
            return Mark("scroll", x, y, x, y + (1 if notches > 0 else -1), f"scroll {notches:+d}")
        case "type":
            return Mark("text", label=f'type "{text}"')
        case "key":
            return Mark("text", label=f"press {text}")
        case _:
            return Mark("text", label=kind)


def _motion(decision: Decision) -> Motion:
    actions = np.asarray([s.action for s in decision.steps], np.float64)
    x, y, z = actions[:, :3].sum(0).tolist()
    return Motion(x, y, z, float(actions[-1, 3]))


def _tokens(decision: Decision, pieces: Pieces | None) -> tuple[Token, ...]:
    tokens: list[Token] = []
    for generation in decision.generations:
        ids = generation.reply_ids.tolist()
        texts = pieces(ids) if pieces else [f"#{i}" for i in ids]
        start = len(tokens)
        for i, text in enumerate(texts):
            advantage = None if decision.advantages is None else float(decision.advantages[start + i])
            logp = None if generation.logps is None else float(generation.logps[i])
            tokens.append(Token(text, advantage, logp, generation.mask is None or bool(generation.mask[i])))
    return tuple(tokens)


def _prompt(generation: Generation, pieces: Pieces | None) -> str:
    """The prompt as the model read it, with each run of equal tokens (an image's placeholders) written once."""
    if pieces is None:
        return ""
    out: list[str] = []
    previous, count = "", 0
    for text in [*pieces(generation.prompt_ids.tolist()), ""]:
        if text == previous and text.startswith("<|"):
            count += 1
            continue
        if count:
            out.append(f"×{count + 1}")
        out.append(text)
        previous, count = text, 0
    return "".join(out)


def cameras(trajectory: Trajectory) -> list[str]:
    """Names of the cameras of an episode, in the order in which it was seen."""
    names: dict[str, None] = {}
    for decision in trajectory.decisions:
        names.update(dict.fromkeys(decision.frames))
    names.update(dict.fromkeys(trajectory.final_frames))
    return list(names)
