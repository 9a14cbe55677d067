"""Runs that are killed, and runs whose disk fills up, at chosen moments; then resumed and compared bit for bit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

from tqdm import tqdm

from benchmarks.faults import moments
from benchmarks.faults.drill import Outcome, Setting, digests, model, train, words
from benchmarks.faults.moments import Moment
from episode import stream
from training import checkpoint

WRITES = {
    *(f"save: {name}, before" for name in ("save", "save_file", "write_json", "sync", "rename")),
    *(f"log: {name}, before" for name in ("fsync", "replace", "write_text", "fresh", "frame_path")),
}
"""Moments at which a full disk is met: just before something is written.

Left out: frames that are only looked for to be read, and tidying (``rmtree``), which needs no room. So each of these
must be said.
"""


def _reference(setting: Setting) -> tuple[Path, Path, list[Moment]]:
    """A model, an undisturbed run of it, and that run's moments."""
    policy, run, passed = model(setting), setting.folder / "reference", setting.folder / "moments.txt"
    done = train(words(policy, run), setting.folder / "reference.log", partial(moments.counting, passed, run))
    assert done.status == 0, done.said
    return policy, run, moments.counted(passed)


def _spread(labels: list[str], count: int, seed: int) -> list[int]:
    """Moments of every stage in turn, and of every function of a stage in turn."""
    kinds: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    draw = stream(seed, "moments")
    for index in draw.permutation(len(labels)):
        kinds[labels[index].split(":")[0]][labels[index]].append(int(index))
    queues = {
        stage: [group[i] for i in range(max(map(len, by.values()))) for group in by.values() if i < len(group)]
        for stage, by in kinds.items()
    }
    chosen = [queue[i] for i in range(len(labels)) for queue in queues.values() if i < len(queue)]
    return chosen[:count]


def _stands(run: Path, moment: Moment) -> str:
    """What is wrong with the checkpoints of a run that was stopped at a moment; nothing where they are whole.

    Measured before it goes on: from nothing it would come to the same bits.
    """
    there = checkpoint.listed(run / "checkpoints")
    if wrong := next(filter(None, (f"{p.name}: {d}" for p in there if (d := checkpoint.damage(p)))), ""):
        return wrong
    newest = there[-1].name if there else ""
    return "" if newest >= moment.stood else f"{moment.stood} stood before, then {newest or 'none'}"


def _goes_on(policy: Path, run: Path, log: Path) -> str:
    """Resume a run that was stopped; what is wrong, or nothing."""
    begun = (run / "config.json").is_file()
    done = train(["train", "--resume", str(run)] if begun else words(policy, run), log)
    return "" if done.status == 0 else f"cannot go on (status {done.status}): {done.said[-300:]}"


def killed(setting: Setting) -> Outcome:
    """``kill -9`` of the whole run's process group."""
    policy, reference, passed = _reference(setting)
    wanted, wrong, labels = digests(reference), list[str](), [m.label for m in passed]
    chosen = _spread(labels, setting.count(50), setting.seed)
    for index in tqdm(chosen, leave=False, disable=None):
        run, log = setting.folder / f"run-{index}", setting.folder / f"run-{index}.log"
        done = train(words(policy, run), log, partial(moments.at, index, moments.kill))
        trouble = f"ended with {done.status}" if done.status != -9 else _stands(run, passed[index])
        trouble = trouble or _goes_on(policy, run, log)
        if not trouble and (digests(run) != wanted or not (run / "report.html").is_file()):
            trouble = "another run"
        _keep(wrong, labels[index], trouble)
        shutil.rmtree(run, ignore_errors=True)
    stages = Counter(labels[i].split(":")[0] for i in chosen)
    told = ", ".join(f"{stage} {n}" for stage, n in stages.items())
    good = len(chosen) - len(wrong)
    return Outcome(f"{good} of {len(chosen)} bit-identical ({told})" + _told(wrong), not wrong)


SMALL = (2048, 1024, 600, 300)
"""Kilobytes of the file systems that are too small: full at a checkpoint, or as the first evaluation is written."""


def disk_full(setting: Setting) -> Outcome:
    """Writes that fail; on Linux, where it may be mounted, also a real file system that is too small."""
    policy, reference, passed = _reference(setting)
    wanted, wrong, labels = digests(reference), list[str](), [m.label for m in passed]
    before = [i for i, moment in enumerate(passed) if moment.label in WRITES and not moment.reading]
    chosen = [before[i] for i in _spread([labels[i] for i in before], setting.count(30), setting.seed)]
    for index in tqdm(chosen, leave=False, disable=None):
        run, log = setting.folder / f"run-{index}", setting.folder / f"run-{index}.log"
        done = train(words(policy, run), log, partial(moments.at, index, moments.full))
        trouble = _one_clear_error(done.status, done.said) or _stands(run, passed[index])
        trouble = trouble or _goes_on(policy, run, log)
        _keep(wrong, labels[index], trouble or ("another run" if digests(run) != wanted else ""))
        shutil.rmtree(run, ignore_errors=True)
    small = [_too_small(setting, policy, size) for size in SMALL[: setting.count(len(SMALL))]]
    wrong += [text for text in small if text]
    mounted = [text for text in small if text is not None]
    disks = f"{len(mounted)} file systems that were too small" if mounted else "none mounted here that is too small"
    told = f"{len(chosen)} failing writes, {disks}, {len(wrong)} wrong"
    return Outcome(told + _told(wrong), not wrong)


def _one_clear_error(status: int, said: str, failed: bool = True) -> str:
    """What is wrong with how a run took it: it ends with status 2 and one error, or has no report; either names why.

    Where it is not known to have ``failed`` it may also have ended well.
    """
    if "Traceback" in said:
        return "a traceback: " + said[-400:]
    named = "disk is full" in said or "No space left" in said
    if status == 0:  # the report can be written again at any time
        told = named and "no report: " in said
        return "" if told or not failed else f"ended well and said nothing of it: {said[-300:]}"
    return "" if status == 2 and said.count("error: ") == 1 and named else f"status {status}: {said[-300:]}"


def _too_small(setting: Setting, policy: Path, kilobytes: int) -> str | None:
    """A run on a tmpfs of this size; None where it cannot be mounted."""
    if sys.platform != "linux" or os.geteuid():
        return None
    place = setting.folder / f"small-{kilobytes}"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        return None
    try:
        run = place / "run"
        tracked = partial(os.environ.update, WANDB_MODE="offline")  # as by default: its files lie there too
        done = train(words(policy, run), setting.folder / f"small-{kilobytes}.log", tracked)
        if trouble := _one_clear_error(done.status, done.said, failed=False):
            return f"{kilobytes} kB: {trouble}"
        there = checkpoint.listed(run / "checkpoints")
        return next((f"{kilobytes} kB: {p.name}: {checkpoint.damage(p)}" for p in there if checkpoint.damage(p)), "")
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def _keep(wrong: list[str], label: str, trouble: str) -> None:
    """Remember what went wrong, and say how it went: a full drill takes an hour."""
    tqdm.write(f"{label}: {trouble or 'well'}")
    if trouble:
        wrong.append(f"{label}: {trouble}")


def _told(wrong: list[str]) -> str:
    return "".join(f"; {text}" for text in wrong[:3])
