"""What a run tells Weights & Biases: curves, a table of evaluation results, films of episodes.

Offline unless somebody has logged in; then everything lies in ``<run folder>/wandb`` until ``wandb sync``. A resumed
run goes on under the same id: offline, W&B starts a second folder at step 0, so the step always comes from the caller.

Only what is passed in is sent: no source, no git remote, no command line, no console, no machine facts.
"""

from __future__ import annotations

import math
import netrc
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from episode import HandeyeError

PROJECT = "handeye"
EVALUATION_COLUMNS: list[str | int] = ["step", "when", "task", "success", "low", "high", "n", "return", "turns"]
MAX_FILMS = 64
"""Films that one call logs at most; a tracker is no archive, the run folder is."""


class TrackError(HandeyeError):
    """The tracker does not take a run."""


@dataclass(frozen=True, slots=True)
class TrackerState:
    """What a checkpoint keeps of the tracker, so that a resumed run goes on in the same curves."""

    id: str
    step: int


def logged_in() -> bool:
    """Whether W&B could upload without asking: a key in the environment or in what ``wandb login`` left."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        logins = netrc.netrc(os.environ.get("NETRC", os.path.expanduser("~/.netrc")))
    except (OSError, netrc.NetrcParseError):
        return False
    return logins.authenticators(host) is not None


class Tracker:
    """One W&B run. Make it on the first rank only, close it at the end (or use it as a context)."""

    def __init__(
        self, folder: Path, config: Mapping[str, Any], name: str = "", resume: TrackerState | None = None
    ) -> None:
        """Open the run.

        Args:
            folder: The run folder; W&B's own files go to ``folder/wandb``.
            config: The run's configuration, JSON values; shown beside the curves.
            name: How the run is called in lists; the folder's name by default.
            resume: From the checkpoint of the run that is being continued.
        """
        import wandb  # half a second to import, and most commands never track

        folder.mkdir(parents=True, exist_ok=True)
        mode: Any = os.environ.get("WANDB_MODE") or ("online" if logged_in() else "offline")
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            disable_job_creation=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
        )
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=name or folder.resolve().name,
                id=resume.id if resume else None,
                # "allow": online the run continues on the server; offline it can only be another folder under the id.
                resume="allow" if resume else None,
                config=dict(config),
                dir=str(folder),
                mode=mode,
                settings=settings,
            )
        except wandb.Error as error:
            raise TrackError(
                f"Weights & Biases does not take the run ({error}): set WANDB_MODE=offline to keep its curves on the "
                "disk, or =disabled for none; what was trained goes on with --resume"
            ) from error
        self._step = resume.step if resume else 0

    @property
    def state(self) -> TrackerState:
        """For the checkpoint."""
        return TrackerState(self._run.id, self._step)

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """One point on every curve. Values that are no finite number are left out: a chart cannot show them."""
        points = {k: v for k, v in metrics.items() if isinstance(v, bool | int | float) and math.isfinite(v)}
        self._log(points, step)

    def evaluation(self, tasks: Mapping[str, Mapping[str, Any]], step: int, when: str = "") -> None:
        """A table of success by task, as ``evaluate`` returns it under ``"tasks"``, and a curve for each task."""
        import wandb

        rows = [
            [step, when, task, r["success"], *r["interval"], r["n"], r.get("return"), r.get("turns")]
            for task, r in sorted(tasks.items())
        ]
        curves = {f"evaluation/{task}": r["success"] for task, r in tasks.items() if r["n"]}
        name = f"evaluation-table/{when}" if when else "evaluation-table"
        self._log({**curves, name: wandb.Table(columns=EVALUATION_COLUMNS, data=rows)}, step)

    def films(self, films: Mapping[str, Path], step: int) -> None:
        """Episodes to look at, by title: ``.html`` as a playable page, ``.mp4`` and ``.gif`` as videos."""
        import wandb

        media: dict[str, Any] = {}
        for title, path in list(films.items())[:MAX_FILMS]:
            if path.suffix == ".html":
                # Without `inject`, or W&B adds a style sheet from its own host to a page that must ask nobody.
                media[f"films/{title}"] = wandb.Html(path.read_text("utf-8"), inject=False)
            else:
                media[f"films/{title}"] = wandb.Video(
                    str(path), caption=title, format="gif" if path.suffix == ".gif" else "mp4"
                )
        self._log(media, step)

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        if values:
            # A lone surrogate in a name is text that W&B cannot write.
            self._run.log({k.encode("utf-8", "replace").decode(): v for k, v in values.items()}, step=step)
        self._step = max(self._step, step)

    def close(self, failed: bool = False) -> None:
        self._run.finish(exit_code=1 if failed else 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=kind is not None)
