from __future__ import annotations

import errno
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from training import checkpoint
from training.checkpoint import CheckpointError
from training.config import PRESETS, ConfigError
from training.journal import Journal, write_whole
from training.start import alone
from training.summary import Progressed


def write(folder: Path, step: int, score: float = 0.0) -> Path:
    def save_model(path: Path) -> None:
        path.mkdir()
        (path / "model.safetensors").write_bytes(b"weights" * 100)

    tensors = {checkpoint.OPTIMIZER: {"w::exp_avg": torch.arange(3.0)}}
    state = {"schema": 1, "score": score, "step": step}
    return checkpoint.save(folder / "checkpoints", step, state, save_model, tensors)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = write(tmp_path, 20)
    assert path.name == "step-000020" and checkpoint.damage(path) == ""
    assert checkpoint.find(tmp_path) == checkpoint.find(path) == path
    assert checkpoint.load_state(path) == {"schema": 1, "score": 0.0, "step": 20}
    torch.testing.assert_close(checkpoint.load_tensors(path), {"w::exp_avg": torch.arange(3.0)})
    assert checkpoint.model_folder(tmp_path) == checkpoint.model_folder(path) == path / "model"
    marker = json.loads((path / "complete.json").read_text())
    assert set(marker["files"]) == {"model/model.safetensors", "optimizer.safetensors", "state.json"}


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda p: (p / "model/model.safetensors").write_bytes(b"weights"), "has 7 bytes instead of 700"),
        (lambda p: (p / "model/model.safetensors").write_bytes(b"Weights" * 100), "was changed after it was written"),
        (lambda p: (p / "optimizer.safetensors").unlink(), "optimizer.safetensors is missing"),
        (lambda p: (p / "complete.json").unlink(), "complete.json is missing"),
        (lambda p: (p / "complete.json").write_text("{"), "complete.json cannot be read"),
    ],
)
def test_a_damaged_one_is_refused_by_name_and_the_good_one_before_is_offered(
    tmp_path: Path, harm: Any, says: str
) -> None:
    write(tmp_path, 10)
    newest = write(tmp_path, 20)
    harm(newest)
    with pytest.raises(CheckpointError, match=f"step-000020 is damaged: .*{says}.*--resume .*step-000010"):
        checkpoint.find(tmp_path)
    assert checkpoint.find(tmp_path / "checkpoints" / "step-000010").name == "step-000010"


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        checkpoint.find(tmp_path)


def test_on_a_full_disk_the_one_before_still_stands(tmp_path: Path) -> None:
    write(tmp_path, 10)

    def full(path: Path) -> None:
        path.mkdir()
        (path / "half").write_bytes(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CheckpointError, match="the disk is full; step-000010 still stands"):
        checkpoint.save(tmp_path / "checkpoints", 20, {}, full, {})
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-000010"]
    assert checkpoint.find(tmp_path).name == "step-000010"


def test_a_run_killed_while_saving_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    write(tmp_path, 10)
    left = tmp_path / "checkpoints" / ".step-000020.partial"
    left.mkdir()
    (left / "half").write_bytes(b"x")
    assert checkpoint.find(tmp_path).name == "step-000010"
    assert checkpoint.damage(write(tmp_path, 20)) == "" and not left.exists()


def test_steps_that_are_repeated_replace_what_was_there(tmp_path: Path) -> None:
    write(tmp_path, 10, score=0.1)
    assert checkpoint.load_state(write(tmp_path, 10, score=0.7))["score"] == 0.7
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-000010"]


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    for step, score in enumerate([0.1, 0.9, 0.2, 0.3, 0.4]):
        write(tmp_path, step, score)
    checkpoint.prune(tmp_path / "checkpoints", keep=2)
    assert [p.name[-1] for p in checkpoint.listed(tmp_path / "checkpoints")] == ["1", "3", "4"]


def test_a_model_folder_of_a_damaged_checkpoint_is_refused_and_any_other_is_not(tmp_path: Path) -> None:
    good, newest = write(tmp_path, 10), write(tmp_path, 20)
    for model in (good / "model", newest / "model"):
        assert checkpoint.model_folder(model) == model
    (newest / "model/model.safetensors").write_bytes(b"Weights" * 100)
    refused = "step-000020 is damaged: model/model.safetensors was changed .*: --policy .*step-000010"
    (tmp_path / "link").symlink_to(newest / "model")
    for folder in (newest / "model", tmp_path / "link", newest, tmp_path):
        with pytest.raises(CheckpointError, match=refused):
            checkpoint.model_folder(folder)
    with pytest.raises(CheckpointError, match=refused):
        checkpoint.vouch(newest / "model")
    (newest / "complete.json").unlink()
    checkpoint.vouch(newest / "model")  # nothing is known of it


def test_what_tokenizers_says_of_a_full_disk_is_understood(tmp_path: Path) -> None:
    write(tmp_path, 10)

    def full(path: Path) -> None:
        path.mkdir()
        raise Exception("No space left on device (os error 28)")

    with pytest.raises(CheckpointError, match="the disk is full; step-000010 still stands"):
        checkpoint.save(tmp_path / "checkpoints", 20, {}, full, {})
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-000010"]

    def bug(path: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        checkpoint.save(tmp_path / "checkpoints", 20, {}, bug, {})


@pytest.mark.parametrize(
    ("progress", "says"),
    [
        (asdict(Progressed()) | {"new": 1}, "has an unknown new; .*--policy .*model"),
        ({k: v for k, v in asdict(Progressed()).items() if k != "step"}, "lacks step; .*--policy .*model"),
        (asdict(Progressed()) | {"step": "many"}, "has step = 'many', which is of another type"),
        (asdict(Progressed()) | {"step": True}, "has step = True"),
        (asdict(Progressed()) | {"recent": [0.5, None]}, r"has recent = \[0.5, None\]"),
        ([], r"is \[\] instead of an object"),
    ],
)
def test_progress_that_this_version_does_not_know_is_refused(tmp_path: Path, progress: Any, says: str) -> None:
    path = write(tmp_path, 10)
    with pytest.raises(CheckpointError, match="progress in .*state.json " + says):
        checkpoint.part(path, {"progress": progress}, "progress", Progressed)


def test_a_state_that_lacks_something_says_what_and_what_helps(tmp_path: Path) -> None:
    path = write(tmp_path, 10)
    whole = asdict(Progressed(step=3, seconds=1, recent=[0.5, 1]))
    assert checkpoint.part(path, {"progress": whole}, "progress", Progressed) == Progressed(**whole)
    for said, kind in (({}, "lacks weight_version"), ({"weight_version": "1"}, "weight_version in .* is '1' instead")):
        with pytest.raises(CheckpointError, match=f"{kind}.*--policy .*model"):
            checkpoint.part(path, said, "weight_version", int)
    with pytest.raises(CheckpointError, match=r"holds no reward_model.safetensors: .* another --algorithm"):
        checkpoint.load_tensors(path, "reward_model")
    with pytest.raises(CheckpointError, match=r"state.json holds no config .*--policy .*model"):
        checkpoint.load_config(path)
    with pytest.raises(CheckpointError, match=r"the tracker of .* has an unknown what"):
        Journal(PRESETS["debug"], tmp_path, 0, {"id": "x", "step": 0, "what": 1})
    (path / "state.json").write_bytes(b'{"schema": 1, "x": "\xff"}')
    with pytest.raises(CheckpointError, match=r"state.json cannot be read \(UnicodeDecodeError"):
        checkpoint.load_state(path)


def test_one_process_at_a_time_writes_into_a_run(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from training.start import alone\n"
        "with alone(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == "in\n"
        says = rf"process {other.pid} still writes into .*\(kill {other.pid}\); then --resume"
        with pytest.raises(ConfigError, match=says), alone(tmp_path):
            pass
    finally:
        other.kill()
        other.communicate()
    for _ in range(2):  # the kernel let go of it, and so do we
        with alone(tmp_path):
            pass


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    victim, run = tmp_path / "victim", tmp_path / "run"
    victim.write_text("precious")
    run.mkdir()
    for name in (".summary.json.part", "summary.json", "metrics.jsonl"):
        (run / name).symlink_to(victim)
    write_whole(run / "summary.json", "{}\n")
    (run / "timings.jsonl").symlink_to(tmp_path / "nothing")
    (run / ".lock").symlink_to(victim)
    journal = Journal(PRESETS["debug"], run, 0, None)
    journal.step({"step": 1}, {"step": 1})
    journal.close(failed=False)  # W&B gives the next run of this process the one that was left open
    with pytest.raises(ConfigError, match="lock cannot be opened"), alone(run):
        pass
    assert victim.read_text() == "precious" and not (tmp_path / "nothing").exists()
    assert (run / "summary.json").read_text() == "{}\n" and not (run / "summary.json").is_symlink()
