"""Worlds that raise, hang or kill their process while they are played: the run must become the run without all that.

And one start that can never be played: its group must be left out, counted, and taught to nobody.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.faults import faulty
from benchmarks.faults.drill import PATIENCE, Ended, Outcome, Setting, digests, model, put, train, words
from episode import Trajectory, stream
from training import loop
from training.config import PRESETS
from training.rollout import ATTEMPTS
from training.samples import samples_of

TASKS = ("gui/faulty-short-click-v0", "sims/faulty-short-reach-v0")
GROUPS, SIZE = 10, 2
MANY = 40
"""Faults that are due, from which on none may be missing."""
LIMIT = 20
"""Seconds after which a world counts as hung: far more than a turn needs, also on a busy machine."""
TURN = 8.0
"""Seconds that an episode of the default run may take, on a busy machine too, before the run counts as hung."""


def infra(setting: Setting) -> Outcome:
    """A run in two worlds that are soon over, of a hundred episodes at least; then a short one with a lost group."""
    steps = max(5, setting.count(50))
    more = f"--tasks {','.join(TASKS)} --groups {GROUPS} --group-size {SIZE}"
    # Nothing is kept on the way: it is the end that is compared.
    rarely = f"--save-every {steps} --episodes-every {steps}"
    policy = model(setting)

    def line(run: Path) -> list[str]:
        return words(policy, run, *more.split(), *rarely.split(), steps=steps)

    played = _compared(setting, line, steps * GROUPS * SIZE, SIZE, PATIENCE + steps * GROUPS * SIZE)
    lost = _lost(setting, policy)
    return Outcome(f"{played.measured}; {lost.measured}", played.passed and lost.passed)


def _lost(setting: Setting, policy: Path) -> Outcome:
    """A run in which one start, drawn by the seed, fails at every attempt."""
    steps, groups = 2, 3
    run, log, learned = (setting.folder / name for name in ("lost", "lost.jsonl", "learned.jsonl"))
    doomed = int(stream(setting.seed, "doomed").integers(steps * groups))
    more = f"--tasks {','.join(TASKS)} --groups {groups} --group-size {SIZE}"

    def prepare() -> None:
        os.environ.update({faulty.LOG: str(log), faulty.DOOMED: str(doomed), faulty.MEMBERS: str(SIZE)})
        put(loop, "samples_of", partial(_told, learned))

    told = ["--import", "benchmarks.faults.faulty"]
    done = train([*words(policy, run, *more.split(), steps=steps), *told], run.with_suffix(".log"), prepare)
    if done.status not in (0, 3):
        return Outcome(f"one start lost for good: status {done.status}: {done.said[-300:]}", False)
    entries, lines = faulty.read(log), _lines(run)
    struck = [name for kind, *name in entries if kind in faulty.SHARES]
    starts, taught = faulty.starts_of(entries), [json.loads(row) for row in learned.read_text().splitlines()]
    summary, wrong = json.loads((run / "summary.json").read_text()), []
    if len(struck) < ATTEMPTS or any(name != starts[doomed] for name in struck):
        wrong.append(f"struck: {struck}")
    dropped = [int(sum(line[name] for line in lines)) for name in ("infra/dropped", "groups/broken")]
    if dropped != [SIZE, 1] or summary["infra"]["dropped"] != SIZE:
        wrong.append(f"{dropped[0]} episodes of {dropped[1]} groups were dropped: {summary['infra']}")
    if lines[-1]["episodes"] != (steps * groups - 1) * SIZE:
        wrong.append(f"{lines[-1]['episodes']} episodes were counted")
    if starts[doomed] in taught or len(taught) != (steps * groups - 1) * SIZE:
        wrong.append("another batch was learned from than all but the lost group")
    measured = f"a start that failed {len(struck)} times: {dropped[0]} episodes dropped and counted, never scored"
    return Outcome(measured + "".join(f"; {text}" for text in wrong), not wrong)


def _told(file: Path, episodes: list[Trajectory], *args: Any) -> Any:
    """What the loop learns from, written down before it does."""
    with file.open("a") as rows:
        for t in episodes:
            print(json.dumps([t.task.id, t.task.split, t.task.seed]), file=rows)
    return samples_of(episodes, *args)


def infra_default(setting: Setting) -> Outcome:
    """The default run, evaluations included, with the base and on all ranks, in twins of its worlds."""
    config = PRESETS["default"]
    steps, evaluated = max(1, setting.count(config.steps)), max(1, setting.count(config.eval_episodes))
    planned = steps * config.groups * config.group_size
    everything = planned + 2 * evaluated * len(config.tasks.split(","))

    def line(run: Path) -> list[str]:
        size = ["--steps", str(steps), "--eval-episodes", str(evaluated)]
        return ["train", "faulty", *size, "--seed", str(setting.seed), "--out", str(run)]

    return _compared(setting, line, planned, config.group_size, PATIENCE + TURN * everything)


def _compared(setting: Setting, line: Callable[[Path], list[str]], planned: int, size: int, patience: float) -> Outcome:
    """A run without faults and one with them.

    Bit-identical weights and metrics, and the same success before and after, mean that no failure was scored; that
    every episode was counted once is counted besides.
    """
    calm, struck, log = (setting.folder / name for name in ("calm", "struck", "faults.jsonl"))
    keys = {faulty.LOG: str(log), faulty.SEED: str(setting.seed), faulty.MEMBERS: str(size)}
    ended = [_run(line(run), run, told, patience) for run, told in ((calm, {}), (struck, keys))]
    # 3: it learned nothing, which is not the question here.
    if any(done.status not in (0, 3) for done in ended):
        return Outcome("; ".join(f"status {done.status}: {done.said[-300:]}" for done in ended), False)
    entries = faulty.read(log)
    faults = [entry for entry in entries if entry[0] in faulty.SHARES]
    lines, wanted = _lines(struck), _lines(calm)
    summary = json.loads((struck / "summary.json").read_text())
    infrastructure, training = summary["infra"], sum(when == "train" for _, _, when, _ in faults)
    wrong = []
    if lines[-1]["episodes"] != planned or infrastructure["dropped"] or infrastructure["unevaluated"]:
        wrong.append(f"{lines[-1]['episodes']} of {planned} episodes were scored: {infrastructure}")
    if infrastructure["retried"] != training:
        wrong.append(f"{infrastructure['retried']} episodes were played again, {training} faults struck")
    if [_figures(row) for row in lines] != [_figures(row) for row in wanted] or _weights(struck) != _weights(calm):
        wrong.append("another run than without faults")
    if summary["tasks"] != json.loads((calm / "summary.json").read_text())["tasks"]:
        wrong.append("another evaluation than without faults")
    kinds = Counter(kind for kind, *_ in entries)
    begun = kinds["begun"]
    for kind, asked in faulty.SHARES.items():
        due = asked * begun
        # Each is drawn for itself: of few, fewer may be.
        if kinds[kind] < (due if due > MANY else due - 3 * due**0.5):
            wrong.append(f"{kinds[kind]} × {kind} instead of about {due:.0f}")
    struck_of = ", ".join(f"{kinds[kind]} × {kind} ({kinds[kind] / begun:.2%})" for kind in faulty.SHARES)
    share = f"{struck_of} of {begun:,} episodes begun"
    told = f"{share}; {planned:,} of {planned:,} episodes scored once" if not wrong else share
    return Outcome(told + "".join(f"; {text}" for text in wrong), not wrong)


def _run(line: list[str], run: Path, told: dict[str, str], patience: float) -> Ended:
    more = ["--import", "benchmarks.faults.faulty", "--world-timeout", str(LIMIT)]
    return train([*line, *more], run.with_suffix(".log"), lambda: os.environ.update(told), patience)


def _lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def _figures(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != "infra/retried"}


def _weights(run: Path) -> dict[str, str]:
    return {name: digest for name, digest in digests(run).items() if name != "metrics.jsonl"}
