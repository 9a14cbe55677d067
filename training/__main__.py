"""``handeye`` on the command line; ``python -m training`` is the same.

Each command is a module of ``training.commands`` that is imported only when it is asked for, so that ``--help`` answers
at once. What a command returns is what ``--json`` writes.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from episode import HandeyeError, nearest

COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("training.commands.catalogue", "tasks, presets, algorithms, codecs and models, a line each"),
    "train": ("training.commands.train", "train a policy by reinforcement learning; makes a run folder"),
    "eval": ("training.commands.evaluate", "success of a policy, task by task, with intervals"),
    "play": ("training.commands.play", "one episode as a page, a video or a GIF"),
    "report": ("training.commands.report", "write a run's report.html again, from its folder alone"),
    "pretrain": ("training.commands.pretrain", "make the tiny base model: teach it to see"),
}
"""Name: (module with a ``run(argv)``, one line for --help)."""

USAGE = """usage: handeye COMMAND [options]

One vision-language policy for screens and robot arms, trained by reinforcement learning in simulation.

{commands}

handeye COMMAND --help        all options of a command
--json FILE                   with any command: also write what it printed as JSON
--import MODULE               with any command: first import a module of your own (tasks, presets, algorithms, codecs)

examples:
  handeye train                                         GRPO in both worlds, from the shipped base
  handeye train ppo --steps 20 --groups 64 --out runs/mine
  handeye eval --policy runs/mine --tasks gui --split heldout --episodes 100
  handeye play sims/reach-v0 --policy runs/mine --out reach.html
"""


class UsageError(HandeyeError):
    """A command line that cannot be understood."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit.

    0: done; 2: something that was foreseen (one clear line); 3: a training run ended and had learned nothing; 130:
    interrupted; else a traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        sys.exit(run(arguments))
    except HandeyeError as error:
        complain(str(error))
        sys.exit(error.status)
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(130)


def run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        print(USAGE.format(commands="\n".join(f"  {n:{width}}  {line}" for n, (_, line) in COMMANDS.items())))
        return 0
    name, *rest = argv
    if name not in COMMANDS:
        raise UsageError(f"no command {name!r}: {nearest(name, COMMANDS)}. See handeye --help")
    _import_first(rest)
    result = importlib.import_module(COMMANDS[name][0]).run(rest)
    path = _value(rest, "--json")
    if path and first_rank():
        _write_json(Path(path[-1]), result)
    return int(result.get("status", 0)) if isinstance(result, dict) else 0


def _import_first(argv: list[str]) -> None:
    """Import what ``--import`` names before the options are read: it may add what they choose from."""
    modules = _value(argv, "--import")
    if modules:
        from training.worlds import import_modules

        import_modules(modules)


def _value(argv: list[str], option: str) -> list[str]:
    """All values given to an option, ``--x v`` or ``--x=v``."""
    after = [value for word, value in pairwise(argv) if word == option]
    return after + [word.split("=", 1)[1] for word in argv if word.startswith(option + "=")]


def _write_json(path: Path, result: object) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise UsageError(f"--json {path} cannot be written: {error}") from error


def first_rank() -> bool:
    """Whether this process is the one that speaks, where torchrun started several."""
    return os.environ.get("RANK", "0") == "0"


def complain(text: str) -> None:
    """One message in red on standard error."""
    from rich.console import Console
    from rich.text import Text

    if first_rank():
        # As Text: what a model or a path says is not markup.
        Console(stderr=True, soft_wrap=True).print(Text("error: ", "bold red") + Text(text, "red"))


if __name__ == "__main__":
    main()
