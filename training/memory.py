"""What this process holds of the machine's memory."""

from __future__ import annotations

import ctypes
import platform
import resource
import sys


def trim() -> None:
    """Hand freed memory back: glibc keeps what tensors of ever new shapes leave behind, gigabytes after some steps."""
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def peak() -> int:
    """Bytes that were resident at most."""
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
