"""``handeye play ID``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from episode import HandeyeError, Outcome, Split, nearest
from training.commands.options import Common, parse, require_at_least, say


@dataclass(frozen=True)
class PlayArgs(Common):
    """Options of ``handeye play``."""

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ID")]
    """The task's name, as in `handeye list`."""
    policy: str = "expert"
    """A run, checkpoint or model folder, or base, expert, random, noop."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("episode.html")
    """Where to write it; .html plays in any browser, .mp4 and .gif play anywhere."""
    seed: int = 1_000_000
    """Which episode; seeds from 1000000 on are never trained on."""
    split: Split = "heldout"
    """Pools of words, colours, looks and phrasings."""
    codec: str = ""
    """How the model writes its replies; a run knows its own, otherwise compact."""
    temperature: float | None = None
    """Of a model's replies, 0 for the likeliest; a run knows its own, otherwise 1."""


def run(argv: list[str]) -> dict[str, Any]:
    args = parse(PlayArgs, argv, "play", "Play one episode and write it as something to look at.")
    from training.evaluate import RETURN
    from training.play import check_suffix, film
    from training.players import check_policy, player
    from training.rewards import total
    from training.rollout import EpisodeSpec, run_episodes
    from training.worlds import UnknownTask, all_tasks

    require_at_least(0, temperature=args.temperature)
    check_suffix(args.out)
    check_policy(args.policy, args.codec)
    if args.task not in all_tasks():
        raise UnknownTask(f"no task {args.task!r}: {nearest(args.task, all_tasks())}")
    agent, pieces = player(args.policy, args.codec, args.temperature)
    [trajectory] = run_episodes(agent, [EpisodeSpec(args.task, args.seed, args.split)], RETURN)
    broken = trajectory.outcome is Outcome.INFRA_ERROR
    if not broken:  # else there is nothing to see
        film(trajectory, args.out, pieces)
    say(f"{args.task}: {trajectory.task.instruction or 'the one episode could not be played'}")
    turns, out = len(trajectory.decisions), "" if broken else str(args.out)
    say(" ".join(filter(None, (f"{trajectory.outcome.value} after {turns} turns:", out, trajectory.error))))
    return {
        "task": args.task,
        "instruction": trajectory.task.instruction,
        "seed": args.seed,
        "split": args.split,
        "outcome": trajectory.outcome.value,
        "success": None if broken else trajectory.success,
        "return": None if broken else total(trajectory, RETURN),
        "turns": turns,
        "out": out or None,
        "error": trajectory.error,
        "status": HandeyeError.status if broken else 0,
    }
