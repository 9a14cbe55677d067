"""Runs that are interrupted, lose something, and go on: bit for bit, or with a word that says what is wrong."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from policy.families import ModelError
from policy.tiny import SMALLEST, build_tiny
from policy.vlm import VLM, quick_bf16
from tests.run_helpers import TEXTS, debug, lines, strip, weights
from training import checkpoint, record, worlds
from training.checkpoint import CheckpointError
from training.config import PRESETS, Config, ConfigError
from training.loop import Interrupted, resumed, train


def test_debug_in_both_worlds_interrupted_and_resumed_is_bit_identical(model: Path, tmp_path: Path) -> None:
    config = debug(model, steps=2, ranks=2, eval_episodes=1)
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    summary = train(config, straight)
    with pytest.raises(Interrupted, match="stopped after step 1 of 2; go on with --resume"):
        train(config, broken, stop_at=1)
    assert resumed(broken) == (config, broken)
    # What a run wrote after its last checkpoint before it was killed is written again.
    with (broken / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "entropy": 0}\n{"step":')
    train(config, broken, resume=broken)

    assert (straight / "metrics.jsonl").read_bytes() == (broken / "metrics.jsonl").read_bytes()
    assert weights(straight) == weights(broken) and len(weights(straight)) == 2
    assert [line["step"] for line in lines(straight)] == [1, 2]
    assert lines(straight)[0]["updates"] == 1 and lines(straight)[0]["grad_norm"] > 0
    # Where bfloat16 is quick, rollout and update round differently.
    rounding = 0.05 if quick_bf16(torch.device("cpu")) else 1e-3
    assert all(line["logp_difference/max"] < rounding for line in lines(straight))

    assert json.loads((straight / "summary.json").read_text()) == summary
    counted = {"seconds", "env_steps", "tokens", "infra", "peak_memory_mb", "preset", "seed"}
    assert set(summary) == {"tasks", "learned", "status", "verdict", "warnings", *counted}
    assert summary["infra"] == {"retried": 0, "dropped": 0, "unevaluated": 0}
    assert set(summary["tasks"]) == {"gui/click-button-v0", "sims/reach-v0"}
    for task in summary["tasks"].values():
        assert set(task) == {"before", "after"} and all(set(v) == {"success", "n", "interval"} for v in task.values())
    folder = checkpoint.model_folder(straight)
    assert AutoModelForImageTextToText.from_pretrained(folder).config.model_type == "qwen3_vl"
    VLM.load(folder)
    moments = {p.parent.name for p in record.find(straight / "episodes")}
    assert moments == {"before", "step-000001", "step-000002", "after"}
    played = record.load(record.find(straight / "episodes" / "step-000001")[0])
    advantages = played.decisions[0].advantages
    assert advantages is not None and advantages.shape == played.decisions[0].generations[0].reply_ids.shape


def test_a_run_begins_where_another_ended(model: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    train(strip(model, steps=1), first)
    train(strip(first, steps=1), second)
    began = Path(json.loads((second / "config.json").read_text())["policy"])
    assert began == checkpoint.model_folder(first).absolute()  # which stays what it is if that run goes on
    saved = second / "checkpoints" / "step-000000" / "model" / "model.safetensors"
    assert saved.read_bytes() == (began / "model.safetensors").read_bytes()


def test_a_missing_policy_is_said_before_anything_is_written(tmp_path: Path) -> None:
    config = dataclasses.replace(PRESETS["debug"], policy=str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match="holds no model"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_lost_the_model_it_is_compared_with_is_not_resumed(model: Path, tmp_path: Path) -> None:
    start = shutil.copytree(model, tmp_path / "start")
    run = tmp_path / "run"
    held = strip(start, steps=3, kl=0.1)
    with pytest.raises(Interrupted):
        train(held, run, stop_at=1)
    build_tiny(start, TEXTS, seed=1, shape=SMALLEST)
    config, out = resumed(run)
    with pytest.raises(CheckpointError, match="no longer the model that this run began with"):
        train(config, out, run)
    shutil.move(start, tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"began with that model .*--kl 0"):
        train(config, out, run)
    shutil.move(tmp_path / "elsewhere", start)
    # Nor once it went on without.
    with pytest.raises(Interrupted):
        train(dataclasses.replace(held, kl=0.0), run, run, stop_at=2)
    with pytest.raises(CheckpointError, match="no longer the model that this run began with"):
        train(held, run, run)


def test_a_run_can_be_held_to_its_start_from_the_middle_on_and_let_go(model: Path, tmp_path: Path) -> None:
    for before, after in ((0.0, 0.1), (0.1, 0.0)):
        run = tmp_path / str(before)
        with pytest.raises(Interrupted):
            train(strip(model, steps=2, kl=before), run, stop_at=1)
        train(strip(model, steps=2, kl=after), run, run)
        first, last = lines(run)
        assert ("kl/reference" in first, "kl/reference" in last) == (before > 0, after > 0)


@pytest.mark.parametrize("algorithm", ["gigpo", "ppo"])
def test_with_all_left_alone_that_the_default_leaves_alone_a_resumed_run_is_bit_identical(
    algorithm: str, model: Path, tmp_path: Path
) -> None:
    held = strip(model, steps=2, train_vision=False, train_embeddings=False, kl=0.02, algorithm=algorithm)
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    train(held, straight)
    with pytest.raises(Interrupted):
        train(held, broken, stop_at=1)
    with pytest.raises(CheckpointError, match=r"lacks .*which this run trains"):
        train(dataclasses.replace(held, train_embeddings=True), broken, broken)
    train(held, broken, broken)
    assert weights(straight) == weights(broken)
    assert (straight / "metrics.jsonl").read_bytes() == (broken / "metrics.jsonl").read_bytes()
    assert lines(broken)[1]["kl/reference"] > 0


def test_a_run_whose_metrics_were_removed_says_so_when_it_is_resumed(model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(strip(model, steps=2), run, stop_at=1)
    (run / "metrics.jsonl").unlink()
    (said,) = train(strip(model, steps=2), run, run)["warnings"]
    assert "metrics.jsonl ends 1 steps before the checkpoint" in said


def test_a_resumed_run_is_found_from_anywhere_and_leaves_nothing_of_what_it_redoes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "step-size-0.1"
    train(strip(model, steps=2, eval_episodes=1, keep=9, episodes_every=1), run)
    monkeypatch.chdir(run / "checkpoints")
    assert resumed(Path("step-000001")) == resumed(run / "checkpoints" / "step-000001")
    assert resumed(run)[1] == run and resumed(Path(".."))[1] == run
    config = strip(model, steps=3, eval_episodes=1, episodes_every=1)
    with pytest.raises(Interrupted):
        train(config, run, Path("step-000001"), stop_at=1)
    assert Config.from_json(json.loads((run / "config.json").read_text())) == config
    assert not (run / "summary.json").exists()
    assert sorted(p.name for p in (run / "episodes").iterdir()) == ["before", "step-000001"]


def test_a_run_that_lost_its_checkpoints_is_not_begun_again(model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(strip(model, steps=1), run)
    shutil.rmtree(run / "checkpoints")
    before = (run / "metrics.jsonl").read_bytes()
    for act in (lambda: resumed(run), lambda: train(strip(model, steps=1), run, run)):
        with pytest.raises(checkpoint.NoCheckpoint, match="holds no checkpoint"):
            act()
    assert (run / "metrics.jsonl").read_bytes() == before


def test_another_number_of_ranks_is_said(model: Path, tmp_path: Path) -> None:
    run, changes = tmp_path / "run", {"steps": 2, "groups": 2, "imports": ("tests.fake_strip",)}
    with pytest.raises(Interrupted):
        train(strip(model, **changes), run, stop_at=1)
    (said,) = train(strip(model, **changes, ranks=2), run, run)["warnings"]
    assert "goes on with 2 ranks instead of 1" in said


def test_a_run_writes_through_no_link(model: Path, tmp_path: Path) -> None:
    run, victim = tmp_path / "run", tmp_path / "victim"
    for made in (run, victim):
        made.mkdir()
    (run / "checkpoints").symlink_to(victim)
    with pytest.raises(ConfigError, match="checkpoints is a link"):
        train(strip(model, steps=1), run)
    assert not list(victim.iterdir())


def test_modules_of_the_current_folder_are_found_when_a_run_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_own_terms.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    worlds.import_modules(["my_own_terms"])


def test_a_checkpoint_that_does_not_fit_the_run_is_refused(model: Path, tmp_path: Path) -> None:
    plain, critic = tmp_path / "plain", tmp_path / "critic"
    train(strip(model, steps=1), plain)
    train(strip(model, steps=1, algorithm="ppo"), critic)
    mend = r".* Resume without .*--policy"
    for run, name, says in (
        (plain, "ppo", "optimiser lacks value_head.bias, which this run trains" + mend),
        (critic, "grpo", "optimiser holds value_head.bias, which this run does not train" + mend),
        (plain, "sweet", "holds no critic.safetensors" + mend),
    ):
        with pytest.raises(checkpoint.CheckpointError, match=says):
            train(strip(model, steps=2, algorithm=name), run, resume=run)


def test_a_policy_from_a_damaged_checkpoint_is_refused_before_anything_is_written(model: Path, tmp_path: Path) -> None:
    train(strip(model, steps=1), tmp_path / "run")
    folder = checkpoint.find(tmp_path / "run") / "model"
    flipped = bytearray((folder / "model.safetensors").read_bytes())
    flipped[-1] ^= 1
    (folder / "model.safetensors").write_bytes(flipped)
    refused = "step-000001 is damaged: model/model.safetensors was changed .*: --policy .*step-000000"
    with pytest.raises(checkpoint.CheckpointError, match=refused):
        train(strip(folder), tmp_path / "other")
    assert not (tmp_path / "other").exists()
