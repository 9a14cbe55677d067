"""``handeye pretrain``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from training.commands.options import Common, parse, say
from training.pretrain import pretrain
from training.pretrainer import PretrainConfig


@dataclass(frozen=True)
class PretrainArgs(Common):
    """Options of ``handeye pretrain``; every field of its config is one too."""

    config: Annotated[PretrainConfig, tyro.conf.arg(name="")] = field(default_factory=PretrainConfig)
    """The run."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/pretrain")
    """Where the model (OUT/model) and its curves go."""
    resume: bool = False
    """Go on with the run in OUT from its last probe."""


def run(argv: list[str]) -> dict[str, str]:
    args = parse(
        PretrainArgs, argv, "pretrain", "Make the tiny base model from nothing: teach it to see our worlds (hours)."
    )
    from training.card import write_card
    from training.distributed import default_ranks, launch
    from training.report import write_report

    ranks = min(default_ranks(), args.config.screens)
    launch(pretrain, (args.config, args.out, args.resume, args.imports), ranks)
    command = " ".join(["handeye pretrain", *argv])
    write_card(args.out, command)
    say(f"model: {args.out / 'model'}")
    say(f"curves: {write_report(args.out)}")
    return {"model": str(args.out / "model")}
