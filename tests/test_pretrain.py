"""Pretraining: labels and questions by hand, and a run of a few steps that is resumed."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

import gui_env
from episode import SceneObject, TextRun
from gui_env.gallery import random_screen
from gui_env.tasks.set_checkboxes import SetCheckboxes
from perception import questions
from perception.dense import ALPHABET, Classes, dense_labels
from perception.questions import screen_questions, table_questions
from policy.codecs.compact import Compact, centre
from policy.tiny import TinyShape
from policy.vlm import VLM
from sims import draw
from sims.arm import WORKSPACE
from training import worlds
from training.blind import BLIND, Blind
from training.card import write_card
from training.config import ConfigError
from training.distributed import launch
from training.mixture import DemoStream, Mixture, MixtureError, Recipe, ahead, point
from training.pretrain import pretrain
from training.pretrainer import PretrainConfig, PretrainError, learning_rate_scale
from training.start import alone

BUTTON = SceneObject(
    name="b",
    kind="button",
    camera="screen",
    box=(16.0, 0.0, 48.0, 16.0),
    label="Hi",
    color="red",
    text=TextRun("Hi", (20.0, 24.0, 28.0), y=8.0, height=10.0),
)
BLANK = np.zeros((32, 64, 3), np.uint8)


def test_dense_labels_by_hand() -> None:
    labels = dense_labels(BLANK, [BUTTON], 8, Classes(("red",), ("background", "button")))
    h, i = ALPHABET.index("h") + 1, ALPHABET.index("i") + 1
    # Half patches are 4 px wide: columns 5 and 6 (20..24, 24..28). Rows of patches 0 and 1 have centres 4 and 12, both
    # within 4.5 px of the text's middle at 8.
    flat = labels.glyphs.reshape(4, 16)
    assert flat[0, 5] == flat[1, 5] == h and flat[0, 6] == flat[1, 6] == i
    assert flat[2:].sum() == 0 and (flat[0] > 0).sum() == 2
    # Tokens are 16 px: the box covers tokens 1 and 2 of row 0.
    assert labels.kind.tolist() == [[0, 1, 1, 0], [0, 0, 0, 0]]
    assert labels.color.tolist() == [[-1, 0, 0, -1], [-1] * 4]
    assert labels.characters[0, 1].tolist() == [h, i, 0, 0, 0, 0, 0, 0]
    # Centre (32, 8) of 64 x 32, in 32 bins: 16 and 8.
    assert labels.centre[0, 2].tolist() == [16, 8]


def test_small_things_own_a_token() -> None:
    dot = replace(BUTTON, box=(30.0, 10.0, 33.0, 12.0))
    labels = dense_labels(BLANK, [dot], 8, Classes(("red",), ("background", "button")))
    assert labels.kind.sum() >= 1


def test_glyph_labels_lie_on_ink() -> None:
    """On real screens, half patches that are said to hold a letter differ from their surroundings more than others."""
    inked, plain = [], []
    for seed in range(20):
        frame, objects = random_screen(seed, (128, 128), "train", (6, 10))
        labels = dense_labels(frame, objects, 8, Classes.of(objects)).glyphs.reshape(16, 32)
        contrast = frame.astype(int).sum(2).reshape(16, 8, 32, 4).transpose(0, 2, 1, 3).reshape(16, 32, -1).std(-1)
        inked.append(contrast[labels > 0].mean())
        plain.append(contrast[labels == 0].mean())
    assert np.mean(inked) > 2 * np.mean(plain)


def test_questions_answer_themselves() -> None:
    rng = np.random.default_rng(0)
    asked = screen_questions([BUTTON], (64, 32), point, rng, 30)
    by_question = {q.question: q.answer for q in asked}
    # Centre (32, 8) of 64 x 32 is (0.5, 0.25): bins 16 and 8.
    assert by_question['Where is "Hi"?'] == "<loc_16><loc_8>"
    assert by_question["Where is the red button?"] == "<loc_16><loc_8>"
    assert {q.answer for q in asked if q.skill == "read"} == {'"Hi"'}
    cube = replace(BUTTON, kind="cube", label="red cube", position=(0.1, 0.0, 0.02), text=None)
    cube = replace(cube, camera="top")
    said = table_questions([cube], lambda p: f"@{p[0]}", point, {"top": (64, 32)}, rng, 40)
    assert {(q.question, q.answer) for q in said} == {
        ("Where is the red cube?", "@0.1"),
        ("What is at @0.1", "red cube"),
        ("Where in top is the red cube?", "<loc_16><loc_8>"),
    }


def test_of_two_of_a_kind_each_is_asked_for_by_its_side() -> None:
    cube = replace(BUTTON, kind="cube", camera="top", label="red cube", position=(0.1, 0.0, 0.02), text=None)
    other = replace(cube, name="c", label="blue cube", position=(0.03, 0.1, 0.02))
    third = replace(cube, name="d", label="green cube", position=(-0.1, 0.1, 0.02))

    def by_side(*things: SceneObject) -> set[tuple[str, str]]:
        rng = np.random.default_rng(0)
        asked = table_questions(things, lambda p: f"@{p[0]}", point, {"top": (64, 32)}, rng, 80)
        return {(q.question, q.answer) for q in asked if q.skill == "side"}

    assert by_side(cube, other) == {("Where is the left cube?", "@0.03"), ("Where is the right cube?", "@0.1")}
    assert not by_side(cube, replace(other, position=(0.05, 0.1, 0.02))), "too near to each other"
    assert not by_side(cube, other, third) and not by_side(cube, replace(other, kind="ball"))


def test_a_side_is_what_the_tasks_call_one() -> None:
    assert questions.SIDEWAYS == draw.SIDEWAYS


def test_a_recipe_names_tasks_that_there_are() -> None:
    for recipe in (Recipe(haste_in={"gui/set-checkboxes": 0.0}), Recipe(practice={"gui/set-checkboxes": 2.0})):
        with pytest.raises(MixtureError, match="did you mean gui/set-checkboxes-v0"):
            Mixture(recipe, 0)


def test_a_shape_is_asked_for_by_its_colour_and_name() -> None:
    star = replace(BUTTON, label="star", text=None)
    asked = screen_questions([star], (64, 32), point, np.random.default_rng(0), 40)
    assert {(q.question, q.answer) for q in asked if q.skill == "point"} >= {
        ("Where is the red star?", "<loc_16><loc_8>")
    }
    assert {q.answer for q in asked if q.skill == "name"} == {"star"}
    twins = [star, replace(star, name="other")]
    assert not any("star" in q.question for q in screen_questions(twins, (64, 32), point, np.random.default_rng(0), 40))


def test_a_shape_is_a_kind_of_its_own() -> None:
    star = replace(BUTTON, label="star", text=None)
    classes = Classes.of([star, BUTTON, replace(star, kind="icon", label="heart")])
    assert classes.kinds == ("background", "button", "heart", "star")
    assert dense_labels(BLANK, [star], 8, classes).kind.tolist() == [[0, 3, 3, 0], [0, 0, 0, 0]]


def test_a_list_says_how_far_it_is() -> None:
    for offset, said in ((0, "top"), (9, "half"), (20, "end")):
        listing = replace(BUTTON, kind="list", text=None, state={"offset": offset, "range": 20})
        asked = screen_questions([listing, BUTTON], (64, 32), point, np.random.default_rng(0), 80)
        assert {q.answer for q in asked if q.skill == "scrolled"} == {said}
    whole = replace(BUTTON, kind="list", text=None, state={"offset": 0, "range": 0})
    asked = screen_questions([whole, BUTTON], (64, 32), point, np.random.default_rng(0), 80)
    assert not any(q.skill == "scrolled" for q in asked), "all of it is seen"


def test_what_is_absent_is_often_like_what_is_there() -> None:
    mixture = Mixture(Recipe(), 0)
    firsts, count, there = 0, 0, 0
    for index in range(60):
        item = mixture.screen(index, (3, 8))
        shown = {o.text.text.lower() for view in item.views for o in view.objects if o.text is not None}
        for asked in (q for q in item.questions if q.skill == "absent"):
            word = asked.question.split('"')[1].lower()
            assert asked.answer == ("yes" if word in shown else "no")
            assert not asked.question.startswith("Where"), "which asks for a place, and has one"
            there += word in shown
            if word not in shown:
                count, firsts = count + 1, firsts + any(text[:1] == word[:1] for text in shown)
    mixture.close()
    assert count > 20 and there > 20 and firsts > 0.4 * count


def test_a_tick_makes_another_kind_and_is_asked_about() -> None:
    for ticked, said in ((True, "yes"), (False, "no")):
        box = replace(BUTTON, kind="checkbox", state={"checked": ticked})
        asked = screen_questions([box], (64, 32), point, np.random.default_rng(0), 60)
        assert {(q.question, q.answer) for q in asked if q.skill == "checked"} == {('Is "Hi" checked?', said)}
        assert {q.answer for q in asked if q.skill == "tick" and q.question.startswith("What tick is <loc_")} == {said}
        where = f"Where is the {'checked' if ticked else 'open'} box?"
        assert {(q.question, q.answer) for q in asked if q.skill == "ticked"} == {(where, "<loc_16><loc_8>")}
    classes = Classes.of([replace(BUTTON, kind="checkbox", state={"checked": t}) for t in (True, False)])
    assert classes.kinds == ("background", "checkbox", "checked checkbox")
    on = replace(BUTTON, kind="checkbox", state={"checked": True})
    assert dense_labels(BLANK, [on], 8, classes).kind.tolist() == [[0, 2, 2, 0], [0, 0, 0, 0]]


def test_a_field_is_named_by_its_caption() -> None:
    caption = replace(BUTTON, name="caption", kind="label", label="Hi")
    field = SceneObject("field", "field", "screen", (32.0, 8.0, 56.0, 24.0), label="Hi", state={"value": ""})
    full = replace(field, text=TextRun("abc", (33.0, 38.0, 43.0, 48.0), 16.0, 8.0), state={"value": "abc"})
    hinted = replace(full, state={"value": ""})
    for thing, value in ((field, ""), (full, "abc"), (hinted, "")):
        asked = screen_questions([caption, thing], (64, 32), point, np.random.default_rng(0), 80)
        said = {q.question: q.answer for q in asked if q.skill in ("field", "value")}
        assert said == {'Where is the field "Hi"?': "<loc_22><loc_16>", 'Read the field "Hi"': f'"{value}"'}
    # Without a caption, or with two of the same text, nobody could tell which field is meant.
    for others in ([], [caption, replace(caption, name="other")]):
        asked = screen_questions([*others, field], (64, 32), point, np.random.default_rng(0), 80)
        assert not any(q.skill in ("field", "value") for q in asked)


def test_ambiguous_things_are_not_asked_about() -> None:
    twin = replace(BUTTON, name="c", box=(0.0, 16.0, 30.0, 30.0))
    assert screen_questions([BUTTON, twin], (64, 32), point, np.random.default_rng(0), 20) == []


def test_gallery_items_do_not_depend_on_the_order_in_which_they_are_asked_for() -> None:
    one, two = Mixture(Recipe(), 3), Mixture(Recipe(), 3)
    one.screen(0, (2, 5))
    a, b = one.screen(7, (2, 5)), two.screen(7, (2, 5))
    assert a.questions == b.questions
    np.testing.assert_array_equal(a.views[0].frame, b.views[0].frame)
    for mixture in (one, two):
        mixture.close()


def test_what_needs_no_picture_is_asked_without_one() -> None:
    mixture = Mixture(Recipe(), 3)
    asked = [mixture.pictureless(index) for index in range(20)]
    assert asked[7] == mixture.pictureless(7) != asked[8]
    pictured = {q.skill for q in mixture.screen(0, (2, 5)).questions} - BLIND
    mixture.close()
    assert not any(item.views for item in asked) and pictured
    assert {q.skill for item in asked for q in item.questions} == BLIND
    assert all(len(item.questions) == Recipe().questions for item in asked)


def test_the_same_stroke_is_never_answered_in_two_ways() -> None:
    """What cannot be told from the text must not decide the answer; and all of a push is asked about."""
    blind, rng = Blind(Compact(), "train"), np.random.default_rng(0)
    asked = [blind.stroke(rng, WORKSPACE) for _ in range(3000)]
    answers: dict[str, str] = {}
    assert all(answers.setdefault(q.question, q.answer) == q.answer for q in asked)
    low = sum("<loc_1>shut" in q.question for q in asked)
    assert 600 < low < 2400 and sum(q.answer.endswith("open") for q in asked) > 10
    # The hand, two places, and the place and motion that follow from them: read again, it is the motion to that place.
    for q in asked[:50]:
        told, at = q.question.split("\0")
        assert told.split()[0] in {"push", "slide", "move"}  # as the tasks ask
        hand = told.split(" last ")[0]
        actions = Compact().parse(f"{at}{q.answer}", WORKSPACE).actions
        tip, to = (centre([int(n) for n in re.findall("<loc_([0-9]+)>", text)], WORKSPACE) for text in (hand, q.answer))
        assert np.abs(np.clip(to - tip, -0.15, 0.15) - np.sum(actions, axis=0)[:3]).max() < 0.0151


def test_schedule() -> None:
    config = PretrainConfig(steps=100, warmup=10, decay=0.5)
    scale = [learning_rate_scale(step, config) for step in (0, 4, 9, 40, 75, 99)]
    # Rise by tenths, flat, then 25 of the last 50 steps left at step 75, and never below 2 %.
    assert scale == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.5, 0.02])


@pytest.fixture(scope="module")
def small() -> PretrainConfig:
    shape = TinyShape(vision_depth=1, vision_hidden=32, vision_heads=2, layers=1, hidden=32, heads=2, feed_forward=64)
    return PretrainConfig(
        steps=6, dense_steps=3, screens=2, tables=2, log_every=2, probe_every=3, probe_items=1, resets=5, shape=shape
    )


def test_a_run_learns_writes_a_model_and_resumes(small: PretrainConfig, tmp_path: Path) -> None:
    out = tmp_path / "run"
    pretrain(replace(small, steps=3), out)
    with pytest.raises(PretrainError, match="--resume"):
        pretrain(small, out)
    with (out / "metrics.jsonl").open("a") as log:
        log.write('{"step": 4, "loss": 9.0}\n{"step": 5, "lo')  # killed after its last save, in the middle of a line
    pretrain(small, out, resume=True)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 3, 4, 6]
    assert all(np.isfinite(row["loss"]) and row["loss"] != 9.0 for row in rows) and "heldout/act/near" in rows[-1]
    AutoModelForImageTextToText.from_pretrained(out / "model")
    card = write_card(out, "handeye pretrain").read_text()
    assert "Held-out scores at step 6" in card and "6 of 6 steps" in card


def test_stages_wait_for_questions_about_pictures(small: PretrainConfig, tmp_path: Path) -> None:
    """Rules that need no picture are learned first; screens must not get fuller by that."""
    short = replace(small, log_every=1, blind_steps=2)
    ends = (replace(short, advance_at=0.0), [1, 2, 3]), (replace(short, stage_steps=2), [0, 1, 1]), (short, [0, 0, 0])
    for number, (config, stages) in enumerate(ends):
        pretrain(config, tmp_path / str(number))
        rows = [json.loads(line) for line in (tmp_path / str(number) / "metrics.jsonl").read_text().splitlines()]
        assert [row["stage"] for row in rows] == [0, 0, 0, *stages]
        assert ["blind/location" in row for row in rows] == [False] + [True] * 5
        assert ["token/location" in row for row in rows] == [False] * 3 + [True] * 3


def test_a_skill_can_be_left_out(small: PretrainConfig, tmp_path: Path) -> None:
    """Of the questions without a picture ``copy`` alone has letters: a part of the loss has then no weight."""
    weights = small.skill_weights | {"copy": 0.0}
    pretrain(replace(small, steps=1, dense_steps=1, skill_weights=weights), tmp_path / "run")
    VLM.load(tmp_path / "run" / "model")  # whose weights are finite


def test_what_is_not_finite_is_neither_learned_nor_saved(small: PretrainConfig, tmp_path: Path) -> None:
    out = tmp_path / "run"
    pretrain(replace(small, steps=1), out)
    with pytest.raises(PretrainError, match="not finite"):
        pretrain(replace(small, lr=1e30, muon_lr=1e30, warmup=1), out, resume=True)
    pretrain(replace(small, steps=2), out, resume=True)


def test_a_save_that_fails_leaves_the_one_before(
    small: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    pretrain(replace(small, steps=1), out)
    before = (out / "model" / "model.safetensors").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("training.pretrain.save_file", full)
        with pytest.raises(PretrainError, match=r"still stands.*--resume True"):
            pretrain(replace(small, steps=2), out, resume=True)
    assert (out / "model" / "model.safetensors").read_bytes() == before
    shutil.rmtree(out / ".model")
    (out / "model").rename(out / ".model")  # killed between two renames
    with alone(out), pytest.raises(ConfigError, match="still writes"):
        pretrain(replace(small, steps=2), out, resume=True)
    pretrain(replace(small, steps=2), out, resume=True)
    assert (out / "model" / "model.safetensors").read_bytes() != before and not (out / ".model").exists()


def test_every_process_needs_a_screen(small: PretrainConfig, tmp_path: Path) -> None:
    with pytest.raises(PretrainError, match="--screens 1"):
        launch(pretrain, (replace(small, screens=1), tmp_path / "run"), 2)


def test_what_is_saved_keeps_a_share_of_what_it_began_with(small: PretrainConfig, tmp_path: Path) -> None:
    small = replace(small, recipe=Recipe(demos=0.0))  # a resumed run draws other moments of experts
    pretrain(replace(small, steps=1), tmp_path / "first")
    config = replace(small, steps=2, dense_steps=0, init=str(tmp_path / "first" / "model"), init_share=0.25)
    out = tmp_path / "second"
    pretrain(replace(config, steps=1), out)
    pretrain(config, out, resume=True)
    key = "model.visual.patch_embed.proj.weight"
    began, saved = (load_file(path / "model" / "model.safetensors")[key] for path in (tmp_path / "first", out))
    trained = load_file(out / "state.safetensors")[f"model::{key}"]
    # 3/4 of the way from the start to what was trained, from where the run itself went on, and not from the mean.
    torch.testing.assert_close(saved, 0.25 * began + 0.75 * trained)
    assert not torch.equal(saved, trained)
    pretrain(replace(config, init_share=0.0), tmp_path / "other")
    whole = load_file(tmp_path / "other" / "state.safetensors")[f"model::{key}"]
    assert torch.equal(trained, whole)
    with pytest.raises(PretrainError, match="without --init-share"):
        pretrain(replace(config, steps=3), tmp_path / "other", resume=True)
    with pytest.raises(PretrainError, match="that --init names"):
        pretrain(replace(small, init_share=0.5), tmp_path / "none")


def test_ranks_know_the_tasks_of_a_users_module(small: PretrainConfig, tmp_path: Path) -> None:
    """A recipe can name them, and their experts are at work, though each rank is a process of its own."""
    recipe = Recipe(demos=1.0, practice={"bench/red-button-v0": 50.0})
    config = replace(small, steps=1, dense_steps=0, recipe=recipe)
    with pytest.raises(MixtureError, match="bench/red-button-v0"):
        launch(pretrain, (config, tmp_path / "without"), 2)
    launch(pretrain, (config, tmp_path / "with", False, ("benchmarks.peers.red_button",)), 2)
    assert (tmp_path / "with" / "model" / "config.json").is_file()


def test_nothing_to_resume_is_an_error(small: PretrainConfig, tmp_path: Path) -> None:
    with pytest.raises(PretrainError, match="leave out --resume"):
        pretrain(small, tmp_path, resume=True)


def test_haste_skips_a_decision_and_leaves_the_world_where_it_was() -> None:
    for name in ("gui/login-form-v0", "sims/put-in-bowl-v0"):
        world = worlds.make(name)
        world.reset(seed=1)
        first = world.expert()
        before = json.dumps(world.snapshot(), default=repr)
        said = ahead(world, first)
        assert json.dumps(world.snapshot(), default=repr) == before
        assert str(world.expert()) == str(first) != str(said)
        for action in first.actions:
            world.advance(action)
        assert str(world.expert()) == str(said)
        world.close()


def test_long_tasks_are_shown_without_haste() -> None:
    """With nothing but haste elsewhere, a task without still shows what its expert does."""
    for patient in (False, True):
        recipe = Recipe(haste=1.0, mistakes=0.0, haste_in={"gui/set-checkboxes-v0": 0.0} if patient else {})
        demos = DemoStream({"gui/set-checkboxes-v0": SetCheckboxes}, {"size": (128, 128)}, recipe, 0, "train")
        moments = [demos.next(i) for i in range(12)]
        demos.close()
        first = [m.advice for m in moments if m.did is None]
        # In haste nothing is said of what would be looked at later: it is not on the picture.
        assert len(first) > 1 and all(bool(a.points) == patient for a in first)
        assert not patient or all(tuple(a.actions[0]["position"].tolist()) == a.points[-1] for a in first)


def test_experts_moments_say_when_a_mistake_changed_nothing() -> None:
    # Every decision goes wrong, often as the one before once more: at the end of the list that does nothing.
    demos = DemoStream(
        {"scroll": gui_env.TASKS["gui/scroll-select-v0"]}, {"size": (128, 128)}, Recipe(mistakes=1.0), 0, "train"
    )
    moments = [demos.next(index) for index in range(60)]
    demos.close()
    for before, after in pairwise(moments):
        screens = [moment.observation["frames"]["screen"] for moment in (before, after)]
        assert after.unchanged == (after.did is not None and np.array_equal(*screens))
    assert 0 < sum(moment.unchanged for moment in moments) < 30
