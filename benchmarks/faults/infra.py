"""Worlds that raise, hang or kill their process while they are played: the run must become the run without all that."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.faults import faulty
from benchmarks.faults.drill import PATIENCE, Ended, Outcome, Setting, digests, model, train, words

TASKS = ("gui/faulty-button-v0", "sims/faulty-reach-v0")
GROUPS, SIZE = 10, 2
LIMIT = 30
"""Seconds after which a world counts as hung: far more than a turn needs, also on a busy machine."""


def infra(setting: Setting) -> Outcome:
    """A run in the two worlds of ``debug``, long enough for a hundred episodes at least, and the same without faults.

    Bit-identical to it means that no failure was scored; that every episode was counted once is counted besides.
    """
    policy, log, steps = model(setting), setting.folder / "faults.jsonl", max(5, setting.count(50))
    calm, struck = setting.folder / "calm", setting.folder / "struck"
    ended = [_run(policy, calm, steps, None), _run(policy, struck, steps, log)]
    if any(done.status for done in ended):
        failed = [f"status {done.status}: {done.said[-300:]}" for done in ended if done.status]
        return Outcome("; ".join(failed), False)
    faults = [line for line in faulty.read(log) if line[0] != "begun"]
    lines, wanted = _lines(struck), _lines(calm)
    planned = steps * GROUPS * SIZE
    summary = json.loads((struck / "summary.json").read_text())["infra"]
    training = sum(split == "train" for _, _, split, _ in faults)
    wrong = []
    if lines[-1]["episodes"] != planned or summary["dropped"] or summary["unevaluated"]:
        wrong.append(f"{lines[-1]['episodes']} of {planned} episodes were scored: {summary}")
    if summary["retried"] != training:
        wrong.append(f"{summary['retried']} episodes were played again, {training} faults struck")
    if [_figures(line) for line in lines] != [_figures(line) for line in wanted] or _weights(struck) != _weights(calm):
        wrong.append("another run than without faults")
    kinds = Counter(kind for kind, *_ in faults)
    share = ", ".join(f"{kinds[kind]} × {kind}" for kind in dict.fromkeys(faulty.KINDS))
    told = f"{share}; {planned} of {planned} episodes scored once" if not wrong else share
    return Outcome(told + "".join(f"; {text}" for text in wrong), not wrong and len(kinds) == len(set(faulty.KINDS)))


def _run(policy: Path, run: Path, steps: int, log: Path | None) -> Ended:
    # Nothing is kept on the way: it is the end that is compared.
    more = f"--tasks {','.join(TASKS)} --import benchmarks.faults.faulty --groups {GROUPS} --group-size {SIZE}"
    rarely = f"--world-timeout {LIMIT} --save-every {steps} --episodes-every {steps}"
    line = words(policy, run, *more.split(), *rarely.split(), steps=steps)
    hangs = steps * GROUPS * SIZE // faulty.HUNDRED + 1
    patience = PATIENCE + steps * GROUPS * SIZE + LIMIT * hangs
    return train(
        line, run.with_suffix(".log"), lambda: os.environ.update({faulty.LOG: str(log)} if log else {}), patience
    )


def _lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _figures(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != "infra/retried"}


def _weights(run: Path) -> dict[str, str]:
    return {name: digest for name, digest in digests(run).items() if name != "metrics.jsonl"}
