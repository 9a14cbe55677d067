"""Films of each task before and after training, as ``docs/films.md``.

    python -m benchmarks.films RUN [--seeds 24]

Both policies play the same held-out seeds. Filmed is the first seed that the base fails and the trained policy does
not, or the first one where there is none: films show what changed, tables how often.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.page import ROOT
from episode import Trajectory
from training.config import TASKS
from training.evaluate import HELD_OUT_SEED, RETURN
from training.play import film
from training.players import check_policy, player
from training.rollout import EpisodeSpec, run_episodes

MEDIA = ROOT / "docs" / "media"
PAGE = ROOT / "docs" / "films.md"


def episodes(policy: str, seeds: int) -> dict[str, list[Trajectory]]:
    """The policy's episodes of every task of the default run, by task."""
    check_policy(policy)
    agent, _ = player(policy)
    return {
        task: run_episodes(
            # Each with a number of its own: what a policy draws goes by it.
            agent,
            [EpisodeSpec(task, HELD_OUT_SEED + i, "heldout", episode=i) for i in range(seeds)],
            RETURN,
        )
        for task in TASKS
    }


def chosen(before: list[Trajectory], after: list[Trajectory]) -> int:
    """Which seed to film."""
    return next((i for i, (a, b) in enumerate(zip(before, after, strict=True)) if b.success and not a.success), 0)


def line(task: str, before: list[Trajectory], after: list[Trajectory]) -> str:
    """Write both films of a task; its row of the page."""
    which = chosen(before, after)
    cells = [f"`{task}`<br>seed {HELD_OUT_SEED + which}"]
    for side, trajectories in (("before", before), ("after", after)):
        name = f"{task.rsplit('-', 1)[0].replace('/', '-')}-{side}.gif"
        film(trajectories[which], MEDIA / name)
        cells.append(f"![{task}, {side}](media/{name})")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seeds", type=int, default=24)
    options = parser.parse_args()
    sides = [episodes(policy, options.seeds) for policy in ("base", str(options.run))]
    config = json.loads((options.run / "config.json").read_text())
    rows = "\n".join(line(task, sides[0][task], sides[1][task]) for task in TASKS)
    PAGE.write_text(f"""# Films: before and after the default run

`python -m benchmarks.films RUN`, of a run of `make train`, seed {config["seed"]}. Both policies play the same
{options.seeds} held-out seeds. Filmed is the first one that the base fails and the trained policy does not (the very
first where there is none): the films show what changed, [results.md](results.md) shows how often.

| task | the base | after reinforcement learning |
|---|---|---|
{rows}
""")


if __name__ == "__main__":
    main()
