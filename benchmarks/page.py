"""What experiments share: their command line, and tables in ``docs/results.md``, each between markers of its own."""

from __future__ import annotations

import argparse
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results.md"


def experiment(doc: str | None, name: str, seeds: int) -> argparse.ArgumentParser:
    """The command line of an experiment whose runs go to ``runs/NAME``: ``--out``, ``--seeds``, ``--report-only``."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / name)
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--report-only", action="store_true")
    return parser


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def put(name: str, text: str, page: Path = RESULTS) -> None:
    """Replace what stands between the markers ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->`` of a page."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = page.read_text().partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")
