"""The whole loop, end to end, on a random tiny model: both worlds, every algorithm, on two ranks."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from policy.vlm import BASE, VLM
from tests.run_helpers import lines, strip
from training import checkpoint, record
from training.algorithms import ALGORITHMS
from training.config import PRESETS, Config
from training.loop import train
from training.players import found
from training.rewards import TERMS
from training.update import Learner


@pytest.mark.parametrize("name", [*ALGORITHMS])
def test_each_algorithm_takes_its_steps(model: Path, tmp_path: Path, name: str) -> None:
    # Turns of the random model do nothing, all of them the same; those of the base differ, and can be preferred.
    config = strip(
        BASE if name == "sweet" else model,
        algorithm=name,
        steps=2,
        kl=0.01,
        entropy=0.001,
        aggregation="constant" if ALGORITHMS[name].direct else "sequence",
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


@pytest.mark.parametrize("name", ["grpo", "ppo", "clone"])
def test_a_conversation_is_learned_from_as_it_was_said(model: Path, tmp_path: Path, name: str) -> None:
    """Turns that go on from turns: rollout, which remembers, and update, which packs, agree about every token."""
    run = tmp_path / name
    train(strip(model, algorithm=name, steps=2, conversation=True, bf16=False, episodes_every=1), run)
    first, second = lines(run)
    assert first["updates"] and second["updates"] and not first["dropped"]
    if name != "clone":
        assert first["logp_difference/max"] < 1e-4 and second["logp_difference/max"] < 1e-4
    [episode, *_] = [record.load(path.parent) for path in sorted((run / "episodes").rglob(record.EPISODE))]
    turns = [d.generations[-1] for d in episode.decisions]
    assert len(turns) > 1 and all(
        later.prompt_ids[: len(now.prompt_ids)].tolist() == now.prompt_ids.tolist()
        for now, later in itertools.pairwise(turns)
    )
    assert [len(turn.images) for turn in turns] == list(range(1, len(turns) + 1))
    # As long as it may be: the same run under a config from its checkpoint plays in the same manner.
    assert found(str(run))[1].conversation


def test_groups_without_variance_are_played_again_and_counted(model: Path, tmp_path: Path) -> None:
    # Nothing is paid, so every group is flat: 2 groups of 4 episodes, then both again, and once more.
    train(strip(model, steps=1, reward={}, resample=2), tmp_path / "flat")
    [flat] = lines(tmp_path / "flat")
    assert flat["episodes"] == 24 and flat["groups/without_variance"] == 1
    # So is one whose differences are too small to prefer anything by.
    train(strip(model, steps=1, algorithm="dpo", resample=2, tie=99.0), tmp_path / "ties")
    assert lines(tmp_path / "ties")[0]["episodes"] == 24
    # Every reply's length is paid: the first groups already differ, and the run is the one without dynamic sampling.
    train(strip(model, steps=1, resample=2), tmp_path / "varied")
    train(strip(model, steps=1), tmp_path / "plain")
    assert lines(tmp_path / "varied") == lines(tmp_path / "plain") and lines(tmp_path / "plain")[0]["episodes"] == 8


def long(model: Path) -> Config:
    """A run on two ranks that nobody would wait for."""
    return strip(model, steps=500, groups=3, ranks=2, imports=("tests.fake_strip",), save_every=500, world_timeout=60.0)


def asked_to_stop(by: signal.Signals, config: Config, folder: Path) -> None:
    """Begin a run in ``folder / "run"``, signal its process group after a step, and see that it saves and ends."""
    program = (
        "import sys, json; from pathlib import Path; from training.config import Config; from training.loop import *\n"
        "if __name__ == '__main__':\n"
        "    try: train(Config.from_json(json.loads(sys.argv[1])), Path(sys.argv[2]))\n"
        "    except Interrupted as error: print('INTERRUPTED', error); sys.exit(7)\n"
    )
    script = folder / "script.py"
    script.write_text(program)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(
        [sys.executable, str(script), json.dumps(config.to_json()), str(folder / "run")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        metrics = folder / "run" / "metrics.jsonl"
        deadline = time.monotonic() + 300
        while not (metrics.is_file() and metrics.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, by)  # to parent and ranks alike
        said, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 7 and "go on with --resume" in said
    done = checkpoint.load_state(checkpoint.find(folder / "run"))["progress"]["step"]
    assert done >= 1 and len(lines(folder / "run")) == done


def test_a_run_that_a_scheduler_ends_saves(model: Path, tmp_path: Path) -> None:
    asked_to_stop(signal.SIGTERM, long(model), tmp_path)


def test_two_ranks_take_the_step_that_one_takes_and_ctrl_c_saves(model: Path, tmp_path: Path) -> None:
    config = long(model)
    asked_to_stop(signal.SIGINT, config, tmp_path)
    # One rank alone: the sum over ranks of gradients, each over the global token count, is the gradient of the whole.
    train(dataclasses.replace(config, ranks=1, steps=1), tmp_path / "one")
    one, two = lines(tmp_path / "one")[0], lines(tmp_path / "run")[0]
    assert one["tokens"] == two["tokens"] and one["return"] == pytest.approx(two["return"])
    assert one["grad_norm"] == pytest.approx(two["grad_norm"], rel=1e-4)
    assert one["entropy"] == pytest.approx(two["entropy"], rel=1e-5)
    for row in map(json.loads, (tmp_path / "run" / "timings.jsonl").read_text().splitlines()):
        assert 0 < row["worlds_share"] < 1, "some of the CPU time went to the worlds' processes"


@pytest.mark.parametrize(("page", "name"), [("adding-an-algorithm", "reward-to-go"), ("adding-a-reward", "calm")])
def test_the_examples_of_the_guides_train(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, name: str
) -> None:
    for table in (ALGORITHMS, PRESETS, TERMS):
        # Restores whatever the example adds.
        monkeypatch.setitem(table, name, None)
        monkeypatch.setitem(table, "repeated", None)
        del table[name], table["repeated"]
    text = (Path(__file__).parents[2] / "docs" / f"{page}.md").read_text()
    programs = [p for p in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if p.startswith("# ")]
    exec(compile(programs[0], page, "exec"), {})
    mine = PRESETS[name]
    config = strip(model, steps=1, algorithm=mine.algorithm, reward={**mine.reward, "length": -0.01})
    train(config, tmp_path / "run")
    [line] = lines(tmp_path / "run")
    assert line["updates"] == 1
    assert name != "calm" or line["reward/repeated/gui/strip-v0"] > 0


def test_the_logged_rate_is_the_schedule_s_where_no_step_is_taken(model: Path) -> None:
    config = strip(model, steps=10, decay=1.0, warmup=4, learning_rate=1e-3)
    learner = Learner(VLM.load(model), config, longest=8)
    assert learner.update([], step=5)["learning_rate"] == pytest.approx(1e-3 * 0.25 * 0.5)
    learner.optimizer_steps = 4
    assert learner.update([], step=5)["learning_rate"] == pytest.approx(1e-3 * 0.5)
