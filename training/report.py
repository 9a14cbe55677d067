"""``report.html``: one file that shows a run, made from the run folder alone, at any moment of the run.

What a folder does not hold yet is not shown; a last line that was cut short is skipped; an episode that cannot be read
is named on the page and the rest is shown.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from episode import HandeyeError
from training import files, record
from training.page import Gallery, environment, episode_data
from training.slides import Pieces

MOST_POINTS = 800
"""Points a curve; longer runs are averaged in bins of equal length."""
WORLDS = {"gui/": "GUI tasks, mean", "sims/": "Manipulation tasks, mean"}


class ReportError(HandeyeError):
    """A folder is no run."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: all metrics whose name matches ``names``."""

    names: str
    """A regular expression for the whole name."""
    title: str
    help: str = ""
    unit: Literal["", "share", "%"] = ""
    """``share`` is written in per cent; ``%`` too, on an axis from 0 to 100."""
    wide: bool = False
    more: bool = False
    """Folded away until somebody asks."""


PANELS = (
    Panel(r"success/[^/]+", "Success while training", "share of sampled episodes that end well", "%", wide=True),
    Panel(r"success/.+", "Success by task", "share of sampled episodes that end well", "%", wide=True),
    Panel(
        r"heldout/.+", "Held-out skills", "pretraining: answers forced; near lets numbers be off by one", "%", wide=True
    ),
    Panel(r"token/.+", "Answer tokens", "pretraining: share that is right, by kind", "%"),
    Panel(r"dense/(?!loss).+", "Dense perception", "pretraining: share that the vision tokens get right", "%"),
    Panel(r"return", "Return", "weighted reward of an episode"),
    Panel(r"reward/.+", "Reward terms", "raw, of a mean episode"),
    Panel(r"progress/.+", "Progress at the end", "share of the sub-goals that hold", "%"),
    Panel(r"entropy", "Entropy", "nats a token; a fall to 0 is collapse"),
    Panel(r"kl(/.+)?", "KL", "of an update; from the policy at the start"),
    Panel(r"clip", "Clipped share", "tokens whose ratio left the trust region", "share"),
    Panel(r"grad_norm", "Gradient norm", "before it is scaled down"),
    Panel(r"loss|value/loss", "Loss"),
    Panel(r"(reward_model\w*|verifier|critic)/accuracy", "Judges", "pairs ranked right before they are learned", "%"),
    Panel(r"(reward_model\w*|verifier|critic)/loss", "Judges' loss", "ln 2 knows nothing", more=True),
    Panel(r"(reward_model\w*|verifier|critic)/pairs", "Pairs", "that judges learn from in a step", more=True),
    Panel(r"return/.+", "Return by task", more=True),
    Panel(r"turns/.+", "Turns an episode", more=True),
    Panel(
        r"sees/.+",
        "Does it see?",
        "change of a log-prob with an image's negative; share of frames of one colour",
    ),
    Panel(r"valid", "Valid replies", "share of replies that are an action", "share", more=True),
    Panel(r"length", "Length of replies", "tokens", more=True),
    Panel(
        r"groups/.+",
        "Groups",
        "share with equal returns, which teach nothing; number left out for a broken world",
        more=True,
    ),
    Panel(
        r"infra/.+",
        "Broken worlds",
        "times an episode was begun again; episodes left out with their group, never scored",
        more=True,
    ),
    Panel(r"learning_rate", "Learning rate", more=True),
    Panel(r"logp_difference/.+", "Rollout against update", "difference of log-probabilities; should be rounding"),
)
"""The charts in their order; a metric belongs to the first that names it, any other gets a chart of its own."""
NOT_DRAWN = ("step", "env_steps", "tokens", "episodes", "updates", "dropped")
"""Counters: they only rise."""


def write_report(run: Path) -> Path:
    """Write ``run/report.html`` and return its path.

    Raises:
        ReportError: ``run`` is no run folder, or cannot be written to.
    """
    if not (run / "config.json").is_file() and not (run / "metrics.jsonl").is_file():
        raise ReportError(f"{run} is no run folder: neither config.json nor metrics.jsonl is in it")
    path = run / "report.html"
    try:
        page = render(run)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ReportError(
            f"a JSON file of {run} holds what no run writes there ({type(error).__name__}: {error}); mend or remove it"
        ) from error
    try:
        files.write_whole(path, page, errors="replace")  # a lone surrogate is text, too
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error}; free some space, then handeye report {run}") from error
    return path


def render(run: Path) -> str:
    config, metrics = _json(run / "config.json"), read_lines(run / "metrics.jsonl")
    summary = _json(run / "summary.json") or _so_far(run)
    rows = [_row(task, moments) for task, moments in sorted(summary.get("tasks", {}).items())]
    gallery, notices = Gallery(), [str(text) for text in summary.get("warnings", ())]
    if summary.get("learned") is False:
        notices.insert(0, f"This run learned nothing: {summary.get('verdict')}")
    episodes = _episodes(run, gallery, notices)
    data = {"charts": charts(metrics), "episodes": episodes, "frames": gallery.images}
    return (
        environment()
        .get_template("report.html")
        .render(
            title=run.resolve().name,
            state=_state(config, summary, metrics),
            facts=_facts(config, summary, metrics),
            notices=notices,
            heroes=[
                _mean(rows, prefix, name)
                for prefix, name in WORLDS.items()
                if any(r["name"].startswith(prefix) for r in rows)
            ],
            rows=rows,
            config=list(_flat(config)),
            data=data,
        )
    )


# --- what the folder says


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; a line that is no object (the last one, cut short) is skipped."""
    rows: list[dict[str, Any]] = []
    for line in path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and _number(row.get("step", 0)):
            rows.append(row)
    return rows


def _json(path: Path) -> dict[str, Any]:
    """A JSON object, or an empty one where there is none (yet)."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _so_far(run: Path) -> dict[str, Any]:
    """What ``summary.json`` will say, as far as the newest checkpoint knows."""
    for path in sorted(run.glob("checkpoints/*/state.json"), reverse=True):
        if done := _json(path).get("progress"):
            tasks = {task: {"before": figures} for task, figures in (done.get("before") or {}).items()}
            said = {"tasks": tasks, "warnings": list((done.get("warnings") or {}).values())}
            return said | {key: done[key] for key in ("seconds", "env_steps", "tokens") if key in done}
    return {}


def _state(config: Mapping[str, Any], summary: Mapping[str, Any], metrics: list[dict[str, Any]]) -> str:
    if summary.get("tasks") and all("after" in moments for moments in summary["tasks"].values()):
        return "finished"
    done = max((int(row["step"]) for row in metrics if "step" in row), default=0)
    return f"step {done} of {config['steps']}" if "steps" in config else f"step {done}"


def _facts(
    config: Mapping[str, Any], summary: Mapping[str, Any], metrics: list[dict[str, Any]]
) -> list[tuple[str, str]]:
    facts = [(name, str(config[name])) for name in ("preset", "algorithm", "policy", "seed") if name in config]
    if metrics:
        facts.append(("steps", f"{max(int(row.get('step', 0)) for row in metrics):,}"))
    if "seconds" in summary:
        minutes, seconds = divmod(round(summary["seconds"]), 60)
        facts.append(("time", f"{minutes} min {seconds} s"))
    for key, name in (("env_steps", "environment steps"), ("tokens", "tokens")):
        if key in summary:
            facts.append((name, f"{summary[key]:,}"))
    if any(summary.get("infra", {}).values()):
        facts.append(("worlds that broke", ", ".join(f"{number} {what}" for what, number in summary["infra"].items())))
    if "peak_memory_mb" in summary:
        facts.append(("peak memory", f"{summary['peak_memory_mb'] / 1000:.1f} GB"))
    return facts


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        elif value not in ({}, [], ""):
            yield prefix + name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)


# --- before and after


def _row(task: str, moments: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"name": task, "before": None, "after": None}
    for when in ("before", "after"):
        if figures := moments.get(when):
            low, high = figures["interval"]
            played = figures["success"] is not None
            row[when] = {"success": figures["success"], "low": low, "high": high, "n": figures["n"]} if played else None
    return row


def _mean(rows: list[dict[str, Any]], prefix: str, name: str) -> dict[str, Any]:
    """Mean over the tasks of one world, with a normal interval from the tasks' own spreads (a mean of shares)."""
    hero: dict[str, Any] = {"name": name, "before": None, "after": None}
    for when in ("before", "after"):
        figures = [row[when] for row in rows if row["name"].startswith(prefix) and row[when] and row[when]["n"]]
        if figures:
            mean = sum(f["success"] for f in figures) / len(figures)
            # Half a Wilson interval instead of 1.96 standard errors: it is not 0 at a rate of 0 or 1.
            half = math.sqrt(sum(((f["high"] - f["low"]) / 2) ** 2 for f in figures)) / len(figures)
            hero[when] = {"success": mean, "low": max(0.0, mean - half), "high": min(1.0, mean + half), "n": None}
    return hero


# --- curves


def charts(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Charts for ``charts.js``, one a panel that has a metric, then one for each metric that no panel names."""
    rows = [_folded(row) for row in metrics]
    names = list(dict.fromkeys(n for row in rows for n in row if n not in NOT_DRAWN))
    drawn: list[dict[str, Any]] = []
    for panel in (*PANELS, *(Panel(re.escape(n), n.replace("_", " ").capitalize(), more=True) for n in names)):
        mine = [n for n in names if re.fullmatch(panel.names, n)]
        names = [n for n in names if n not in mine]
        if mine:
            drawn.append(_chart(panel, sorted(mine), rows))
    return drawn


def _folded(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one line; reward terms as their mean over the tasks, as there are terms times tasks of them."""
    folded: dict[str, float] = {}
    terms: dict[str, list[float]] = {}
    for name, value in row.items():
        if not _number(value):
            continue
        if name.startswith("reward/"):
            terms.setdefault("/".join(name.split("/")[:2]), []).append(value)
        else:
            folded[name] = value
    return folded | {name: sum(values) / len(values) for name, values in terms.items()}


def _chart(panel: Panel, names: list[str], rows: list[dict[str, float]]) -> dict[str, Any]:
    series = []
    apart = all("/" in name for name in names)  # then what stands before the slash is the title
    for colour, name in enumerate(names):
        points = [(row.get("step", i), row[name]) for i, row in enumerate(rows) if name in row]
        label = (name.split("/", 1)[1] if apart else name).replace("_", " ")
        series.append({"name": label, "colour": colour, **_thinned(points)})
    return {
        "title": panel.title,
        "help": panel.help,
        "percent": panel.unit != "",
        "whole": panel.unit == "%",
        "wide": panel.wide,
        "more": panel.more,
        "series": series,
    }


def _thinned(points: list[tuple[float, float]]) -> dict[str, list[float]]:
    size = math.ceil(len(points) / MOST_POINTS)
    bins = [points[i : i + size] for i in range(0, len(points), max(size, 1))]
    return {
        "x": [bin[len(bin) // 2][0] for bin in bins],
        "y": [float(f"{sum(y for _, y in bin) / len(bin):.5g}") for bin in bins],
    }


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# --- episodes


def _episodes(run: Path, gallery: Gallery, notices: list[str]) -> list[dict[str, Any]]:
    """Episodes of the folder for the player: tasks in order of name; before, after, and then while training."""
    pieces = pieces_of(run)
    shown: list[tuple[tuple[str, int, int], dict[str, Any]]] = []
    count: dict[tuple[str, str], int] = {}
    for folder in _spread(record.find(run / "episodes")):
        moment = _moment(folder.relative_to(run / "episodes").parts[0])
        try:
            trajectory = record.load(folder)
        except record.RecordError as error:
            notices.append(str(error))
            continue
        key = (trajectory.task.id, moment.label)
        count[key] = count.get(key, 0) + 1
        if count[key] <= moment.most:
            try:
                data = episode_data(trajectory, gallery, moment.label, pieces) | {"step": moment.step}
            except record.UNREADABLE as error:  # parts that do not fit each other
                notices.append(f"{folder} cannot be shown as an episode: {type(error).__name__}: {error}")
                continue
            shown.append(((trajectory.task.id, moment.order, moment.step or 0), data))
    return [data for _, data in sorted(shown, key=lambda pair: pair[0])]


def _spread(folders: Sequence[Path]) -> list[Path]:
    """Of each task's episodes while training as many as are shown, the first, the last, and evenly between."""
    kept: list[Path] = []
    training: dict[str, list[Path]] = {}
    for folder in folders:
        whole = folder.parent.name.startswith("step-")
        (training.setdefault(folder.name, []) if whole else kept).append(folder)
    for of_task in training.values():
        most = min(_moment(of_task[0].parent.name).most, len(of_task))
        kept += [of_task[i] for i in np.linspace(0, len(of_task) - 1, most).round().astype(int)]
    return kept


@dataclass(frozen=True, slots=True)
class _Moment:
    """When an episode was played."""

    label: str
    order: int
    step: int | None = None
    most: int = 4
    """Episodes a task that are shown: a page is opened, an archive is not."""


def _moment(folder: str) -> _Moment:
    """From the name of the folder below ``episodes/``: ``before``, ``after`` or ``step-000011``."""
    if folder in ("before", "after"):
        return _Moment(f"{folder} training", ("before", "after").index(folder))
    digits = "".join(c for c in folder if c.isdigit())
    return _Moment("while training", 2, int(digits) if digits else None, 12)


def pieces_of(folder: Path) -> Pieces | None:
    """Spells token ids with the newest tokenizer below ``folder`` (a checkpoint's); None where none can be read.

    Hidden folders are left out: checkpoints that are being written, or removed.
    """
    found = [
        path
        for path in folder.rglob("tokenizer.json")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not found:
        return None
    from tokenizers import Tokenizer  # not worth loading for a run without a checkpoint

    try:
        tokenizer = Tokenizer.from_file(str(max(found, key=lambda path: path.stat().st_mtime)))
    except Exception:  # tokenizers raises nothing narrower
        return None

    def piece(token: int) -> str:
        # A token that decodes to nothing by itself still has a name.
        return tokenizer.decode([token], skip_special_tokens=False) or tokenizer.id_to_token(token) or f"#{token}"

    return lambda ids: [piece(int(i)) for i in ids]
