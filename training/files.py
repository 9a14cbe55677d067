"""Files of a run folder: written anew, never through a link that lies in their place."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO


def fresh(path: Path) -> BinaryIO:
    """A new file, open for writing; of a link in its place the link is removed, not what it leads to."""
    path.unlink(missing_ok=True)
    return path.open("xb")  # O_EXCL: nor is one followed that came in between


def write_whole(path: Path, text: str, errors: str = "strict") -> None:
    """Write a file so that it is there whole or as it was; ``errors`` as ``str.encode`` takes it."""
    aside = path.with_name(f".{path.name}.part")
    with fresh(aside) as file:
        file.write(text.encode("utf-8", errors))
    os.replace(aside, path)


def keep_lines(path: Path, step: int) -> list[dict[str, Any]]:
    """Drop the lines after ``step``, which a resumed run writes again, and a last line that was cut short.

    Returns:
        What is left of the file, a JSON object with a ``step`` a line; empty where there is none.
    """
    kept: list[dict[str, Any]] = []
    if not path.is_file():
        path.unlink(missing_ok=True)  # a link that leads nowhere yet
        return kept
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            if row["step"] <= step:
                kept.append(row)
        except (ValueError, KeyError, TypeError):
            break
    write_whole(path, "".join(json.dumps(row) + "\n" for row in kept))
    return kept
