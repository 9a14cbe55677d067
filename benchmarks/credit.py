"""Does credit know which decisions were right? Advantages by algorithm, against what the expert would have done.

    python -m benchmarks.credit [--policy RUN|FOLDER|base] [--tasks T] [--groups 64] [--algorithms A ...] [--json FILE]

The policy plays groups of four from training seeds, sampled. Each of its decisions is replayed and set against the
scripted expert's in the same state. What an algorithm says of a decision is regressed on whether it was right, beside
the start, the progress and the time at which it was taken, and whether the one before it was right: all of which the
decision cannot have caused. The figure is that effect over the root mean square of all advantages: how much of what
moves the policy is about its decisions. With a figure r times as large, r² times fewer episodes tell as much.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from episode import Action, Decision, Trajectory
from policy.codecs.base import displacement
from training.algorithms import ALGORITHMS, algorithm
from training.batch import owners, progress_of
from training.config import Config, preset
from training.distributed import gather_objects, launch, share
from training.players import check_policy, player
from training.rewards import RewardWeights, score
from training.rollout import EpisodeSpec, run_episodes
from training.worlds import make, resolve

SIZE = 4
"""Episodes a group."""
SEED = 500_000
"""Of the first start: a training seed."""
NEAR = 0.02
"""Metres, along each axis, by which a motion may differ from the expert's and is still right."""
PIXELS = 6
"""Of a screen, likewise."""
TURNS = 4
"""Turns that count as one time."""
PLAIN = tuple(
    name for name, a in ALGORITHMS.items() if a.grouped and not (a.critic or a.expert or a.direct or a.judges)
)
"""Algorithms whose credit needs no other model."""

Array = NDArray[np.float64]


def effect(values: Array, right: NDArray[np.bool_], beside: Sequence[Sequence[Any]]) -> float:
    """By how much ``values`` [M] are higher where ``right`` [M], over their root mean square; 0 where all are 0.

    Least squares, with a constant for each value of each of the columns ``beside``.
    """
    size = float(np.sqrt((values**2).mean()))
    columns = [right.astype(np.float64), np.ones(len(right))]
    for labels in beside:
        index = np.unique(np.array([str(label) for label in labels]), return_inverse=True)[1]
        columns += list((index[None] == np.arange(index.max() + 1)[:, None]).astype(np.float64))
    found = np.linalg.lstsq(np.stack(columns, 1), values, rcond=1e-8)[0]
    return float(found[0]) / size if size else 0.0


def same(mine: Sequence[Action], wanted: Sequence[Action]) -> bool:
    """Whether actions do what others would: of as many motions the sum, or the same on the same place of a screen."""
    if not mine or not wanted:
        return False
    if isinstance(mine[0], dict):
        a, b = mine[0], wanted[0]
        near = np.abs(np.asarray(a["position"], int) - np.asarray(b["position"], int)).max() <= PIXELS
        scroll = np.sign(a["scroll"]).tolist() == np.sign(b["scroll"]).tolist()
        return bool(a["kind"] == b["kind"] and a["text"] == b["text"] and near and scroll)
    count = min(len(mine), len(wanted))
    far = np.abs(displacement(mine[:count]) - displacement(wanted[:count])).max()
    return bool(far < NEAR and (mine[count - 1][3] > 0) == (wanted[count - 1][3] > 0))


def judge(world: Any, seed: int, decisions: Sequence[Decision]) -> list[bool]:
    """Which of an episode's decisions the expert would have taken in the same states."""
    world.reset(seed=seed)
    judged = []
    for decision in decisions:
        actions = [step.action for step in decision.steps]
        judged.append(same(actions, world.expert().actions))
        for action in actions:
            world.advance(action)
    return judged


def told(episodes: Sequence[Trajectory], right: Sequence[bool], names: Sequence[str], config: Config) -> dict[str, Any]:
    """The effect by algorithm on one task's episodes, whose decisions are ``right`` [M] or not."""
    turns = [turn for e in episodes for turn in range(len(e.decisions))]
    beside: list[list[Any]] = [
        [episodes[i].group for i in owners(episodes)],
        [(progress, turn // TURNS) for progress, turn in zip(progress_of(episodes), turns, strict=True)],
        [turn > 0 and right[at - 1] for at, turn in enumerate(turns)],
    ]
    effects = {}
    for name in names:
        for episode in episodes:
            score(episode, RewardWeights(**config.reward), config.gamma)
        algorithm(name).credit(episodes, replace(config, algorithm=name))
        values = [0.0 if d.advantages is None else float(d.advantages[0]) for e in episodes for d in e.decisions]
        effects[name] = effect(np.array(values), np.array(right), beside)
    return {
        "effects": effects,
        "success": float(np.mean([e.success for e in episodes])),
        "right": float(np.mean(right)),
        "decisions": len(right),
    }


def measure(policy: str, task_ids: list[str], groups: int, names: Sequence[str]) -> dict[str, Any]:
    """What each rank does: every other task; figures by task."""
    config = preset("default")
    agent, _ = player(policy, temperature=config.temperature)
    mine = {}
    for number in share(len(task_ids)):
        task_id = task_ids[number]
        specs = [
            EpisodeSpec(task_id, SEED + i // SIZE, "train", episode=i, group=i // SIZE) for i in range(groups * SIZE)
        ]
        episodes = run_episodes(agent, specs, RewardWeights(**config.reward), config.batch)
        world = make(task_id)
        right = [r for s, e in zip(specs, episodes, strict=True) for r in judge(world, s.seed, e.decisions)]
        world.close()
        mine[task_id] = told(episodes, right, names, config)
    found = {task_id: figures for part in gather_objects(mine) for task_id, figures in part.items()}
    return {task_id: found[task_id] for task_id in task_ids}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.credit", description=__doc__)
    parser.add_argument("--policy", default="base")
    parser.add_argument("--tasks", default="")
    parser.add_argument("--groups", type=int, default=64)
    parser.add_argument("--algorithms", choices=PLAIN, nargs="+", default=["grpo", "gigpo", "gigpo_progress"])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    check_policy(args.policy, "")
    task_ids = resolve(args.tasks or preset("default").tasks)
    found = launch(partial(measure, args.policy, task_ids, args.groups, args.algorithms), (), 0)
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    table = Table(title=f"{args.policy}: effect of a right decision on its advantage, over the advantages' size")
    for column in ("task", "success", "right", *args.algorithms):
        table.add_column(column)
    for task_id, row in found.items():
        effects = [f"{row['effects'][name]:.2f}" for name in args.algorithms]
        table.add_row(task_id, f"{row['success']:.0%}", f"{row['right']:.0%}", *effects)
    Console().print(table)


if __name__ == "__main__":
    main()
