"""Numbers that are none, and images that never arrive: planted in real runs, which must catch and name them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.faults.drill import TASK, Outcome, Setting, model, put, train, words
from policy.engine import Engine
from policy.families import Qwen3VLFamily
from training.rewards import TERMS
from training.update import Learner
from training.worlds import all_tasks

Trap = Callable[[], None]


@dataclass(frozen=True)
class Case:
    """A fault, and how the run must take it."""

    name: str
    trap: Trap
    says: tuple[str, ...]
    """All of these, in its output."""
    status: int
    steps: int = 2


def not_finite(setting: Setting) -> Outcome:
    """Each fault in a run of its own."""
    cases = (
        Case(
            "a world's reward",
            _reward_of_a_world,
            ("'subgoal' is nan", TASK, "no episode of step 1 could be played"),
            2,
        ),
        Case("the agent's reward", partial(_term, 1), ("step 1", "'length'", "is not finite", "dropped"), 0),
        Case("it thrice", partial(_term, 99), ("3 steps in a row", "'length'", "last good checkpoint"), 2, 4),
        Case("a log-prob", _logp, ("a log-prob of the rollout", "is not finite", "dropped"), 0),
        Case("a weight", _weight, ("step 1: the weights", ".weight are not finite", "last good checkpoint"), 2),
        Case("a frame", _frame, ("camera 'screen' gave float32", "instead of a frame"), 2),
    )
    return _run(setting, cases)


def blind(setting: Setting) -> Outcome:
    """As above, for what the policy is shown."""
    cases = (
        Case("from the start", partial(_blank, 0), ("do not change when its images do",), 2),
        Case("from the second step", partial(_blank, 1), ("no longer change when its images do",), 0),
        Case("blank screens", _one_colour, ("every frame is of a single colour",), 2),
        Case("fewer tokens", _fewer_tokens, ("image tokens, its images have",), 2),
    )
    return _run(setting, cases)


def _run(setting: Setting, cases: tuple[Case, ...]) -> Outcome:
    policy, wrong = model(setting), list[str]()
    for number, case in enumerate(cases):
        run = setting.folder / f"run-{number}"
        # Worlds in the run's own process: there the traps are laid.
        line = words(policy, run, "--eval-episodes", "0", "--world-timeout", "0", steps=case.steps)
        done = train(line, setting.folder / f"run-{number}.log", case.trap)
        # tqdm and rich may break lines anywhere.
        said = " ".join(done.said.split()) + _warnings(run)
        missing = [text for text in case.says if text not in said]
        if missing or done.status != case.status or "Traceback" in said:
            wrong.append(f"{case.name}: status {done.status}, not said: {missing}: {said[-500:]}")
    told = f"{len(cases) - len(wrong)} of {len(cases)} caught and named"
    return Outcome(told + "".join(f"; {w}" for w in wrong), not wrong)


def _warnings(run: Path) -> str:
    path = run / "summary.json"
    return " ".join(json.loads(path.read_text())["warnings"]) if path.is_file() else ""


# --- traps; each is laid in a process that is thrown away


def _reward_of_a_world() -> None:
    world = all_tasks()[TASK]
    advance = world.advance

    def broken(self: Any, action: Any) -> Any:
        reward, terminated, truncated, info = advance(self, action)
        return reward, terminated, truncated, info | {"terms": {**info["terms"], "subgoal": float("nan")}}

    put(world, "advance", broken)


def _term(steps: int) -> None:
    term = TERMS["length"]

    def broken(trajectory: Any, index: int) -> float:
        # One group a step: its number is the step's.
        return float("nan") if trajectory.group < steps else term(trajectory, index)

    TERMS["length"] = broken


def _logp() -> None:
    generation = Engine._generation

    def broken(self: Engine, *args: Any) -> Any:
        made = generation(self, *args)
        return replace(made, logps=np.full_like(made.logps, np.nan))

    put(Engine, "_generation", broken)


def _weight() -> None:
    update = Learner.update

    def broken(self: Learner, *args: Any, **keywords: Any) -> Any:
        figures = update(self, *args, **keywords)
        with torch.no_grad():
            self.vlm.head.weight[7, 3] = float("nan")
        return figures

    put(Learner, "update", broken)


def _frame() -> None:
    world = all_tasks()[TASK]
    observe = world.observe

    def broken(self: Any) -> Any:
        observation = observe(self)
        frames = {name: frame.astype(np.float32) * np.nan for name, frame in observation["frames"].items()}
        return observation | {"frames": frames}

    put(world, "observe", broken)


def _blank(step: int) -> None:
    inputs, update, done = Qwen3VLFamily.image_inputs, Learner.update, [0]

    def counted(self: Learner, *args: Any, **keywords: Any) -> Any:
        done[0] += 1
        return update(self, *args, **keywords)

    def dropped(self: Qwen3VLFamily, images: Any) -> Any:
        if done[0] >= step:
            images = [[np.zeros_like(frame) for frame in row] for row in images]
        return inputs(self, images)

    put(Learner, "update", counted)
    put(Qwen3VLFamily, "image_inputs", dropped)


def _one_colour() -> None:
    world = all_tasks()[TASK]
    observe = world.observe

    def broken(self: Any) -> Any:
        observation = observe(self)
        return observation | {"frames": {n: np.full_like(f, 7) for n, f in observation["frames"].items()}}

    put(world, "observe", broken)


def _fewer_tokens() -> None:
    tokens, asked = Qwen3VLFamily.image_tokens, iter(range(10**9))

    def broken(self: Qwen3VLFamily, frame: Any) -> int:
        # The prompt's count comes first, the check's after it.
        return tokens(self, frame) - (next(asked) == 0)

    put(Qwen3VLFamily, "image_tokens", broken)
