"""The command line: what it prints and writes, what it says about mistakes, and with which status it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from gui_env.tasks.click_button import ClickButton
from tests.synthetic import write_run
from training.__main__ import COMMANDS, main
from training.config import Config

STRIP = "gui/strip-v0"
"""A task of tests/fake_worlds.py, which a module named by --import registers."""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))


def handeye(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def test_help_answers_at_once() -> None:
    code = """
import sys
from training.__main__ import main
for words in (["--help"], ["train", "--help"], ["eval", "-h"], ["play", "-h"], ["report", "-h"], ["list", "-h"]):
    try:
        main(words)
    except SystemExit as end:
        assert end.code == 0, words
assert not {"torch", "transformers", "mujoco", "wandb"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for word in (*COMMANDS, "--resume", "--learning-rate", "--import", "--split", "examples:"):
        assert word in done.stdout


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert handeye("list", "--json", tmp_path / "list.json") == 0
    told = read(tmp_path / "list.json")
    assert {"gui/login-form-v0", "sims/put-in-bowl-v0"} <= set(told["tasks"])
    assert {"default", "ppo", "debug"} <= set(told["presets"]) and {"grpo", "ppo"} <= set(told["algorithms"])
    assert set(told["codecs"]) >= {"compact", "qwen"} and "base" in told["models"]
    out = capsys.readouterr().out
    for entries in told.values():
        for name, line in entries.items():
            assert line and any(name in row and line in row for row in out.splitlines())  # a line each


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("lst", "list"),
        ("train defalt", "did you mean default"),
        ("train --tasks gui/click", "gui/click-button-v0"),
        ("train --algorithm grppo", "grpo"),
        ("train --group-size 1", "a group of 1 has none: --group-size 2"),
        ("train ppo --resample 2", "--resample 0"),
        ("train --judge-steps 2", "gigpo has no judges: --judge-steps 0"),
        ("train rlhf --steps 16", "judge_steps = 16: must be less than steps = 16"),
        ("train --resample -1", "must be 0 or more"),
        ("train --policy bse", "did you mean base"),
        ("train --reward.lenght 1", "did you mean length"),
        ("train --stepz 3", "--steps"),
        ("train --steps 0", "must be at least 1"),
        ("train --keep 0", "must be at least 1"),
        ("train --episodes-every 0", "must be at least 1"),
        ("train --ranks -1", "must be 0 or more"),
        ("train --eval-episodes -1", "must be 0 or more"),
        ("train --clip-high inf", "must be a finite number"),
        ("train --kl -0.1", "must be 0 or more"),
        ("train --decay 1.5", "must be in [0, 1]"),
        ("train --dual-clip 0.5", "must be 0 (without) or above 1"),
        ("train dpo --aggregation sequence", "--aggregation token"),
        ("train debug --resume nowhere", "leave out 'debug'"),
        ("train --resume nowhere", "nowhere holds no checkpoint"),
        ("play gui/clik-button --out a.html", "gui/click-button-v0"),
        ("play sims/reach-v0 --policy noop --out a.avi", ".mp4"),
        ("play sims/reach-v0 --codec qwenn", "qwen"),
        ("eval --policy expart", "did you mean expert"),
        ("eval --policy expert --tasks sim", "sims"),
        ("eval --policy expert --episodes 0", "at least 1"),
        ("eval --policy base --temperature -1", "--temperature -1.0: at least 0"),
        ("play gui/click-button-v0 --policy base --temperature nan", "--temperature nan: at least 0"),
        ("report nowhere", "no run folder"),
        ("list --import no_such_module", "no_such_module"),
        ("report {run} --json {run}/config.json/a.json", "cannot be written"),
    ],
)
def test_mistakes_are_one_clear_line(
    words: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if "{run}" in words:
        words = words.format(run=write_run(tmp_path / "a", steps=2))
    before = set(tmp_path.iterdir())
    assert handeye(*words.split()) == 2
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error
    assert set(tmp_path.iterdir()) == before  # nothing half made


def test_what_nobody_foresaw_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = types.ModuleType("broken_command")

    def run(argv: list[str]) -> None:
        raise ZeroDivisionError(argv)

    broken.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "broken_command", broken)
    monkeypatch.setitem(COMMANDS, "broken", ("broken_command", ""))
    with pytest.raises(ZeroDivisionError):
        main(["broken"])


def test_play_and_eval_scripted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a" / "click.html"
    words = ("play", "gui/click-button-v0", "--policy", "expert", "--out", out, "--json", tmp_path / "play.json")
    assert handeye(*words) == 0
    told = read(tmp_path / "play.json")
    assert told["success"] and told["outcome"] == "success" and told["seed"] == 1_000_000 and out.stat().st_size > 5000
    assert told["instruction"] in capsys.readouterr().out
    still = ("eval", "--policy", "noop", "--tasks", "gui/click-button-v0", "--episodes", 3, "--split", "train")
    assert handeye(*still, "--json", tmp_path / "eval.json") == 0
    figures = read(tmp_path / "eval.json")["tasks"]["gui/click-button-v0"]
    assert {"success", "n", "interval", "return", "turns"} <= set(figures)
    assert figures["success"] == 0 and figures["n"] == 3
    assert figures["interval"][1] == pytest.approx(0.5615, abs=1e-3)  # Wilson: 1.96² / (3 + 1.96²) = 3.8415 / 6.8415


def test_what_could_not_be_played_is_no_failure_of_the_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: ClickButton, **_: object) -> None:
        raise RuntimeError("no such screen")

    monkeypatch.setattr(ClickButton, "reset", broken)
    task, out = "gui/click-button-v0", tmp_path / "a.html"
    words = ("eval", "--policy", "noop", "--tasks", task, "--episodes", 2, "--json", tmp_path / "eval.json")
    monkeypatch.setattr(Config, "world_timeout", 0.0)  # in this process, where it is broken
    assert handeye(*words) == 2
    figures, said = read(tmp_path / "eval.json")["tasks"][task], capsys.readouterr().out
    assert figures["success"] is None and figures["n"] == 0 and figures["infra_errors"] == 2
    assert "not played" in said and f"not one of 2 episodes could be played: {task}" in said and "0 %" not in said
    assert handeye("play", task, "--policy", "noop", "--out", out, "--json", tmp_path / "play.json") == 2
    told = read(tmp_path / "play.json")
    assert told["success"] is None and told["outcome"] == "infra_error" and told["out"] is None and not out.exists()
    assert "no such screen" in told["error"] and "no such screen" in capsys.readouterr().out


def test_a_run_that_learned_nothing_has_a_status_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = types.ModuleType("learned_nothing")
    module.run = lambda argv: {"learned": False, "status": 3}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "learned_nothing", module)
    monkeypatch.setitem(COMMANDS, "train", ("learned_nothing", ""))
    assert handeye("train", "--json", tmp_path / "out.json") == 3
    assert read(tmp_path / "out.json")["learned"] is False


def test_train_resume_eval_play_report_with_a_module_of_ones_own(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "tests.fake_strip", raising=False)  # what another test imported registers no more
    run, own = tmp_path / "run", ("--import", "tests.fake_strip")
    small = ("--ranks", 1, "--group-size", 4, "--eval-episodes", 2, "--eval-temperature", 0.5, "--reward.length", -0.01)
    words = ("train", "debug", *own, "--tasks", STRIP, "--policy", model, *small, "--steps", 1, "--out", run)
    assert handeye(*words, "--json", tmp_path / "train.json") == 0
    summary = read(tmp_path / "train.json")
    assert summary == read(run / "summary.json") and set(summary["tasks"][STRIP]) == {"before", "after"}
    assert read(run / "config.json")["reward"]["length"] == -0.01
    assert read(run / "config.json")["imports"] == ["tests.fake_strip"]
    assert STRIP in (run / "report.html").read_text("utf-8")
    assert handeye(*words) == 2  # there is a run in it

    assert handeye("train", "--resume", run, "--steps", 2) == 0
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]

    judge = ("eval", *own, "--policy", run, "--tasks", STRIP, "--episodes", 2, "--json", tmp_path / "eval.json")
    assert handeye(*judge) == 0
    after = read(run / "summary.json")["tasks"][STRIP]["after"]
    assert {k: read(tmp_path / "eval.json")["tasks"][STRIP][k] for k in after} == after  # the run's own manner
    assert handeye("play", *own, STRIP, "--policy", run, "--out", tmp_path / "a.html") == 0
    page = (tmp_path / "a.html").read_text("utf-8")
    assert '"tokens":[["' in page and "what the model read" in page
    (run / "report.html").unlink()
    assert handeye("report", run, "--json", tmp_path / "report.json") == 0
    assert read(tmp_path / "report.json") == {"report": str(run / "report.html")} and (run / "report.html").is_file()
