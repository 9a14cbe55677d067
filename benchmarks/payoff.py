"""Where reinforcement learning pays more than as many CPU seconds of supervised steps: one task and one base at a time.

    python -m benchmarks.payoff [--policies base ...] [--tasks T] [--out DIR] [--seeds 1] [--steps 12] [--starts 200]
                                [--report-only]

For each base and task, the algorithm of the preset ``default`` trains on that task alone, and the preset ``clone``
trains on its expert's episodes until it has spent the same CPU time (all but the vision tower, and held to nothing;
``default`` leaves embeddings and head alone and is held to the base). Both policies and the base then play the same
held-out starts, sampled. What is compared, by what the base achieved before: success after the one minus success after
the other, with a bootstrap 95 % interval over the starts.

Runs one after another, on one core, into ``DIR/BASE/TASK-SEED-ARM`` and leaves out those that are finished; then
writes the table between the markers of ``docs/results.md`` and ``docs/media/payoff.png``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.methods import on_one_task, outcomes
from benchmarks.page import ROOT, experiment, put, table
from benchmarks.stats import interval, told
from training import checkpoint
from training.config import PRESETS, Config
from training.loop import train
from training.report import read_lines
from training.worlds import resolve

ARMS = ("default", "clone")
BEFORE = "before"


def run_all(out: Path, policies: tuple[str, ...], tasks: list[str], seeds: int, steps: int, starts: int) -> None:
    """Every base, seed, task and arm that has no result yet."""
    for policy in policies:
        place = out / Path(policy).name
        for seed in range(seeds):
            for task in tasks:
                name = f"{task.replace('/', '-')}-{seed}"
                budget = 0.0
                for arm in ARMS:
                    more: dict[str, Any] = {"steps": 1000, "cpu_seconds": budget} if budget else {"steps": steps}
                    config = on_one_task(PRESETS[arm], task, policy=policy, seed=seed, **more)
                    folder = place / f"{name}-{arm}"
                    if not (folder / "summary.json").is_file():
                        train(config, folder, folder if (folder / "checkpoints").is_dir() else None)
                    budget = read_lines(folder / "timings.jsonl")[-1]["cpu_seconds"]
                    _play(place / f"{name}-{arm}.json", checkpoint.model_folder(folder), config, starts, budget)
                _play(place / f"{name}-{BEFORE}.json", policy, config, starts, 0.0)


def _play(path: Path, policy: str | Path, config: Config, starts: int, cpu_seconds: float) -> None:
    if not path.is_file():
        success = outcomes(policy, config, starts)[1]
        path.write_text(json.dumps({"success": success.tolist(), "cpu_seconds": cpu_seconds}) + "\n")


def collected(out: Path) -> list[dict[str, Any]]:
    """A row for each base and task whose runs are finished, by success before.

    ``policy``, ``task``, ``before``, an entry for each arm, ``cpu_seconds`` and ``difference`` (mean, low, high).
    """
    found: dict[tuple[str, str], list[dict[str, dict[str, Any]]]] = {}
    for path in sorted(out.glob(f"*/*-{BEFORE}.json")):
        name = path.name.removesuffix(f"-{BEFORE}.json")
        runs = {a: json.loads((path.parent / f"{name}-{a}.json").read_text()) for a in (BEFORE, *ARMS)}
        found.setdefault((path.parent.name, name.rpartition("-")[0]), []).append(runs)
    lines = []
    for (policy, task), seeds in found.items():
        success = {a: np.concatenate([runs[a]["success"] for runs in seeds]) for a in (BEFORE, *ARMS)}
        line: dict[str, Any] = {"policy": policy, "task": task, "seeds": len(seeds)}
        line |= {a: float(values.mean()) for a, values in success.items()}
        line["cpu_seconds"] = float(np.mean([runs[ARMS[0]]["cpu_seconds"] for runs in seeds]))
        lines.append(line | {"difference": interval(success[ARMS[0]] - success[ARMS[1]])})
    return sorted(lines, key=lambda line: line[BEFORE])


def plot(lines: list[dict[str, Any]], path: Path) -> None:
    """Reinforcement learning minus cloning, in points, over success before."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 4.2), layout="constrained")
    markers = dict(zip(dict.fromkeys(line["policy"] for line in lines), "osD^v", strict=False))
    for line in lines:
        mean, low, high = (100 * v for v in line["difference"])
        colour = "tab:blue" if line["task"].startswith("gui") else "tab:orange"
        where = 100 * line[BEFORE]
        error = [[mean - low], [high - mean]]
        axis.errorbar(where, mean, error, fmt=markers[line["policy"]], color=colour, capsize=2)
        label = line["task"].partition("-")[2].removesuffix("-v0")
        axis.annotate(label, (where, mean), (4, 4), textcoords="offset points", fontsize=7)
    for policy, marker in markers.items():
        axis.plot([], [], marker, color="gray", label=policy)
    axis.axhline(0, color="black", lw=0.8)
    axis.set(xlabel="success of the base, %", ylabel="after RL − after cloning, points", xlim=(-3, 103))
    axis.grid(alpha=0.3)
    axis.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def write(out: Path) -> None:
    """Put the table between the markers of ``docs/results.md``, and draw the figure."""
    lines = collected(out)
    head = ["base", "task", "before", "after RL", "after cloning", "RL − cloning, points", "CPU s each"]
    text = []
    for line in lines:
        cells = [line["policy"], f"`{line['task']}`", *(f"{line[a]:.0%}" for a in (BEFORE, *ARMS))]
        cells += [told([100 * v for v in line["difference"]], "+.0f")]
        text.append([*cells, f"{line['cpu_seconds']:.0f}"])
    put("payoff", f"{table(head, text)}\n\n![reinforcement learning against cloning](media/payoff.png)")
    plot(lines, ROOT / "docs" / "media" / "payoff.png")


def main() -> None:
    parser = experiment(__doc__, "payoff", 1)
    parser.add_argument("--policies", nargs="+", default=["base"], metavar="base|FOLDER")
    parser.add_argument("--tasks", default=PRESETS["default"].tasks)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--starts", type=int, default=200)
    o = parser.parse_args()
    if not o.report_only:
        run_all(o.out, tuple(o.policies), resolve(o.tasks), o.seeds, o.steps, o.starts)
    write(o.out)


if __name__ == "__main__":
    main()
