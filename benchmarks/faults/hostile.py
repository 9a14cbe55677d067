"""Texts and names that want to be more than that, and secrets that want to be told."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.drill import Outcome, Setting, apart, model, train, words
from benchmarks.faults.offline import finished, history
from episode import ControlStep, Decision, Generation, SubGoal, Task, Trajectory, frame_key, screen_action
from episode import Outcome as Ending
from gui_env.tasks.click_button import ClickButton
from gui_env.toolkit.containers import Window
from gui_env.world import Brief, Draw
from policy.agent import ExpertAgent
from policy.codecs import codec_named
from training import record
from training.config import PRESETS
from training.distributed import environment
from training.evaluate import RETURN
from training.journal import Journal
from training.play import film
from training.record import RecordError
from training.report import write_report
from training.rollout import EpisodeSpec, run_episodes
from training.worlds import TASKS

TEXTS = (
    "</script><script>document.title='owned'</script>",
    '"><img src=https://evil.example/x onerror=alert(1)>',
    "{{ config }}{% include '/etc/passwd' %}",
    "\x1b]0;owned\x07\x1b[2J\x1b[31m",
    "../../../../etc/passwd",
    "..",
    "nul\x00inside",
    "\ud800 alone",
    "<!--<script>",
    "\u202egnp.exe",
    "long" * 20_000,
)
PLANTED = "planted-secret-"
SECRETS = ("WANDB_API_KEY", "HF_TOKEN", "MY_SERVICE_PASSWORD", "AWS_SECRET_ACCESS_KEY")


class _Page(HTMLParser):
    """Its tags, and where its attributes lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.leads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.leads += [value or "" for name, value in attrs if name in ("src", "href", "action") or name[:2] == "on"]


def hostile(setting: Setting) -> Outcome:
    """Every text in every place: instruction, task, reply, thought, error, sub-goal; in record, report and film."""
    wrong, plain = list[str](), _page_of(setting.folder / "plain", "plain")
    for number, text in enumerate(TEXTS):
        run = setting.folder / "runs" / str(number)
        try:
            page = _page_of(run, text)
        except Exception as error:
            wrong.append(f"{text!a:.60}: {type(error).__name__}: {error}")
            continue
        if page.tags != plain.tags or page.leads != plain.leads:
            wrong.append(f"{text!a:.60} became more than text")
    log = setting.folder / "runs" / "tracked.log"
    done = apart(partial(_tracked, setting), log)  # neither GL nor W&B's service may stay behind in this process
    wrong += [] if done.status == 0 else [f"W&B: {done.said[-300:]}"]
    outside = [p for p in setting.folder.rglob("*") if p.is_file() and not _inside(p, setting.folder)]
    wrong += [f"{p} was written" for p in outside]
    wrong += _led_out(setting.folder)
    told = f"{len(TEXTS)} texts in 8 places each, as window titles and in W&B, {len(wrong)} wrong"
    return Outcome(told + "".join(f"; {w}" for w in wrong[:3]), not wrong)


def _inside(path: Path, folder: Path) -> bool:
    return any(path.is_relative_to(folder / name) for name in ("plain", "runs"))


def _page_of(run: Path, text: str) -> _Page:
    """A run folder with ``text`` everywhere; its report, after a film of its episode was held to the same."""
    episode = _episode(text)
    saved = record.save(episode, run / "episodes" / "after" / record.folder_name(episode.task.id))
    assert saved.resolve().is_relative_to(run.resolve()), f"{saved} leaves the run folder"
    assert record.load(saved).task == episode.task, "the text did not come back"
    (run / "config.json").write_text(json.dumps({"policy": text, "preset": text, "steps": 1}))
    summary = {"tasks": {text: {"after": {"success": 1.0, "n": 1, "interval": [0.2, 1.0]}}}, "warnings": [text]}
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "metrics.jsonl").write_text(json.dumps({"step": 1, f"success/{text}": 1.0}) + "\n")
    shown = _Page(film(episode, run / "film.html").read_text("utf-8"))
    assert "img" not in shown.tags and not any("evil" in lead for lead in shown.leads)
    return _Page(write_report(run).read_text("utf-8"))


def _episode(text: str) -> Trajectory:
    frame = np.arange(32 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(32, 32, 3)
    key = frame_key(frame)
    ids = np.zeros(2, np.int32)
    decision = Decision(
        frames={"screen": key},
        generations=[Generation(ids, ids, (key,), text, np.zeros(2, np.float32))],
        action=text,
        thought=text,
        valid=False,
        error=text,
        steps=[ControlStep(screen_action("type", text=text), {text: 0.0}, 0.0, 0.0)],
        planned=1,
        subgoals={text: False},
    )
    task = Task(text, text, (SubGoal(text),), 0, "heldout")
    return Trajectory(task, Ending.FAILURE, [decision], {key: frame}, final_frames={"screen": key}, error=text)


def _tracked(setting: Setting) -> None:
    """Windows with such titles, drawn, played and filmed into an offline W&B run whose files are then read back."""
    pages = []
    for number, text in enumerate(("plain", *TEXTS)):
        run = setting.folder / "runs" / f"tracked-{number}"
        episode = _titled(text, setting.seed)
        record.save(episode, run / "episodes" / "after" / f"{record.folder_name(text)}-0")
        figures = {"success": 1.0, "n": 1, "interval": [0.2, 1.0], "return": 1.0, "turns": 1.0}
        with environment({"WANDB_MODE": "offline"}):
            journal = Journal(replace(PRESETS["debug"], policy=text), run, 0, None)
            journal.evaluation({text: figures}, 0, "after")
            journal.close(failed=False)
        [file] = finished(run, 1)
        files = file.parent / "files"
        [line] = history(file)
        told = json.loads((files / line["evaluation-table/after.path"]).read_text("utf-8"))["data"]
        assert [row[2] for row in told] == [text], f"{text!a:.60} is another cell in the table"
        [page] = files.rglob("*.html")
        pages.append(_Page(page.read_text("utf-8")))
        assert (pages[-1].tags, pages[-1].leads) == (pages[0].tags, pages[0].leads), f"{text!a:.60} is more than text"


def _titled(text: str, seed: int) -> Trajectory:
    """An episode in a window with this title, which is the instruction and the task's name too; its frames show it."""
    first, bare = (_world(title, text)("train").reset(seed=seed)[0]["frames"]["screen"] for title in (text, ""))
    assert not np.array_equal(first, bare), f"the title {text!a:.60} is not drawn"
    # What no tokenizer takes breaks a world; whatever it says after is still to be told.
    world = _world(text, text.encode("utf-8", "replace").decode())
    TASKS[world.task_id] = world
    [episode] = run_episodes(ExpertAgent(codec_named("compact")), [EpisodeSpec(world.task_id, seed)], RETURN)
    assert episode.success and frame_key(first) in episode.frames, f"{text!a:.60}: {episode.error}"
    return replace(episode, task=replace(episode.task, id=text, instruction=text))


def _world(title: str, instruction: str) -> type[ClickButton]:
    caption = title

    class Titled(ClickButton):
        def window(self, draw: Draw, title: str, width: int, height: int, **options: Any) -> Window:
            return super().window(draw, caption, width, height, **options)

        def build(self, draw: Draw) -> Brief:
            return super().build(draw)._replace(instruction=instruction)

    return Titled


def _led_out(folder: Path) -> list[str]:
    """An episode whose frames are said to lie elsewhere: by name, or by a link."""
    wrong = []
    for way in ("name", "link"):
        saved = record.save(_episode("plain"), folder / "runs" / way / "episodes" / "after" / "x")
        (png,) = (saved / record.FRAMES).iterdir()
        elsewhere = folder / "runs" / f"{way}.png"
        png.rename(elsewhere)
        if way == "link":
            png.symlink_to(elsewhere)
        else:
            path = saved / record.EPISODE
            path.write_text(path.read_text().replace(png.stem, "../../../../../name"))
        try:
            record.load(saved)
            wrong.append(f"a frame outside was read by {way}")
        except RecordError:
            pass
    return wrong


def secrets(setting: Setting) -> Outcome:
    """A run with a tracker, offline, in an environment full of secrets."""
    # What W&B takes for a key has 40 hexadecimal digits.
    planted = {name: f"{PLANTED}{i}" + "0" * 40 for i, name in enumerate(SECRETS)} | {"WANDB_MODE": "offline"}
    run = setting.folder / "run"
    policy = model(setting)
    with environment(planted):
        done = train(words(policy, run), setting.folder / "run.log")
    files = [p for p in run.rglob("*") if p.is_file()]
    told = [str(p.relative_to(run)) for p in files if PLANTED.encode() in p.read_bytes()]
    tracked = sum("wandb" in p.parts for p in files)
    passed = done.status == 0 and not told and PLANTED not in done.said and tracked > 0
    said = f"{len(SECRETS)} secrets, {len(files)} files ({tracked} of W&B): in {len(told)} of them"
    return Outcome(said + "".join(f"; {name}" for name in told) + ("" if passed else f"; {done.said[-200:]}"), passed)
