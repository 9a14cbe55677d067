"""Films: the same slides as a page, a video and a GIF; what is drawn stands where it happened."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episode import Outcome, Task, Trajectory
from tests.synthetic import body_episode, screen_episode
from training.drawing import Stage, magnification
from training.play import FPS, FilmError, film, pictures
from training.slides import Motion, arrows, slides

PINK = (255, 45, 120)


def test_marks_are_what_was_done() -> None:
    shown = slides(screen_episode())
    assert [[m.shape for m in s.marks] for s in shown] == [["click"], ["text"], [], ["drag"]]  # the third was no action
    assert (shown[0].marks[0].x, shown[0].marks[0].y) == (40, 38)
    assert shown[1].marks[0].label == 'type "ada"'
    assert (shown[3].marks[0].x2, shown[3].marks[0].y2) == (90, 50)
    assert shown[0].terms == {"task": 0.0, "subgoal": pytest.approx(1 / 3)}
    assert shown[2].agent_terms == {"invalid": 1.0, "length": 7.0}


def test_a_chunk_is_one_motion() -> None:
    episode = body_episode()
    shown = slides(episode)
    moved = np.sum([step.action[:3] for step in episode.decisions[0].steps], axis=0)
    motion = shown[0].motion
    assert motion and np.allclose((motion.x, motion.y, motion.z), moved)
    assert [s.motion.grip for s in shown if s.motion] == [1.0, 1.0, 1.0, -1.0, -1.0]
    assert all(not s.marks for s in shown)  # no privileged state: where the hand is, nobody knows


def test_arrows_lie_where_the_cameras_see_the_motion() -> None:
    # The top camera shows ±0.265 m over 96 pixels around the origin: 10 cm to the right of the centre is
    # 48 + 48 / 0.265 · 0.1 = 66.1; 10 cm further back is that much up, 48 − 18.1 = 29.9.
    motion = Motion(0.1, 0.1, 0.0, 1.0)
    marks = {m.camera: m for m in arrows(np.zeros(3), motion, {"top": (96, 96, 3), "front": (96, 96, 3)})}
    top = marks["top"]
    assert (top.x, top.y) == (48.0, 48.0)
    assert top.x2 == pytest.approx(66.1, abs=0.05) and top.y2 == pytest.approx(29.9, abs=0.05)
    front = marks["front"]
    assert front.x2 > front.x and abs(front.y2 - front.y) < 3  # from the front, back is hardly seen
    assert not list(arrows(np.zeros(3), motion, {"wrist": (96, 96, 3)}))


def test_tokens_carry_their_own_advantage() -> None:
    episode = screen_episode()
    [first, *_] = slides(episode, lambda ids: [f"<{i}>" for i in ids])
    decision = episode.decisions[0]
    assert decision.advantages is not None
    assert [t.text for t in first.tokens] == [f"<{i}>" for i in decision.generations[0].reply_ids]
    assert [t.advantage for t in first.tokens] == pytest.approx(decision.advantages.tolist())
    assert [t.sampled for t in first.tokens][:3] == [True, False, True]


def test_pictures_are_one_size_and_show_the_click() -> None:
    episode = screen_episode()
    shown = list(pictures(episode))
    assert len({p.shape for p, _ in shown}) == 1
    height, width, _ = shown[0][0].shape
    assert height % 2 == 0 and width % 2 == 0
    assert len(shown) == 3 * 2 + 1 + 1  # three decisions with a mark, bare and marked, one without, and the end
    scale = magnification((128, 128))
    assert scale == 3
    centre = tuple(shown[1][0][16 + int(38.5 * scale), 16 + int(40.5 * scale)].tolist())
    assert centre == PINK
    assert tuple(shown[0][0][16 + int(38.5 * scale), 16 + int(40.5 * scale)].tolist()) != PINK


@pytest.mark.parametrize("episode", [screen_episode(), body_episode(success=False)], ids=["screen", "body"])
def test_films_of_each_kind(episode: Trajectory, tmp_path: Path) -> None:
    import imageio_ffmpeg  # type: ignore[import-untyped]

    gif = Image.open(film(episode, tmp_path / "a.gif"))
    assert getattr(gif, "n_frames") >= len(episode.decisions)  # noqa: B009
    mp4 = film(episode, tmp_path / "a.mp4")
    about = next(imageio_ffmpeg.read_frames(str(mp4)))
    tenths = sum(t for _, t in pictures(episode))
    assert about["fps"] == FPS and about["duration"] == pytest.approx(tenths / FPS, abs=0.3)
    page = film(episode, tmp_path / "a.html").read_text("utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found and json.loads(found[1])["episodes"][0]["outcome"] == episode.outcome.value
    assert "http" not in page.replace("http-equiv", "")


def test_an_episode_that_never_began(tmp_path: Path) -> None:
    broken = Trajectory(Task("gui/x-v0", "", (), 1), Outcome.INFRA_ERROR, [], {}, error="the world broke")
    assert Stage(broken, []).picture(None, 0).shape[2] == 3
    for suffix in (".html", ".gif", ".mp4"):
        assert film(broken, tmp_path / f"a{suffix}").stat().st_size > 0


def test_a_format_that_nobody_can_write(tmp_path: Path) -> None:
    with pytest.raises(FilmError, match=r"\.html, \.mp4, \.gif"):
        film(screen_episode(), tmp_path / "a.avi")
