"""Checkpoints that were changed on the disk: refused by name, with the good one before them, or the same to the bit."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.faults.drill import Outcome, Setting, model, train, words
from episode import stream
from training import checkpoint
from training.checkpoint import CheckpointError

WAYS = ("a byte flipped", "cut", "missing", "grown", "emptied", "another file beside it")


def damaged(setting: Setting) -> Outcome:
    """Mutations of the newest checkpoint of a real run."""
    run = setting.folder / "run"
    done = train(words(model(setting), run), setting.folder / "run.log")
    assert done.status == 0, done.said
    newest, good = checkpoint.listed(run / "checkpoints")[::-1][:2]
    files = sorted(p for p in newest.rglob("*") if p.is_file())
    draw, counts, wrong = stream(setting.seed, "damage"), Counter[str](), list[str]()
    for _ in range(setting.count(1000)):
        path, way = files[draw.integers(len(files))], WAYS[draw.integers(len(WAYS))]
        whole = path.read_bytes()
        beside = _harm(path, way, whole, draw)
        counts[_told_apart(run, newest, good, beside or path, whole, wrong)] += 1
        if beside is not None:
            beside.unlink()
        path.write_bytes(whole)
    assert checkpoint.find(run) == newest
    told = ", ".join(f"{n} {name}" for name, n in counts.most_common())
    return Outcome(f"{sum(counts.values())} mutations: {told}" + "".join(f"; {w}" for w in wrong[:3]), not wrong)


def _harm(path: Path, way: str, whole: bytes, draw: np.random.Generator) -> Path | None:
    """Harm a file; the new one beside it, where it is that."""
    match way:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(whole[: draw.integers(len(whole))])
        case "grown":
            path.write_bytes(whole + draw.bytes(1 + int(draw.integers(64))))
        case "emptied":
            path.write_bytes(b"")
        case "another file beside it":
            beside = path.with_name("adapter_config.json")
            beside.write_bytes(whole)
            return beside
        case _:
            at = int(draw.integers(len(whole)))
            path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << int(draw.integers(8)))]) + whole[at + 1 :])
    return None


def _told_apart(run: Path, newest: Path, good: Path, harmed: Path, whole: bytes, wrong: list[str]) -> str:
    name = str(harmed.relative_to(newest))
    try:
        checkpoint.find(run)
    except CheckpointError as error:
        # A marker with a wrong name or digest in it accuses the file that it speaks of.
        named = name in str(error) or harmed.name == checkpoint.MARKER
        if named and str(good) in str(error):
            return "refused"
        wrong.append(f"{name}: {error}")
        return "refused without the names"
    except Exception as error:
        wrong.append(f"{name}: {type(error).__name__}: {error}")
        return "crashed"
    if harmed.name == checkpoint.MARKER and _same_json(harmed.read_bytes(), whole):
        return "meant the same"
    wrong.append(f"{name} was loaded")
    return "loaded"


def _same_json(one: bytes, other: bytes) -> bool:
    return bool(json.loads(one) == json.loads(other))
