"""The drills of ``make faults``, each at the smallest size that still shows something."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.__main__ import DRILLS
from benchmarks.faults.damage import _told_apart
from benchmarks.faults.drill import Setting
from benchmarks.faults.moments import Moment, counted
from benchmarks.faults.stops import _one_clear_error, _stands
from benchmarks.faults.texts import fuzzed
from episode import Advice, Body, Embodiment, Screen
from policy.codecs import CodecError
from policy.codecs.compact import Compact
from tests.test_checkpoint import write
from training import checkpoint, record
from training.checkpoint import CheckpointError
from training.config import PRESETS
from training.loop import resumed
from training.start import begin_folder

RUNS = ("killed", "damaged")


def run(tmp_path: Path, *words: str) -> list[dict[str, object]]:
    # In a process of its own: it forks, which this one, with its GL and its threads, must not.
    out = tmp_path / "faults.json"
    command = [sys.executable, "-m", "benchmarks.faults", "--out", str(out), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows: list[dict[str, object]] = json.loads(out.read_text())
    return rows


def test_runs_that_are_killed_and_checkpoints_that_are_damaged(tmp_path: Path) -> None:
    rows = run(tmp_path, "--scale", "0.04", "--seed", "3", "--only", *RUNS)
    assert [row["name"] for row in rows] == list(RUNS) and all(row["passed"] for row in rows)
    assert str(rows[0]["measured"]).startswith("2 of 2 bit-identical")


@pytest.mark.slow
def test_every_other_drill_at_a_hundredth(tmp_path: Path) -> None:
    rest = [name for name in DRILLS if name not in RUNS]
    assert all(row["passed"] for row in run(tmp_path, "--scale", "0.01", "--only", *rest))


def test_no_text_is_too_much_for_a_codec(tmp_path: Path) -> None:
    outcome = fuzzed(Setting(tmp_path, seed=5, scale=0.0005))
    assert outcome.passed, outcome.measured
    assert "compact: 500 texts, 50 actions the same; qwen: 500 texts" in outcome.measured


@pytest.mark.parametrize("says", ['type"so"', "<a0><a0><a0>open"])
def test_a_codec_that_always_says_the_same_is_found_out(
    says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Compact.format

    def stuck(self: Compact, advice: Advice, embodiment: Embodiment, thought: bool) -> str:
        same = isinstance(embodiment, Body) == says.endswith("open")
        return says if same else real(self, advice, embodiment, thought)

    monkeypatch.setattr(Compact, "format", stuck)
    outcome = fuzzed(Setting(tmp_path, seed=5, scale=0.0005))
    assert not outcome.passed and "came back as" in outcome.measured


def test_a_codec_that_reads_what_it_cannot_say_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Compact.format

    def narrow(self: Compact, advice: Advice, embodiment: Embodiment, thought: bool) -> str:
        if isinstance(embodiment, Screen) and len(advice.actions[0]["text"]) > 12:
            raise CodecError("too long")
        return real(self, advice, embodiment, thought)

    monkeypatch.setattr(Compact, "format", narrow)
    outcome = fuzzed(Setting(tmp_path, seed=5, scale=0.0005))
    assert not outcome.passed and "raised CodecError" in outcome.measured


def test_hostile_text_stays_text_and_no_path_leads_out(tmp_path: Path) -> None:
    [row] = run(tmp_path, "--only", "hostile")
    assert "in W&B, 0 wrong" in str(row["measured"])


def test_the_name_of_a_tasks_folder() -> None:
    assert record.folder_name("gui/click-button-v0") == "gui_click-button-v0"
    for hostile_id in ("..", "../../x", "", "/", "a\0b", "x" * 300, "...", "é"):
        name = record.folder_name(hostile_id)
        assert name and "/" not in name and "\0" not in name and not name.startswith(".") and len(name) < 120
    assert record.folder_name("x" * 300) != record.folder_name("x" * 301)


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(tmp_path: Path) -> None:
    config = PRESETS["debug"]
    begin_folder(config, tmp_path / "run")
    assert resumed(tmp_path / "run") == (config, tmp_path / "run")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        resumed(tmp_path)


def test_going_on_from_further_back_hides_what_came_later(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        write(tmp_path, step)
    folder = tmp_path / "checkpoints"
    checkpoint.set_aside(folder, 10)
    assert checkpoint.find(tmp_path).name == "step-000010"
    write(tmp_path, 20)
    assert sorted(p.name for p in folder.iterdir()) == ["step-000010", "step-000020"]


def test_a_state_of_another_version_is_refused_and_says_what_helps(tmp_path: Path) -> None:
    path = write(tmp_path, 10)
    (path / "state.json").write_text('{"schema": 2}')
    with pytest.raises(CheckpointError, match=r"schema 2, this handeye reads 1: .*--policy .*model"):
        checkpoint.load_state(path)
    (path / "state.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load_state(path)


def test_a_marker_that_vouches_for_too_little_or_leads_out_is_no_marker(tmp_path: Path) -> None:
    good, newest = write(tmp_path, 10), write(tmp_path, 20)
    marker = newest / checkpoint.MARKER
    whole = marker.read_bytes()
    said = json.loads(whole)
    wrong: list[str] = []
    claims: list[Any] = [[], {}, {"../../x": said["files"]["state.json"]}, {"state.json": 3}, None]
    for files in claims:
        marker.write_text(json.dumps(said | {"files": files}))
        assert _told_apart(tmp_path, newest, good, marker, whole, wrong) == "refused"
    marker.write_text(json.dumps(said | {"version": 2}))
    assert "has version 2" in checkpoint.damage(newest)
    marker.write_bytes(whole)
    (newest / "model" / "adapter_model.bin").write_bytes(b"x")
    assert checkpoint.damage(newest) == "model/adapter_model.bin was not there when it was written"
    assert not wrong


def test_the_stop_drills_measure_what_still_stands_and_what_was_said(tmp_path: Path) -> None:
    later = Moment("save: sync, before", "step-000020", False)
    assert _stands(tmp_path, Moment("rollout: turns, before", "", False)) == ""
    assert _stands(tmp_path, later) == "step-000020 stood before, then none"
    write(tmp_path, 10)
    assert _stands(tmp_path, later) == "step-000020 stood before, then step-000010"
    newest = write(tmp_path, 20)
    assert _stands(tmp_path, later) == ""
    (newest / "state.json").unlink()
    assert _stands(tmp_path, later) == "step-000020: state.json is missing"
    (tmp_path / "moments").write_text("log: load, before\t\nlog: frame_path, before\tstep-000010\nlog: load, after\t\n")
    assert [(m.stood, m.reading) for m in counted(tmp_path / "moments")] == [
        ("", True),
        ("step-000010", True),
        ("", False),
    ]
    assert _one_clear_error(0, "no report: No space left on device") == _one_clear_error(0, "", failed=False) == ""
    assert "said nothing of it" in _one_clear_error(0, "learned")
