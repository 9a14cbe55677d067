"""What a run refuses to begin with or catches on its way: blindness, numbers that are none, nothing to learn."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from episode import Trajectory
from policy.agent import VLMAgent, dialect_of
from policy.codecs import codec_named
from policy.context import ContextBuilder
from policy.engine import Engine, Sampling
from policy.packing import Row
from policy.vlm import VLM
from tests.fake_worlds import Strip
from tests.run_helpers import lines, strip
from training import checkpoint, probe, record, worlds
from training.algorithms import ALGORITHMS
from training.config import ConfigError
from training.evaluate import Unsound, evaluate
from training.judges import Judge
from training.loop import train
from training.probe import BlindPolicy
from training.rewards import TERMS
from training.run import Diverged, NoVariance
from training.start import MissingCapability
from training.update import Learner


@pytest.mark.parametrize("conversation", [False, True])
def test_a_policy_that_cannot_be_told_apart_from_a_blind_one_is_refused(
    model: Path, tmp_path: Path, conversation: bool
) -> None:
    train(strip(model, steps=1, conversation=conversation), tmp_path / "run")
    episodes = [record.load(path) for path in record.find(tmp_path / "run" / "episodes")]
    vlm = VLM.load(model).eval()
    sight = probe.look(vlm, episodes)
    assert sight.change > 1e-5 and sight.blank == 0 and 1 <= sight.rows <= probe.ROWS
    images = range(1, 1 + max(len(d.generations[-1].images) for e in episodes for d in e.decisions))
    assert (len(images) > 1) == conversation
    places = {f"sees/change/gui/{k}" for k in images if k <= probe.IMAGES}
    assert sight.figures().keys() == {"sees/change", "sees/blank"} | places
    sight.require()
    with torch.no_grad():
        vlm.model.model.visual.patch_embed.proj.weight.zero_()
    blind = probe.look(vlm, episodes)
    assert set(blind.changes.values()) == {0.0}
    with pytest.raises(BlindPolicy, match="do not change when its images do"):
        blind.require()


@pytest.mark.parametrize("lost", [0, 1])
def test_one_image_of_several_that_never_arrives_is_seen(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    train(strip(model, steps=1, frames=2), tmp_path / "run")
    episodes = [record.load(path) for path in record.find(tmp_path / "run" / "episodes")]
    vlm = VLM.load(model).eval()
    probe.look(vlm, episodes).require()
    collate = VLM.collate

    def dropped(self: VLM, rows: Sequence[Row]) -> Any:
        def blank(images: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(image * (len(images) == 1 or i != lost) for i, image in enumerate(images))

        return collate(self, [dataclasses.replace(row, images=blank(row.images)) for row in rows])

    monkeypatch.setattr(VLM, "collate", dropped)
    sight = probe.look(vlm, episodes)
    # Counted from the end: of two images the first is gui/2.
    assert sight.changes[f"gui/{2 - lost}"] == 0 == sight.change < sight.changes[f"gui/{1 + lost}"]
    with pytest.raises(BlindPolicy, match=rf"do not change when its images do \(gui/{2 - lost}; "):
        sight.require()


def test_prompts_without_images_are_refused_of_one_world_too(model: Path, tmp_path: Path) -> None:
    train(strip(model, steps=1), tmp_path / "run")
    episodes = [record.load(path) for path in record.find(tmp_path / "run" / "episodes")]
    vlm = VLM.load(model).eval()
    assert probe.look(vlm, []).figures() == {}
    other = [record.load(path) for path in record.find(tmp_path / "run" / "episodes")]
    for episode in other:
        episode.task = dataclasses.replace(episode.task, id="sims/strip-v0")
        for g in (g for d in episode.decisions for g in d.generations):
            g.images = ()
    with pytest.raises(BlindPolicy, match=r"\(sims/1; "):
        probe.look(vlm, [*episodes, *other]).require()
    sight = probe.look(vlm, other)
    assert sight.figures()["sees/change"] == 0
    with pytest.raises(BlindPolicy, match="no prompt holds an image"):
        sight.require()


def test_log_probs_are_compared_with_the_rollouts_also_where_they_are_weighed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = Engine._generation

    def off(self: Engine, *args: Any) -> Any:
        made = generation(self, *args)
        assert made.logps is not None
        return dataclasses.replace(made, logps=made.logps - np.float32(0.25))

    monkeypatch.setattr(Engine, "_generation", off)
    for cap in (0.0, 2.0):
        train(strip(model, steps=1, importance_cap=cap, bf16=False), tmp_path / f"{cap}")
        [line] = lines(tmp_path / f"{cap}")
        # Each token by a quarter.
        assert line["logp_difference/mean"] == pytest.approx(0.25, abs=1e-3)
        assert line["logp_difference/max"] == pytest.approx(0.25, abs=1e-3)


def test_steps_that_are_not_finite_are_dropped_kept_and_stop_the_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = Learner._loss

    def broken(self: Learner, *args: Any) -> Any:
        loss, far = taken(self, *args)
        return loss * float("nan"), far

    monkeypatch.setattr(Learner, "_loss", broken)
    with pytest.raises(Diverged, match=r"3 steps in a row .* last good checkpoint is .*step-000002"):
        train(strip(model, steps=5), tmp_path / "run")
    kept = record.find(tmp_path / "run" / "nonfinite" / "step-000001")
    assert len(kept) == 8 and record.load(kept[0]).decisions
    before = VLM.load(model).state_dict()
    after = VLM.load(checkpoint.model_folder(tmp_path / "run")).state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize("name", [*ALGORITHMS])
def test_a_reward_that_is_not_finite_is_caught_whatever_the_algorithm(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    length = TERMS["length"]

    def broken(trajectory: Trajectory, index: int) -> float:
        return float("nan") if trajectory.episode == 1 else length(trajectory, index)

    monkeypatch.setitem(TERMS, "length", broken)
    summary = train(strip(model, algorithm=name, steps=1), tmp_path / "run")
    [line] = lines(tmp_path / "run")
    assert line["dropped"] == 1 and line["updates"] == 0
    # A judge left out each of its four steps: a pair of the other group is no lesson of a broken batch.
    assert all(line[f"{judge}/dropped"] == 4 for judge in ALGORITHMS[name].judges)
    assert any("the reward term 'length' of gui/strip-v0" in text for text in summary["warnings"])
    assert record.find(tmp_path / "run" / "nonfinite" / "step-000001")


def test_a_judge_whose_gradient_is_not_finite_makes_a_bad_step(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descend = Judge._descend
    monkeypatch.setattr(
        Judge, "_descend", lambda self, cases, weights, step: descend(self, cases, weights * np.nan, step)
    )
    with pytest.raises(Diverged, match="3 steps in a row"):
        train(strip(model, algorithm="rlhf", steps=4), tmp_path / "run")
    assert [line["reward_model/dropped"] for line in lines(tmp_path / "run")] == [4] * 3
    assert [line["dropped"] for line in lines(tmp_path / "run")] == [0] * 3


def test_a_run_without_variance_says_so_and_stops(model: Path, tmp_path: Path) -> None:
    with pytest.raises(NoVariance, match=r"for 5 steps every group's episodes had one return \(within --tie\)\. "):
        train(strip(model, steps=9, reward={}, save_every=100, episodes_every=100), tmp_path / "run")
    assert [line["updates"] for line in lines(tmp_path / "run")] == [0] * 5
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["learned"] is False and summary["status"] == NoVariance.status == 3


def test_a_step_term_that_meets_no_state_twice_is_said(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = itertools.count()
    monkeypatch.setattr(Strip, "state_key", lambda self: next(keys))
    train(strip(model, steps=1, algorithm="gigpo", save_every=100, episodes_every=100), tmp_path / "run")
    said = capsys.readouterr()
    assert "100% of the decisions are alone in their step group" in said.out + said.err


def test_what_cannot_work_is_said_before_anything_is_trained(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(strip(model, steps=1), tmp_path / "run")
    with pytest.raises(ConfigError, match="already holds a run"):
        train(strip(model), tmp_path / "run")
    with pytest.raises(ConfigError, match="did you mean token"):
        strip(model, aggregation="tokn")
    with pytest.raises(ConfigError, match="max_tokens of at least 1, or take --aggregation token"):
        Learner(VLM.load(model), strip(model, aggregation="constant"), longest=0)
    blank = {k: v for k, v in vars(Strip).items() if k not in ("state_key", "privileged")}
    monkeypatch.setitem(worlds.TASKS, Strip.task_id, type("Blank", Strip.__bases__, blank))
    for name, needed in (("gigpo", "Keyed"), ("ppo_privileged", "Privileged")):
        with pytest.raises(MissingCapability, match=f"{name} needs worlds that are {needed} .* leave it out"):
            train(strip(model, algorithm=name), tmp_path / name)
    mute = type("Mute", Strip.__bases__, {k: v for k, v in vars(Strip).items() if k != "expert"})
    monkeypatch.setitem(worlds.TASKS, Strip.task_id, mute)
    with pytest.raises(MissingCapability, match="clone needs worlds that are Scripted"):
        train(strip(model, algorithm="clone"), tmp_path / "other")


def test_a_model_whose_output_is_not_finite_has_no_success(model: Path) -> None:
    vlm = VLM.load(model)
    with torch.no_grad():
        next(vlm.parameters()).fill_(np.nan)
    codec = codec_named("compact")
    agent = VLMAgent(vlm, codec, ContextBuilder(dialect_of(vlm), codec), Sampling(0.0, 4))
    with pytest.raises(Unsound, match=r"not finite.* another checkpoint"):
        evaluate(agent, [Strip.task_id], "heldout", 1)
