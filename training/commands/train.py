"""``handeye train [PRESET]``."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from training.__main__ import UsageError, complain, first_rank
from training.commands.options import Common, parse, percent, say, table
from training.config import Config, preset
from training.rewards import RewardWeights


@dataclass(frozen=True)
class TrainArgs(Common):
    """Options of ``handeye train``; every field of the config is one too."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    """The run; defaults are the preset's."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The run folder; runs/PRESET-DATE by default."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Go on with this run folder or checkpoint, bit for bit; its own config is then the default."""


DESCRIPTION = """Train one policy on the tasks of both worlds and write a run folder: curves, checkpoints, episodes, \
summary.json and report.html. PRESET is the first word, `default` where there is none (see `handeye list`). \
Ctrl-C saves and ends; --resume goes on. Exit status: 0 done, 2 an error that the text explains, 3 the run \
learned nothing (summary.json says why), 130 stopped at once."""

VERDICTS = {True: "learned", False: "learned nothing", None: "whether it learned cannot be told"}


def run(argv: list[str]) -> dict[str, Any]:
    named = bool(argv) and not argv[0].startswith("-")
    resume = _resumed(argv)
    if resume:
        if named:
            raise UsageError(f"a resumed run keeps its preset: leave out {argv[0]!r}, or start anew without --resume")
        from training.loop import resumed

        default, folder = resumed(resume)
        if default.imports:  # code that a file names: whoever got the run from somewhere else should know
            say(f"imports {', '.join(default.imports)}, as {folder} did")
    else:
        default, folder = preset(argv[0] if named else "default"), None
    default = _with_terms(default, argv)
    args = parse(
        TrainArgs, argv[1:] if named else argv, "train [PRESET]", DESCRIPTION, default=TrainArgs(config=default)
    )
    config = replace(
        args.config, imports=(*args.config.imports, *(m for m in args.imports if m not in args.config.imports))
    )
    if folder and args.out and args.out.resolve() != folder.resolve():
        raise UsageError(f"a resumed run goes on in its own folder {folder}: leave out --out {args.out}")
    if not (folder or args.out) and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("processes that torchrun started have to agree on a run folder: give --out DIR")
    out = folder or args.out or Path("runs") / f"{config.preset}-{time.strftime('%Y%m%d-%H%M%S')}"
    return _train(config, out, args.resume)


def _resumed(argv: list[str]) -> Path | None:
    """The folder given to ``--resume``: wanted before the options are read, as it decides their defaults."""
    for i, word in enumerate(argv):
        if word == "--resume" and i + 1 < len(argv):
            return Path(argv[i + 1])
        if word.startswith("--resume="):
            return Path(word.split("=", 1)[1])
    return None


def _with_terms(default: Config, argv: list[str]) -> Config:
    """Room for reward terms that the preset does not weigh: ``--reward.NAME`` is an option for those it has alone."""
    named = (word.removeprefix("--reward.").split("=")[0] for word in argv if word.startswith("--reward."))
    new = {name: 0.0 for name in named if name not in default.reward}
    RewardWeights(**new)  # complains about what is no term
    return replace(default, reward={**default.reward, **new})


def _check(config: Config, out: Path) -> None:
    """Complain about names before there is a run folder with nothing in it, and about one with another run in it."""
    from training.algorithms import require_fit
    from training.players import check_policy
    from training.start import require_empty
    from training.worlds import resolve

    if first_rank():  # another may look when the first has begun
        require_empty(out)
    resolve(config.tasks)
    require_fit(config)
    check_policy(config.policy, config.codec)
    RewardWeights(**config.reward)


def _train(config: Config, out: Path, resume: Path | None) -> dict[str, Any]:
    from training.loop import train
    from training.report import ReportError, write_report

    if resume is None:
        _check(config, out)
    say(f"run folder: {out}")
    try:
        summary = train(config, out, resume)
    finally:
        # However it ended, what there is can be looked at.
        if first_rank() and (out / "metrics.jsonl").is_file():
            try:
                say(f"report: {write_report(out)}")
            except ReportError as error:  # must not hide what ended the run
                say(f"no report: {error}")
    rows = [
        [task, *(percent(moments[when]) if when in moments else "" for when in ("before", "after"))]
        for task, moments in summary["tasks"].items()
    ]
    say(table("success on held-out seeds", ["task", "before", "after"], rows))
    minutes, seconds = divmod(round(summary["seconds"]), 60)
    say(f"{minutes} min {seconds} s, {summary['env_steps']:,} environment steps, {summary['tokens']:,} tokens")
    (complain if summary["learned"] is False else say)(f"{VERDICTS[summary['learned']]}: {summary['verdict']}")
    return summary
