"""The report: one file from the folder alone, that asks nobody and shows what models say as text."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from tests.synthetic import body_episode, screen_episode, write_run
from training import record
from training.page import Gallery, episode_data
from training.report import ReportError, _spread, charts, pieces_of, read_lines, render, write_report

HOSTILE = '</script><script>document.title=\'owned\'</script><img src="https://evil.example/x.png" onerror="alert(1)">'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("runs") / "fine", steps=40)
    write_report(folder)
    return folder


class Page(HTMLParser):
    """Every attribute and tag of a page, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.scripts: list[str] = []
        self.data = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.addresses += [values[name] or "" for name in ("src", "href", "action", "data", "poster") if name in values]
        self._inside = tag if tag != "script" else values.get("type") or "script"

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        if self._inside == "application/json":
            self.data += data


def test_no_request_leaves_the_file(run: Path) -> None:
    text = (run / "report.html").read_text("utf-8")
    page = Page(text)
    assert page.addresses == ["data:,"]  # the icon
    assert not re.search(
        r"https?:|//[a-z]|@import|url\(|\bfetch\(|XMLHttp|import\(", text.replace(page.data, "").replace("// ", "")
    )
    assert "default-src 'none'" in text
    assert all(image["uri"].startswith("data:image/webp;base64,") for image in json.loads(page.data)["frames"].values())


def test_hostile_text_is_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=3)
    shutil.rmtree(run / "episodes")
    episode = screen_episode(instruction=HOSTILE, thought=HOSTILE)
    episode.decisions[0].action = episode.decisions[0].error = HOSTILE
    record.save(episode, run / "episodes" / "after" / "gui")
    (run / "config.json").write_text(json.dumps({"policy": HOSTILE, "steps": 3}))
    text = write_report(run).read_text("utf-8")
    page = Page(text)
    assert page.tags.count("script") == 2 and "img" not in page.tags
    assert "<script>document" not in text and "<img src" not in text
    assert json.loads(page.data)["episodes"][0]["instruction"] == HOSTILE  # nothing was lost either
    assert not any("innerHTML" in script.replace("never innerHTML", "") for script in page.scripts)


def test_it_shows_the_run(run: Path) -> None:
    text = (run / "report.html").read_text("utf-8")
    data = json.loads(Page(text).data)
    assert "finished" in text and "13 min 32 s" in text
    assert "62 %" in text and "53 % to 71 %" in text and "+28" in text  # click-button, worked from tests/synthetic.py
    titles = [chart["title"] for chart in data["charts"]]
    assert titles[:4] == ["Success while training", "Success by task", "Return", "Reward terms"]
    assert {"Entropy", "KL", "Clipped share", "Gradient norm"} <= set(titles)
    assert [s["name"] for s in data["charts"][0]["series"]] == ["gui", "sims"]
    assert len(data["charts"][0]["series"][0]["x"]) == 40
    labels = [e["label"] for e in data["episodes"] if e["task"] == "gui/login-form-v0"]
    assert labels == ["before training"] * 2 + ["after training"] * 2 + ["while training"] * 2


def test_reward_terms_are_means_over_tasks() -> None:
    # (1 + 3) / 2 = 2 of the tasks that were played; a NaN is left out.
    rows = [{"step": 1, "reward/task/gui/a": 1.0, "reward/task/sims/b": 3.0, "kl": float("nan")}]
    [chart] = charts(rows)
    assert chart["title"] == "Reward terms"
    assert chart["series"] == [{"name": "task", "colour": 0, "x": [1], "y": [2.0]}]


def test_frames_are_stored_once_and_exactly() -> None:
    gallery, episode = Gallery(), screen_episode()
    data = episode_data(episode, gallery, "x")
    keys = {key for slide in data["slides"] for key in slide["frames"].values()} | set(data["end"].values())
    assert set(gallery.images) == keys and len(keys) < len(data["slides"]) + 1
    for key, image in gallery.images.items():
        pixels = Image.open(io.BytesIO(base64.b64decode(image["uri"].split(",")[1])))
        np.testing.assert_array_equal(np.asarray(pixels.convert("RGB")), episode.frames[key])
    episode_data(body_episode(), gallery, "y")
    assert len(gallery.images) == len(keys) + len(body_episode().frames)


def test_a_run_in_progress_and_a_torn_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=5, finished=False)
    (run / "summary.json").unlink()
    assert len(read_lines(run / "metrics.jsonl")) == 5  # the sixth was cut short
    (run / "episodes" / "before" / "gui-login-0" / "episode.json").write_text('{"schema": 1, "ta')
    checkpoint = run / "checkpoints" / "step-000002"
    checkpoint.mkdir(parents=True)
    before: dict[str, Any] = {"gui/login-form-v0": {"success": 0.25, "n": 8, "interval": [0.07, 0.59]}}
    state = {"progress": {"before": before, "seconds": 61.0, "tokens": 5}}
    (checkpoint / "state.json").write_text(json.dumps(state))
    text = write_report(run).read_text("utf-8")
    assert "step 5 of 5" in text and "25 %" in text and "not yet" in text and "cannot be read as an episode" in text


def test_a_folder_with_a_config_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert "step 0" in write_report(tmp_path).read_text("utf-8")


def test_what_no_run_writes_is_one_clear_error_or_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=3)
    tokenizer = run / "checkpoints" / ".step-000003.partial" / "model" / "tokenizer.json"
    tokenizer.parent.mkdir(parents=True)
    tokenizer.write_text('{"ve')  # cut short, and hidden
    assert pieces_of(run) is None
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": "many", "entropy": 1}\n{"step": null}\n\xff\n')
    (run / "config.json").write_bytes(b'{"steps": "\xff"}')
    assert "finished" in write_report(run).read_text("utf-8")
    seen = run / "checkpoints" / "step-000003" / "model" / "tokenizer.json"
    seen.parent.mkdir(parents=True)
    seen.write_text('{"ve')
    assert pieces_of(run) is None
    (seen.parent.parent / "state.json").write_bytes(b'{"progress": "\xff"}')
    (run / "summary.json").unlink()
    write_report(run)
    (seen.parent.parent / "state.json").write_text('{"progress": {"before": 3}}')
    with pytest.raises(ReportError, match="holds what no run writes"):
        write_report(run)


def test_an_episode_whose_parts_do_not_fit_is_a_notice(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=3)
    folder = run / "episodes" / "before" / "gui-login-0"
    episode = record.load(folder)
    episode.decisions[0].advantages = np.zeros(1, np.float32)
    record.save(episode, folder)
    assert "cannot be shown as an episode: IndexError" in write_report(run).read_text("utf-8")


def test_of_a_long_run_it_shows_episodes_from_first_to_last(tmp_path: Path) -> None:
    folders = [tmp_path / "episodes" / f"step-{step:06d}" / "reach" for step in range(1, 402, 10)]
    shown = _spread([tmp_path / "episodes" / "before" / "reach-0", *folders])
    assert shown[0].parent.name == "before" and len(shown) == 13
    steps = [int(folder.parent.name[-6:]) for folder in shown[1:]]
    assert steps[0] == 1 and steps[-1] == 401 and max(np.diff(steps)) <= 40


def test_a_report_is_not_written_through_a_link(tmp_path: Path) -> None:
    run, victim = write_run(tmp_path / "run", steps=3), tmp_path / "victim"
    victim.write_text("precious")
    for name in ("report.html", "report.html.part", ".report.html.part"):
        (run / name).symlink_to(victim)
    assert write_report(run).stat().st_size > 1000 and not (run / "report.html").is_symlink()
    assert victim.read_text() == "precious"


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no run folder"):
        write_report(tmp_path)


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_a_browser_plays_it(run: Path) -> None:
    """In a real browser: no script error, no request, charts and a player drawn, the end reached by stepping."""
    errors: list[str] = []
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), timeout=120_000)
        page = browser.new_page(viewport={"width": 1280, "height": 2000})
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((run / "report.html").as_uri())
        player = page.locator(".player").first
        step = player.get_by_title("step on", exact=True)
        for _ in range(9):
            step.click()
        shown = player.locator("img").first
        shown.evaluate("picture => picture.decode()")
        assert page.locator("#charts svg path.smooth").count() > 8
        assert page.locator(".pair > .card").count() == 3
        assert player.locator(".place").inner_text() == "end"
        assert player.locator(".verdict").inner_text() == "Out of time."
        assert shown.evaluate("picture => picture.naturalWidth") == 128
        browser.close()
    assert not errors
    assert [url for url in asked if not url.startswith("data:")] == [(run / "report.html").as_uri()]


def test_a_task_that_could_not_be_played_has_no_share(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=2)
    summary = json.loads((run / "summary.json").read_text())
    for moments in summary["tasks"].values():
        moments["after"] = {"success": None, "n": 0, "interval": [0.0, 1.0]}
    (run / "summary.json").write_text(json.dumps(summary))
    assert "not yet" in render(run)


def test_worlds_that_broke_are_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=2)
    assert "worlds that broke" not in render(run)
    summary = json.loads((run / "summary.json").read_text())
    summary["infra"] = {"retried": 3, "dropped": 8, "unevaluated": 0}
    (run / "summary.json").write_text(json.dumps(summary))
    assert "worlds that broke" in (page := render(run)) and "3 retried, 8 dropped, 0 unevaluated" in page
