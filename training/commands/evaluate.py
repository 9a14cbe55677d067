"""``handeye eval``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from episode import HandeyeError, Split
from training.commands.options import Common, parse, percent, require_at_least, say, table

FEW = 16
"""Episodes that are not worth starting more processes for."""


@dataclass(frozen=True)
class EvalArgs(Common):
    """Options of ``handeye eval``."""

    policy: str = "base"
    """A run, checkpoint or model folder, or base, expert, random, noop."""
    tasks: str = "all"
    """gui, sims, all, or task names with commas."""
    split: Split = "heldout"
    """Pools of words, colours, looks and phrasings."""
    episodes: int = 100
    """Episodes a task."""
    codec: str = ""
    """How the model writes its replies; a run knows its own, otherwise compact."""
    temperature: float | None = None
    """Of a model's replies, 0 for the likeliest; a run knows its own, otherwise 1."""
    ranks: int = 0
    """Processes, each with a copy of the model; 0 takes one a GPU, or one a core."""


def run(argv: list[str]) -> dict[str, Any]:
    args = parse(EvalArgs, argv, "eval", "Success of a policy, task by task, with 95 % Wilson intervals.")
    from training.distributed import launch
    from training.players import check_policy
    from training.worlds import resolve

    task_ids = resolve(args.tasks)
    check_policy(args.policy, args.codec)
    require_at_least(1, episodes=args.episodes)
    require_at_least(0, temperature=args.temperature, ranks=args.ranks)
    count = len(task_ids) * args.episodes
    result: dict[str, Any] = launch(evaluate_rank, (args, task_ids), 1 if count <= FEW else args.ranks)
    rows = [
        [task, percent(r), str(r["n"]), *([f"{r['return']:.2f}", f"{r['turns']:.1f}"] if r["n"] else ["", ""])]
        for task, r in result["tasks"].items()
    ]
    say(table(f"{args.policy}, {args.split}", ["task", "success (95 %)", "n", "return", "turns"], rows))
    if broken := {task: r["infra_errors"] for task, r in result["tasks"].items() if r["infra_errors"]}:
        say("left out, as the world broke: " + ", ".join(f"{n} of {task}" for task, n in broken.items()))
    unplayed = [task for task, r in result["tasks"].items() if not r["n"]]
    if unplayed:
        say(f"not one of {args.episodes} episodes could be played: {', '.join(unplayed)}")
    return result | {"status": HandeyeError.status if unplayed else 0}


def evaluate_rank(args: EvalArgs, task_ids: list[str]) -> dict[str, Any]:
    """What each rank does."""
    from training.config import Config
    from training.distributed import rank
    from training.evaluate import evaluate
    from training.players import player, seed_of
    from training.pool import open_pool
    from training.worlds import import_modules

    import_modules(args.imports)
    with (
        open_pool(Config.world_timeout, args.imports) as pool,
        tqdm(unit="episode", disable=rank() != 0, dynamic_ncols=True) as bar,
    ):
        agent, _ = player(args.policy, args.codec, args.temperature)

        def turned(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        seed = seed_of(args.policy)
        return evaluate(agent, task_ids, args.split, args.episodes, run_seed=seed, on_turn=turned, pool=pool)
