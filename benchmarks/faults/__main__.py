"""``make faults``: faults are planted in real runs, worlds and files, and what comes of them is held against a table.

    python -m benchmarks.faults --only killed --scale 0.2 --seed 1

Every drill draws from ``--seed`` alone and can be repeated. ``--scale 1`` is the full figure (hours).
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.faults.drill import Drill, Setting, quiet_environment

DRILLS: dict[str, tuple[str, str]] = {
    "infra": (
        "benchmarks.faults.infra",
        "of 100 episodes 10 raise, 1 hangs, 1 kills its worker: the same run as without; a lost group is never scored",
    ),
    "infra_default": ("benchmarks.faults.infra", "the same over the default run, from the base, on all its ranks"),
    "killed": ("benchmarks.faults.stops", "kill -9 at 50 moments, then resumed: bit-identical metrics and weights"),
    "disk_full": ("benchmarks.faults.stops", "30 writes fail, 4 small disks: the checkpoint before stands, one error"),
    "damaged": ("benchmarks.faults.damage", "1,000 mutated checkpoints: all refused by name, the good one offered"),
    "fuzzed": ("benchmarks.faults.texts", "1,000,000 texts a codec: no exception; 100,000 actions come back as said"),
    "random_actions": (
        "benchmarks.faults.worlds",
        "100,000 valid actions on every world: finite, bounded, < 5 % memory",
    ),
    "soak": ("benchmarks.faults.soak", "two hours of steps: memory and handles flat, no slower at the end (5 %)"),
    "not_finite": ("benchmarks.faults.numbers", "NaN in rewards, a log-prob, a weight, a frame: caught there, named"),
    "blind": ("benchmarks.faults.numbers", "images dropped at the start and later: caught at the start, by the metric"),
    "hostile": ("benchmarks.faults.hostile", "hostile texts and names: text in report and films, no path leaves"),
    "secrets": ("benchmarks.faults.hostile", "secrets of the environment: in no file and no output of a run"),
}
"""Name: (module with a function of that name, what is asked)."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--only", choices=[*DRILLS], nargs="+", default=[*DRILLS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is the full figure")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/faults.json"))
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in args.only:
        module, asked = DRILLS[name]
        drill: Drill = getattr(importlib.import_module(module), name)
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="handeye-faults-") as folder, quiet_environment():
            outcome = drill(Setting(Path(folder), args.seed, args.scale))
        row = {"name": name, "asked": asked, "measured": outcome.measured, "passed": outcome.passed}
        rows.append(row | {"seed": args.seed, "scale": args.scale, "seconds": round(time.monotonic() - start, 1)})
        print(f"{name}: {'pass' if outcome.passed else 'FAIL'}: {outcome.measured}", flush=True)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    table = Table(title=f"faults, seed {args.seed}, scale {args.scale:g}")
    for column in ("drill", "asked", "measured", ""):
        table.add_column(column)
    for row in rows:
        table.add_row(row["name"], row["asked"], row["measured"], "pass" if row["passed"] else "FAIL")
    Console().print(table)
    sys.exit(0 if all(row["passed"] for row in rows) else 1)


if __name__ == "__main__":
    main()
