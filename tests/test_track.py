"""The tracker, read back from W&B's own offline files."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from benchmarks.faults.offline import finished, history, records
from tests.synthetic import body_episode, screen_episode
from training.play import film
from training.track import Tracker, TrackerState, logged_in

SECRET = "hunter2-not-to-be-told"


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody is logged in; a secret lies in the environment."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("MY_SERVICE_PASSWORD", SECRET)


def test_an_offline_run_holds_curves_table_and_films_over_a_resume(tmp_path: Path) -> None:
    run = tmp_path / "run"
    tasks = {"gui/login-form-v0": {"success": 0.5, "n": 4, "interval": [0.15, 0.85], "return": 1.2, "turns": 3.0}}
    films = {
        "before/login": film(screen_episode(), tmp_path / "login.html"),
        "before/reach": film(body_episode(), tmp_path / "reach.mp4"),
    }
    with Tracker(run, {"seed": 3, "reward": {"task": 1.0}}) as tracker:
        tracker.evaluation(tasks, 0, "before")
        tracker.films(films, 0)
        for step in (1, 2):
            tracker.log({"entropy": 0.5 / step, "success/gui": 0.25 * step, "kl": float("nan")}, step)
        state = tracker.state
    assert state.step == 2
    time.sleep(1.1)  # the names of the folders count seconds
    with Tracker(run, {"seed": 3}, resume=state) as tracker:
        assert tracker.state == state
        tracker.log({"entropy": 0.125, "success/gui": 0.75}, 3)
        tracker.evaluation(tasks, 3, "after")
        assert tracker.state == TrackerState(state.id, 3)

    first, second = finished(run, 2)
    assert first.name == second.name == f"run-{state.id}.wandb"
    lines = history(first) + history(second)
    assert [line["_step"] for line in lines] == [0, 1, 2, 3]
    assert [line.get("entropy") for line in lines] == [None, 0.5, 0.25, 0.125]
    assert [line.get("success/gui") for line in lines] == [None, 0.25, 0.5, 0.75]
    assert "kl" not in lines[1]
    assert lines[0]["evaluation/gui/login-form-v0"] == lines[3]["evaluation/gui/login-form-v0"] == 0.5

    table = json.loads((first.parent / "files" / lines[0]["evaluation-table/before.path"]).read_text())
    assert table["columns"][:3] == ["step", "when", "task"]
    assert table["data"] == [[0, "before", "gui/login-form-v0", 0.5, 0.15, 0.85, 4, 1.2, 3.0]]
    page = first.parent / "files" / lines[0]["films/before/login.path"]
    assert "wandb" not in page.read_text() and page.read_text() == (tmp_path / "login.html").read_text()
    video = first.parent / "files" / lines[0]["films/before/reach.path"]
    assert video.read_bytes() == (tmp_path / "reach.mp4").read_bytes()
    config = next(r.run.config for r in records(first) if r.WhichOneof("record_type") == "run")
    assert {u.key: json.loads(u.value_json) for u in config.update}["seed"] == 3

    for path in (run / "wandb").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert SECRET.encode() not in content
            assert path.name != "wandb-metadata.json" and b"git@" not in content


def test_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not logged_in()
    (tmp_path / "netrc").write_text("machine api.wandb.ai\n  login user\n  password " + "k" * 40 + "\n")
    (tmp_path / "netrc").chmod(0o600)
    assert logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert logged_in()
