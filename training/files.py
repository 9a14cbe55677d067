"""Files of a run folder: written anew, never through a link that lies in their place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO


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
