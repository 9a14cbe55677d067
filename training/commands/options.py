"""What the commands share: options that all have, and how a command line becomes a dataclass."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from rich.console import Console
from rich.table import Table

from training.__main__ import UsageError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every command. ``training.__main__`` acts on them; here they are for ``--help``."""

    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write what is printed as JSON to this file."""
    imports: Annotated[tuple[str, ...], tyro.conf.arg(name="import", metavar="MODULE"), tyro.conf.UseAppendAction] = ()
    """First import a module of your own; may be given several times."""


def require_at_least(least: float, **given: float | None) -> None:
    """Complain about numbers among the options.

    Raises:
        UsageError: one is less than ``least``, or no number.
    """
    for name, value in given.items():
        if value is not None and not value >= least:
            raise UsageError(f"--{name} {value}: at least {least}")


def parse(kind: type[T], argv: list[str], command: str, description: str, **options: Any) -> T:
    """Options as ``kind``; help and complaints are tyro's, which end the process with status 0 and 2."""
    parsed: T = tyro.cli(
        kind,
        args=argv,
        prog=f"handeye {command}",
        description=description,
        config=(tyro.conf.FlagConversionOff,),
        **options,
    )
    return parsed


def say(*what: object) -> None:
    """Print for a person, on the first rank."""
    if os.environ.get("RANK", "0") == "0":
        Console(soft_wrap=True, highlight=False, markup=False).print(*what)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A plain table; no cell is read as markup."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i, name in enumerate(columns):
        made.add_column(name, style="bold" if i == 0 else "", no_wrap=i == 0)
    for row in rows:
        made.add_row(*row)
    return made


def percent(figures: dict[str, Any]) -> str:
    """``62 % (52 to 71)``, or that nothing was played."""
    if not figures["n"]:
        return "not played"
    low, high = (round(100 * v) for v in figures["interval"])
    return f"{100 * figures['success']:.0f} % ({low} to {high})"
