"""``handeye report RUN``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from training.commands.options import Common, parse, say
from training.report import write_report


@dataclass(frozen=True)
class ReportArgs(Common):
    """Options of ``handeye report``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run folder; the run may still be going on."""


def run(argv: list[str]) -> dict[str, str]:
    args = parse(ReportArgs, argv, "report", "Write report.html again, from the run folder alone.")
    path = write_report(args.run)
    say(f"report: {path}")
    return {"report": str(path)}
