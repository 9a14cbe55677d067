"""What Weights & Biases wrote of an offline run, read back from its own files."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(path: Path) -> Iterator[Any]:
    """Records of an offline run: LevelDB's log framing (32 KiB blocks; crc, length, type), one protobuf each."""
    from wandb.proto import wandb_internal_pb2 as proto

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    at, parts = 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        if kind == 0:
            return
        chunk = data[at + 7 : at + 7 + length]
        at += 7 + length
        parts = chunk if kind in (1, 2) else parts + chunk
        if kind in (1, 4):
            record = proto.Record()  # type: ignore[attr-defined,unused-ignore]
            record.ParseFromString(parts)
            yield record


def finished(run: Path, count: int) -> list[Path]:
    """The files of ``count`` offline runs, oldest first; W&B's service closes them a moment after ``finish``."""
    for _ in range(600):  # a minute: it is another process, and the machine may be busy
        files = sorted((run / "wandb").glob("offline-run-*/*.wandb"))
        kinds = [[r.WhichOneof("record_type") for r in records(file)] for file in files]
        if len(files) == count and all("exit" in seen for seen in kinds):
            return files
        time.sleep(0.1)
    raise AssertionError(f"W&B did not close {count} runs")


def history(path: Path) -> list[dict[str, Any]]:
    return [
        {".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in r.history.item}
        for r in records(path)
        if r.WhichOneof("record_type") == "history"
    ]
