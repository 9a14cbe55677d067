"""A long run of small steps: what it holds and what a step costs, at its end as at its start."""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import fmean, median
from typing import Any

import psutil

from benchmarks.faults.drill import PATIENCE, Outcome, Setting, model, put, train, words
from training.distributed import StopRequest
from training.run import Run

MINUTES = 120.0
SLACK = 0.05


def soak(setting: Setting) -> Outcome:
    """As many steps as the minutes allow; the second quarter is the start, as the first warms up."""
    samples = setting.folder / "samples.jsonl"
    seconds = MINUTES * 60 * setting.scale
    rarely = ["--eval-episodes", "0", "--save-every", "10", "--episodes-every", "1000000"]
    line = words(model(setting), setting.folder / "run", *rarely, steps=10**6)
    done = train(line, setting.folder / "run.log", lambda: _watch(samples, seconds), seconds + PATIENCE)
    rows = [json.loads(row) for row in samples.read_text().splitlines()]
    quarter = len(rows) // 4
    if done.status != 2 or "stopped after step" not in done.said or quarter < 2:
        return Outcome(f"{len(rows)} steps, ended with {done.status}: {done.said[-300:]}", False)
    start, end = rows[quarter : 2 * quarter], rows[-quarter:]
    memory, cost = (_ratio(start, end, name) for name in ("memory", "cpu"))
    handles = [round(fmean(row["handles"] for row in part), 1) for part in (start, end)]
    told = f"{len(rows)} steps: memory × {memory:.3f}, handles {handles[0]} → {handles[1]}, CPU a step × {cost:.3f}"
    return Outcome(told, memory < 1 + SLACK and handles[1] <= handles[0] and cost < 1 + SLACK)


def _ratio(start: list[dict[str, float]], end: list[dict[str, float]], name: str) -> float:
    return median(row[name] for row in end) / median(row[name] for row in start)


def held(process: psutil.Process) -> dict[str, float]:
    """Memory in bytes and open file handles of a run with its worlds, which live in a process of their own."""
    everyone = [process, *process.children(recursive=True)]
    return {"memory": sum(p.memory_info().rss for p in everyone), "handles": sum(p.num_fds() for p in everyone)}


def _watch(samples: Path, seconds: float) -> None:
    """In the run: a line after each step, of it and its worlds, and a request to stop when the time is over."""
    process, log, deadline = psutil.Process(), Run.log, time.monotonic() + seconds
    last = [0.0]
    file = samples.open("w", buffering=1)

    def logged(run: Run, *args: Any) -> None:
        log(run, *args)
        now = float(run._cpu_now()[0])
        row = {**held(process), "cpu": now - last[0]}
        last[0] = now
        print(json.dumps(row), file=file)

    put(Run, "log", logged)
    put(StopRequest, "requested", property(lambda self: time.monotonic() > deadline))
