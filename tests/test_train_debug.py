"""The whole loop, end to end, on a random tiny model: both worlds, interrupted, resumed, on two ranks."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from episode import Trajectory
from policy.agent import VLMAgent, dialect_of
from policy.codecs import codec_named
from policy.context import ContextBuilder
from policy.engine import Engine, Sampling
from policy.families import ModelError
from policy.packing import Row
from policy.tiny import SMALLEST, build_tiny
from policy.vlm import VLM
from tests import fake_worlds
from tests.fake_worlds import Strip
from training import checkpoint, probe, record, worlds
from training.algorithms import ALGORITHMS
from training.checkpoint import CheckpointError
from training.config import PRESETS, Config, ConfigError
from training.evaluate import Unsound, evaluate
from training.judges import Judge
from training.loop import Interrupted, resumed, train
from training.probe import BlindPolicy
from training.rewards import TERMS
from training.run import Diverged, NoVariance
from training.samples import micro_batches
from training.start import MissingCapability
from training.update import Learner

TEXTS = ["go to the left edge", "go to the right edge", "click the button", "move the hand to the red marker"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build_tiny(folder, TEXTS, seed=0, shape=SMALLEST)
    return folder


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setitem(worlds.TASKS, Strip.task_id, Strip)
    fake_worlds.BREAK.clear()
    yield


def debug(model: Path, **changes: Any) -> Config:
    """The debug preset on a random model: it is paid for short replies, as it would earn nothing else."""
    changes = {"policy": str(model), "reward": {"task": 1.0, "subgoal": 1.0, "length": -0.01}, **changes}
    return dataclasses.replace(PRESETS["debug"], **changes)


def strip(model: Path, **changes: Any) -> Config:
    """On a world that costs nothing, in this process."""
    changes = {"tasks": Strip.task_id, "ranks": 1, "eval_episodes": 0, "group_size": 4, "world_timeout": 0, **changes}
    return debug(model, **changes)


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run: Path) -> dict[str, str]:
    """Digest of every file of the newest checkpoint that must not depend on when it was written."""
    newest = checkpoint.find(run)
    return {
        str(p.relative_to(newest)): hashlib.sha256(p.read_bytes()).hexdigest() for p in newest.rglob("*.safetensors")
    }


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
    assert all(line["logp_difference/max"] < 1e-3 for line in lines(straight))

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


@pytest.mark.parametrize("name", [*ALGORITHMS])
def test_each_algorithm_takes_its_steps(model: Path, tmp_path: Path, name: str) -> None:
    config = strip(
        model,
        algorithm=name,
        steps=2,
        kl=0.01,
        entropy=0.001,
        aggregation="sequence",
        minibatches=2,
        importance_cap=2.0,
    )
    train(config, tmp_path / name)
    first, second = lines(tmp_path / name)
    algorithm = ALGORITHMS[name]
    # A critic of turns that has learned nothing yet finds them all alike.
    assert first["updates"] == (0 if name == "sweet" else 2) and first["dropped"] == 0
    assert second["updates"] == 2 and second["grad_norm"] > 0
    assert ("entropy" in first) == ("kl/reference" in first) == (name != "sweet") and second["kl/reference"] > 0
    assert ("value/loss" in first) == algorithm.critic
    compared = not algorithm.expert and name != "sweet"  # else there is nothing to be all clear about
    assert ("logp_difference/mean" in first) == ("logp_difference/max" in first) == compared
    assert {key.split("/")[0] for key in first if key.endswith("/pairs")} == set(algorithm.judges)
    # Rollout and update agree here: nothing is stale.
    assert algorithm.expert or not first["updates"] or first["importance"] == pytest.approx(1, abs=1e-3)
    if name == "clone":
        assert first["success/gui"] == 1.0


def test_cloning_learns_what_the_expert_says(model: Path, tmp_path: Path) -> None:
    config = strip(model, algorithm="clone", steps=12, learning_rate=1e-2, save_every=100, episodes_every=100)
    train(config, tmp_path / "run")
    losses = [line["loss"] for line in lines(tmp_path / "run")]
    assert losses[-1] < 0.3 * losses[0]


def test_a_policy_that_cannot_be_told_apart_from_a_blind_one_is_refused(model: Path, tmp_path: Path) -> None:
    train(strip(model, steps=1), tmp_path / "run")
    episodes = [record.load(path) for path in record.find(tmp_path / "run" / "episodes")]
    vlm = VLM.load(model).eval()
    sight = probe.look(vlm, episodes)
    assert sight.change > 1e-5 and sight.blank == 0 and 1 <= sight.rows <= probe.ROWS
    assert sight.figures().keys() == {"sees/change", "sees/change/gui/1", "sees/blank"}
    sight.require()
    with torch.no_grad():
        vlm.model.model.visual.patch_embed.proj.weight.zero_()
    with pytest.raises(BlindPolicy, match="do not change when its images do"):
        probe.look(vlm, episodes).require()


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
        train(strip(model, steps=1, importance_cap=cap), tmp_path / f"{cap}")
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
    with pytest.raises(NoVariance, match=r"for 5 steps every group's episodes had the same return\. Use easier"):
        train(strip(model, steps=9, reward={}, save_every=100, episodes_every=100), tmp_path / "run")
    assert [line["updates"] for line in lines(tmp_path / "run")] == [0] * 5
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["learned"] is False and summary["status"] == NoVariance.status == 3


def test_groups_without_variance_are_played_again_and_counted(model: Path, tmp_path: Path) -> None:
    # Nothing is paid, so every group is flat: 2 groups of 4 episodes, then both again, and once more.
    train(strip(model, steps=1, reward={}, resample=2), tmp_path / "flat")
    [flat] = lines(tmp_path / "flat")
    assert flat["episodes"] == 24 and flat["groups/without_variance"] == 1
    # Every reply's length is paid: the first groups already differ, and the run is the one without dynamic sampling.
    train(strip(model, steps=1, resample=2), tmp_path / "varied")
    train(strip(model, steps=1), tmp_path / "plain")
    assert lines(tmp_path / "varied") == lines(tmp_path / "plain") and lines(tmp_path / "plain")[0]["episodes"] == 8


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


def test_two_ranks_take_the_step_that_one_takes_and_ctrl_c_saves(model: Path, tmp_path: Path) -> None:
    config = strip(model, steps=500, groups=3, ranks=2, imports=("tests.fake_strip",), save_every=500)
    program = (
        "import sys, json; from pathlib import Path; from training.config import Config; from training.loop import *\n"
        "if __name__ == '__main__':\n"
        "    try: train(Config.from_json(json.loads(sys.argv[1])), Path(sys.argv[2]))\n"
        "    except Interrupted as error: print('INTERRUPTED', error); sys.exit(7)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(program)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(
        [sys.executable, str(script), json.dumps(config.to_json()), str(tmp_path / "run")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        metrics = tmp_path / "run" / "metrics.jsonl"
        deadline = time.monotonic() + 300
        while not (metrics.is_file() and metrics.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to parent and ranks alike
        said, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 7 and "go on with --resume" in said
    done = checkpoint.load_state(checkpoint.find(tmp_path / "run"))["progress"]["step"]
    assert done >= 1 and len(lines(tmp_path / "run")) == done

    # One rank alone: the sum over ranks of gradients, each over the global token count, is the gradient of the whole.
    train(dataclasses.replace(config, ranks=1, steps=1), tmp_path / "one")
    one, two = lines(tmp_path / "one")[0], lines(tmp_path / "run")[0]
    assert one["tokens"] == two["tokens"] and one["return"] == pytest.approx(two["return"])
    assert one["grad_norm"] == pytest.approx(two["grad_norm"], rel=1e-4)
    assert one["entropy"] == pytest.approx(two["entropy"], rel=1e-5)


@pytest.mark.parametrize(("page", "name"), [("adding-an-algorithm", "reward-to-go"), ("adding-a-reward", "calm")])
def test_the_examples_of_the_guides_train(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, name: str
) -> None:
    for table in (ALGORITHMS, PRESETS, TERMS):
        # Restores whatever the example adds.
        monkeypatch.setitem(table, name, None)
        monkeypatch.setitem(table, "repeated", None)
        del table[name], table["repeated"]
    text = (Path(__file__).parent.parent / "docs" / f"{page}.md").read_text()
    programs = [p for p in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if p.startswith("# ")]
    exec(compile(programs[0], page, "exec"), {})
    mine = PRESETS[name]
    config = strip(model, steps=1, algorithm=mine.algorithm, reward={**mine.reward, "length": -0.01})
    train(config, tmp_path / "run")
    [line] = lines(tmp_path / "run")
    assert line["updates"] == 1
    assert name != "calm" or line["reward/repeated/gui/strip-v0"] > 0


def test_micro_batches_hold_their_budget_and_everything_once() -> None:
    def row(length: int, shade: int) -> Row:
        picture = np.full((4, 4, 3), shade, np.uint8)
        return Row(np.zeros(length - 2, np.int32), np.zeros(2, np.int32), (picture,))

    lengths = [5, 90, 7, 30, 31, 5, 200]
    batches = micro_batches([row(n, 0) for n in lengths], 100)
    # The two of length 5 are one packed row. Powers of two: 2·7, as 4·31 is too much; 2·31; 90 and 200 stand alone.
    assert batches == [[0, 5, 2], [3, 4], [1], [6]]
    # A family that does not pack: 2·5, as 4·30 is too much; 2·30; and 31 with 90 would be 180.
    assert micro_batches([row(n, 0) for n in lengths], 100, packs=False) == [[0, 5], [2, 3], [4], [1], [6]]
    # Of equally long rows those with one picture go together.
    shades = [1, 2, 1, 2, 1, 2, 2, 1]
    assert micro_batches([row(20 + i, s) for i, s in enumerate(shades)], 110) == [[0, 2, 4, 7], [1, 3, 5, 6]]


def test_a_missing_policy_is_said_before_anything_is_written(tmp_path: Path) -> None:
    config = dataclasses.replace(PRESETS["debug"], policy=str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match="holds no model"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_logged_rate_is_the_schedule_s_where_no_step_is_taken(model: Path) -> None:
    config = strip(model, steps=10, decay=1.0, warmup=4, learning_rate=1e-3)
    learner = Learner(VLM.load(model), config, longest=8)
    assert learner.update([], step=5)["learning_rate"] == pytest.approx(1e-3 * 0.25 * 0.5)
    learner.optimizer_steps = 4
    assert learner.update([], step=5)["learning_rate"] == pytest.approx(1e-3 * 0.5)


def test_a_run_that_lost_the_model_it_is_compared_with_is_not_resumed(model: Path, tmp_path: Path) -> None:
    start = shutil.copytree(model, tmp_path / "start")
    with pytest.raises(Interrupted):
        train(strip(start, steps=2, kl=0.1), tmp_path / "run", stop_at=1)
    build_tiny(start, TEXTS, seed=1, shape=SMALLEST)
    config, out = resumed(tmp_path / "run")
    with pytest.raises(CheckpointError, match="no longer the model that this run began with"):
        train(config, out, tmp_path / "run")


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


def test_a_model_whose_output_is_not_finite_has_no_success(model: Path) -> None:
    vlm = VLM.load(model)
    with torch.no_grad():
        next(vlm.parameters()).fill_(np.nan)
    codec = codec_named("compact")
    agent = VLMAgent(vlm, codec, ContextBuilder(dialect_of(vlm), codec), Sampling(1.0, 4, greedy=True))
    with pytest.raises(Unsound, match=r"not finite.* another checkpoint"):
        evaluate(agent, [Strip.task_id], "heldout", 1)


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
