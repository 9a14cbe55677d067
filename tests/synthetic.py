"""Episodes and a run folder that never happened, to try films and reports on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from episode import (
    Body,
    ControlStep,
    Decision,
    Frame,
    Generation,
    Outcome,
    ScreenKind,
    SubGoal,
    Task,
    Trajectory,
    chunk_of,
    environment_terms,
    frame_key,
    screen_action,
)

BODY = Body(low=(-0.2, -0.2, 0.0), high=(0.2, 0.2, 0.3))
SAYS = {"click": "click<loc_4><loc_9>", "type": 'type"ada"', "scroll": "scroll<loc_16><loc_20><a3>", "drag": "drag"}


def screen_frame(step: int, size: tuple[int, int] = (128, 128)) -> Frame:
    image = Image.new("RGB", size, "#e9edf4")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, size[0], 14), fill="#3b4a66")
    draw.text((5, 2), "Sign in", "#ffffff")
    for i, label in enumerate(("name", "word", "Enter")):
        y = 30 + 26 * i
        draw.rounded_rectangle((14, y, 100, y + 18), 4, fill="#ffffff" if step <= i else "#cfe8d8", outline="#8c97ab")
        draw.text((20, y + 3), label if step <= i else label.upper(), "#1b2333")
    return np.asarray(image)


def camera_frame(step: int, camera: str) -> Frame:
    image = Image.new("RGB", (96, 96), "#7c8a99" if camera == "top" else "#8fa0b2")
    draw = ImageDraw.Draw(image)
    draw.rectangle((8, 20 if camera == "top" else 55, 88, 90), fill="#b5916a")
    draw.rectangle((60, 60, 72, 72), fill="#d33c3c")
    draw.ellipse((20 + 8 * step, 30 + 6 * step, 30 + 8 * step, 40 + 6 * step), fill="#30343b")
    return np.asarray(image)


def _generation(text: str, frames: tuple[str, ...], rng: np.random.Generator) -> Generation:
    count = max(3, len(text) // 5)
    return Generation(
        prompt_ids=np.arange(9, dtype=np.int32),
        reply_ids=np.arange(count, dtype=np.int32),
        images=frames,
        text=text,
        logps=-rng.random(count).astype(np.float32),
        mask=np.arange(count) != 1,
    )


def screen_episode(success: bool = True, seed: int = 7, instruction: str = "", thought: str = "") -> Trajectory:
    """Four decisions of a login form, one of them no action."""
    rng = np.random.default_rng(seed)
    names = ("name_filled", "word_filled", "submitted")
    task = Task(
        "gui/login-form-v0",
        instruction or 'Type "ada" as the name, "x9k2" as the word, then press "Enter".',
        tuple(SubGoal(n) for n in names),
        seed,
        "heldout",
    )
    plan: list[tuple[ScreenKind, dict[str, Any]]] = [
        ("click", {"x": 40, "y": 38}),
        ("type", {"text": "ada"}),
        ("scroll", {"x": 64, "y": 80, "scroll": 3}),
        ("drag", {"x": 20, "y": 90, "x2": 90, "y2": 50}),
    ]
    trajectory = Trajectory(task, Outcome.SUCCESS if success else Outcome.TRUNCATED, [], {}, episode=seed)
    held, before = 0, 0.0
    for i, (kind, arguments) in enumerate(plan):
        frame = screen_frame(held)
        key = frame_key(frame)
        trajectory.frames[key] = frame
        valid = i != 2
        held += valid and (success or i == 0)
        after = held / 3
        last = success and i == len(plan) - 1
        terms = environment_terms(before, after, last)
        action = screen_action(kind, **arguments) if valid else screen_action("noop")
        before = after
        generation = _generation(SAYS[kind], (key,), rng)
        trajectory.decisions.append(
            Decision(
                frames={"screen": key},
                generations=[generation],
                action=SAYS[kind],
                thought=thought or f"I see the form; step {i + 1}.",
                valid=valid,
                error="" if valid else "no closing bracket",
                steps=[ControlStep(action, terms, after, float(i + 1))],
                planned=1,
                subgoals={n: j < held for j, n in enumerate(names)},
                terms={"invalid": float(not valid), "length": 7.0},
                reward=sum(terms.values()) - 0.1 * (not valid),
                value=0.3 + 0.2 * i,
                ret=1.2 - 0.1 * i,
                advantages=rng.normal(0.2, 1, len(generation.reply_ids)).astype(np.float32),
            )
        )
    end = screen_frame(held)
    trajectory.frames[frame_key(end)] = end
    trajectory.final_frames = {"screen": frame_key(end)}
    return trajectory


def body_episode(success: bool = True, seed: int = 11) -> Trajectory:
    """Five decisions of an arm with two cameras."""
    rng = np.random.default_rng(seed)
    task = Task(
        "sims/reach-v0", 'Move the hand to the "red" marker.', (SubGoal("near"), SubGoal("touch")), seed, "heldout"
    )
    trajectory = Trajectory(task, Outcome.SUCCESS if success else Outcome.FAILURE, [], {}, episode=seed)
    before = 0.0
    for i in range(5):
        keys = {}
        for camera in BODY.cameras:
            frame = camera_frame(i, camera)
            keys[camera] = frame_key(frame)
            trajectory.frames[keys[camera]] = frame
        delta = rng.uniform(-0.12, 0.12, 3)
        after = (0.5 if i >= 2 else 0.0) + (0.5 if success and i == 4 else 0.0)
        actions = chunk_of(BODY, delta.tolist(), 1.0 if i < 3 else -1.0)
        steps = [
            ControlStep(a, {"task": 0.0, "subgoal": 0.0}, before, 0.1 * (5 * i + j)) for j, a in enumerate(actions)
        ]
        steps[-1] = ControlStep(actions[-1], environment_terms(before, after, success and i == 4), after, 0.5 * i + 0.5)
        before = after
        generation = _generation("at<loc_12><loc_20><loc_3><a-2><a5><a-9>open", tuple(keys.values()), rng)
        trajectory.decisions.append(
            Decision(
                frames=keys,
                generations=[generation],
                action="dx {:+.1f} dy {:+.1f} dz {:+.1f} cm".format(*100 * delta),
                thought="",
                valid=True,
                error="",
                steps=steps,
                planned=5,
                subgoals={"near": i >= 2, "touch": success and i == 4},
                advantages=rng.normal(0, 1, len(generation.reply_ids)).astype(np.float32),
            )
        )
    for camera in BODY.cameras:
        frame = camera_frame(5, camera)
        trajectory.frames[frame_key(frame)] = frame
        trajectory.final_frames[camera] = frame_key(frame)
    return trajectory


def write_run(run: Path, steps: int = 60, finished: bool = True) -> Path:
    """A run folder as the loop leaves it, with curves that rise."""
    from training import record

    rng = np.random.default_rng(0)
    run.mkdir(parents=True, exist_ok=True)
    config = {
        "preset": "default",
        "algorithm": "grpo",
        "seed": 3,
        "steps": steps,
        "reward": {"task": 1.0},
        "tasks": "all",
    }
    (run / "config.json").write_text(json.dumps(config))
    lines = []
    for step in range(1, steps + 1):
        share = step / steps
        noise = rng.normal(0, 0.04, 16)
        row = {
            "step": step,
            "success/gui": 0.5 + 0.35 * share + noise[0],
            "success/sims": 0.3 + 0.5 * share + noise[1],
            "success/gui/login-form-v0": 0.35 + 0.4 * share + noise[2],
            "success/sims/reach-v0": 0.25 + 0.6 * share + noise[3],
            "return": 1 + share + noise[4],
            "reward/task/gui/login-form-v0": 0.4 + 0.7 * share + noise[5],
            "reward/subgoal/gui/login-form-v0": 0.3 - 0.1 * share + noise[6],
            "entropy": 0.9 * float(np.exp(-2 * share)) + 0.05 + 0.1 * abs(noise[7]),
            "kl": 0.01 * share + 0.01 * abs(noise[8]),
            "clip": 0.05 + abs(noise[9]),
            "grad_norm": 1.2 + 4 * abs(noise[10]),
            "loss": noise[11],
            "learning_rate": 2e-4 * (1 - share),
        }
        lines.append(json.dumps(row))
    (run / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 61, "entr')
    tasks: dict[str, Any] = {}
    for i, task in enumerate(("gui/click-button-v0", "gui/login-form-v0", "sims/reach-v0", "sims/touch-color-v0")):
        b, a = 0.62 - 0.13 * i, 0.9 - 0.06 * i
        tasks[task] = {"before": {"success": b, "n": 100, "interval": [b - 0.09, b + 0.09]}}
        if finished:
            tasks[task]["after"] = {"success": a, "n": 100, "interval": [a - 0.07, min(1, a + 0.05)]}
    summary = {"tasks": tasks, "seconds": 812.3, "env_steps": 51234, "tokens": 912345, "peak_memory_mb": 1890.0}
    (run / "summary.json").write_text(json.dumps(summary))
    for moment, ok in (("before", False), ("step-000030", True), ("after", True)):
        if moment != "after" or finished:
            for k in range(2):
                record.save(screen_episode(ok, seed=1_000_000 + k), run / "episodes" / moment / f"gui-login-{k}")
                record.save(
                    body_episode(ok and k == 0, seed=1_000_000 + k), run / "episodes" / moment / f"sims-reach-{k}"
                )
    return run
