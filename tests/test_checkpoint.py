from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from training import checkpoint
from training.checkpoint import CheckpointError


def write(folder: Path, step: int, score: float = 0.0) -> Path:
    def save_model(path: Path) -> None:
        path.mkdir()
        (path / "model.safetensors").write_bytes(b"weights" * 100)

    tensors = {"w::exp_avg": torch.arange(3.0)}
    state = {"schema": 1, "score": score, "step": step}
    return checkpoint.save(folder / "checkpoints", step, state, save_model, tensors)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = write(tmp_path, 20)
    assert path.name == "step-000020" and checkpoint.damage(path) == ""
    assert checkpoint.find(tmp_path) == checkpoint.find(path) == path
    assert checkpoint.load_state(path) == {"schema": 1, "score": 0.0, "step": 20}
    torch.testing.assert_close(checkpoint.load_optimizer(path), {"w::exp_avg": torch.arange(3.0)})
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
