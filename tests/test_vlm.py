"""The wrapped model: loading, scoring, generation, and parity of every fast path with transformers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from policy.agent import dialect_of
from policy.codecs.compact import Compact
from policy.context import ContextBuilder, Prompt
from policy.engine import Engine, Sampling
from policy.families import GenericFamily, ModelError, Qwen3VLFamily
from policy.frames import Features, chunks
from policy.packing import Row
from policy.vlm import VLM, quick_bf16
from tests.toy_models import frame


def prompts(vlm: VLM, count: int, images: int = 1) -> list[Prompt]:
    builder = ContextBuilder(dialect_of(vlm), Compact())
    words = ["Click", "the", "red", '"Save"', "button.", "bowl"]
    return [
        builder.compose([frame(10 * i + k) for k in range(images)], " ".join(words[: 1 + i % len(words)]))
        for i in range(count)
    ]


@pytest.mark.parametrize("family", ["qwen", "llava"])
def test_recomputed_log_probs_match_the_rollouts(family: str, request: pytest.FixtureRequest) -> None:
    vlm = VLM.load(request.getfixturevalue(family))
    asked = prompts(vlm, 5, images=2)
    said = Engine(vlm).generate(asked, Sampling(temperature=0.7, max_tokens=6), list(range(5)))
    rows = [Row(p.ids, g.reply_ids, p.images, g.temperature) for p, g in zip(asked, said, strict=True)]
    scores = vlm(vlm.collate(rows))
    for i, generation in enumerate(said):
        assert generation.logps is not None
        n = len(generation.reply_ids)
        np.testing.assert_allclose(scores.logps[i, :n].detach().numpy(), generation.logps, atol=1e-5)
        assert not scores.mask[i, n:].any() and not scores.logps[i, n:].any()


@pytest.mark.parametrize("family", ["qwen", "llava"])
def test_a_row_does_not_depend_on_its_batch(family: str, request: pytest.FixtureRequest) -> None:
    vlm = VLM.load(request.getfixturevalue(family))
    asked, sampling = prompts(vlm, 4), Sampling(max_tokens=8)
    together = Engine(vlm).generate(asked, sampling, [3, 1, 4, 1])
    alone = Engine(vlm).generate(asked[2:3], sampling, [4])
    np.testing.assert_array_equal(together[2].reply_ids, alone[0].reply_ids)


def test_greedy_tokens_are_those_of_transformers_generate(qwen: Path) -> None:
    vlm = VLM.load(qwen)
    asked = prompts(vlm, 3)
    ours = Engine(vlm).generate(asked, Sampling(0.0, max_tokens=8), [0, 0, 0])
    stock: Any = AutoModelForImageTextToText.from_pretrained(qwen, dtype=torch.float32)
    family: Any = vlm.family
    for prompt, generation in zip(asked, ours, strict=True):
        pixels, grid = family.pixels(prompt.images)
        ids = torch.from_numpy(prompt.ids).long()[None]
        # The stock model samples whatever it likes; ours never samples vision tokens, padding or a turn's start.
        banned = [[int(i)] for i in vlm.bans.nonzero()[:, 0]]
        out = stock.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=pixels,
            image_grid_thw=grid,
            mm_token_type_ids=(ids == family.image_token_id).int(),
            max_new_tokens=8,
            do_sample=False,
            bad_words_ids=banned,
        )
        assert out[0, ids.shape[1] :].tolist() == generation.reply_ids.tolist()


def test_fast_qwen_scores_and_gradients_equal_the_stock_model(qwen: Path) -> None:
    vlm = VLM.load(qwen)
    stock: Any = AutoModelForImageTextToText.from_pretrained(qwen, dtype=torch.float32, attn_implementation="eager")
    prompt = prompts(vlm, 1, images=2)[0]
    reply = np.array([20, 30, 40], np.int32)
    ours = vlm(vlm.collate([Row(prompt.ids, reply, prompt.images)])).logps.sum()
    ours.backward()
    family: Any = vlm.family
    pixels, grid = family.pixels(prompt.images)
    ids = torch.from_numpy(np.concatenate([prompt.ids, reply])).long()[None]
    logits = stock(
        input_ids=ids,
        pixel_values=pixels,
        image_grid_thw=grid,
        mm_token_type_ids=(ids == family.image_token_id).int(),
    ).logits[0, -4:-1]
    theirs = vlm.distribution(logits, torch.ones(3)).gather(1, torch.from_numpy(reply).long()[:, None]).sum()
    theirs.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    stock_gradients = {n: p.grad for n, p in stock.named_parameters()}
    for name, parameter in vlm.model.named_parameters():
        torch.testing.assert_close(parameter.grad, stock_gradients[name], atol=1e-4, rtol=1e-3, msg=name)


def test_equal_frames_are_encoded_once_with_the_same_numbers(qwen: Path) -> None:
    vlm = VLM.load(qwen)
    family: Any = vlm.family
    a, b = frame(1), frame(2, 32, 64)
    towered: list[int] = []
    vlm.model.model.visual.register_forward_hook(lambda _, args, out: towered.append(len(args[0])))
    inputs = family.image_inputs([(a, b), (b,), (a,)])["mm_encoder_outputs"]["image"]
    assert sum(towered) == 64 + 32, "patches of each frame, once"
    direct = family.encode([a]).pooler_output[0]
    torch.testing.assert_close(inputs.pooler_output[0], direct, atol=1e-5, rtol=1e-4)
    assert inputs.pooler_output[0] is inputs.pooler_output[3]


def test_large_frames_go_through_the_tower_in_fewer_at_once() -> None:
    """19 of the shipped base's size: 16, 2, 1. Of nine times as many pixels 16 · 128² hold one, of 2.25 times seven."""
    small, middle, large, wide = (128, 128, 3), (192, 192, 3), (384, 384, 3), (800, 1280, 3)
    assert chunks([small] * 19) == [(0, 16), (16, 18), (18, 19)]
    assert chunks([middle] * 8) == [(0, 4), (4, 8)]
    assert chunks([small, large, large, wide]) == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_a_frozen_tower_encodes_a_frame_once_until_it_is_told_to_forget(qwen: Path) -> None:
    vlm = VLM.load(qwen)
    vlm.freeze_vision()
    calls: list[int] = []
    vlm.model.model.visual.register_forward_hook(lambda _, args, out: calls.append(len(args[0])))
    prompt = ContextBuilder(dialect_of(vlm), Compact()).compose((frame(1),), "hello")
    batch = vlm.collate([Row(prompt.ids, np.array([20, 21], np.int32), prompt.images)])
    scores = vlm(batch)
    again = vlm(batch)
    torch.testing.assert_close(scores.logps, again.logps, atol=0, rtol=0)
    assert len(calls) == 1
    scores.logps.sum().backward()
    for name, parameter in vlm.model.named_parameters():
        assert (parameter.grad is None) == ("visual" in name), name
    vlm.forget()
    vlm(batch)
    assert len(calls) == 2


def test_any_family_can_be_trained_without_its_vision_tower(llava: Path) -> None:
    vlm = VLM.load(llava)
    vlm.freeze_vision()
    prompt = ContextBuilder(dialect_of(vlm), Compact()).compose((frame(0),), "hello")
    vlm(vlm.collate([Row(prompt.ids, np.array([20, 21], np.int32), prompt.images)])).logps.sum().backward()
    trained = {name.split(".")[1] for name, p in vlm.model.named_parameters() if p.grad is not None}
    assert "vision_tower" not in trained and "language_model" in trained


def features(vlm: VLM) -> Features:
    assert isinstance(vlm.family, Qwen3VLFamily)
    return vlm.family.features


def test_models_with_one_frozen_tower_encode_a_frame_once_between_them(qwen: Path) -> None:
    policy, alone, other = (VLM.load(qwen) for _ in range(3))
    other.family.take_tower(policy.family)
    assert features(other) is not features(policy), "a tower that learns is nobody else's"
    policy.freeze_vision()
    other.family.take_tower(policy.family)
    calls: list[int] = []
    policy.model.model.visual.register_forward_hook(lambda _, args, out: calls.append(len(args[0])))
    prompt = ContextBuilder(dialect_of(policy), Compact()).compose((frame(1),), "hello")
    rows = [Row(prompt.ids, np.array([20, 21], np.int32), prompt.images)]
    policy(policy.collate(rows))
    torch.testing.assert_close(other(other.collate(rows)).logps, alone(alone.collate(rows)).logps, atol=0, rtol=0)
    assert len(calls) == 1
    with torch.no_grad():
        next(iter(alone.model.model.visual.parameters())).add_(1)
    bent = VLM.load(qwen)
    bent.model.config.vision_config.hidden_act = "silu"
    for model in (alone, bent):
        before = features(model)
        model.family.take_tower(policy.family)
        assert features(model) is before, "another tower"


@pytest.mark.parametrize("family", ["qwen", "llava"])
def test_embeddings_and_head_can_be_left_as_they_are(family: str, request: pytest.FixtureRequest) -> None:
    vlm = VLM.load(request.getfixturevalue(family))
    vlm.freeze_embeddings()
    prompt = ContextBuilder(dialect_of(vlm), Compact()).compose((frame(0),), "hello")
    vlm(vlm.collate([Row(prompt.ids, np.array([20, 21], np.int32), prompt.images)])).logps.sum().backward()
    learned = {name for name, p in vlm.model.named_parameters() if p.grad is not None}
    assert any("layers.0.mlp" in name for name in learned)
    assert not any("embed_tokens" in name or "lm_head" in name for name in learned)


def test_features_are_remembered_until_the_weights_change(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = VLM.load(qwen)
    calls: list[int] = []
    vlm.model.model.visual.register_forward_hook(lambda _, args, out: calls.append(len(args[0])))
    asked = prompts(vlm, 2)
    sampling = Sampling(max_tokens=3)
    first, again = ([g.logps for g in Engine(vlm).generate(asked, sampling, [0, 1])] for _ in range(2))
    assert len(calls) == 1
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    with torch.no_grad():
        for parameter in vlm.parameters():
            parameter.mul_(1.5)
    changed = Engine(vlm).generate(asked, sampling, [0, 1])[0].logps
    assert len(calls) == 2 and changed is not None and first[0] is not None
    assert len(changed) != len(first[0]) or (changed != first[0]).any()
    monkeypatch.setattr("policy.frames.CAP", 0)
    Engine(vlm).generate(asked[:1], sampling, [0])
    Engine(vlm).generate(asked[:1], sampling, [0])
    assert len(calls) == 3, "remembered from before, then dropped, as there is no room"


@pytest.mark.parametrize("family", ["qwen", "llava"])
def test_a_group_says_what_its_members_would_say_alone(family: str, request: pytest.FixtureRequest) -> None:
    """Siblings share a prefill and leave the batch when they have ended; nobody's words change by that."""
    vlm = VLM.load(request.getfixturevalue(family))
    asked = [p for p in prompts(vlm, 3) for _ in range(6)]
    # Of 18 rows so many end at each token that the batch shrinks to its last few.
    vlm.end_ids = (*vlm.end_ids, *range(20, 90))
    widths: list[int] = []
    vlm.head.register_forward_hook(lambda _, args, out: widths.append(args[0].shape[0]))
    together = Engine(vlm).generate(asked, Sampling(max_tokens=12), list(range(18)))
    assert widths[0] == 4 < widths[1] and widths[-1] < 4 and sorted(widths[1:], reverse=True) == widths[1:]
    assert len({len(g.reply_ids) for g in together}) > 3
    for seed, (prompt, said) in enumerate(zip(asked, together, strict=True)):
        (alone,) = Engine(vlm).generate([prompt], Sampling(max_tokens=12), [seed])
        np.testing.assert_array_equal(said.reply_ids, alone.reply_ids)
        assert said.logps is not None and alone.logps is not None and said.images == alone.images
        np.testing.assert_allclose(said.logps, alone.logps, atol=1e-5)


def test_vision_tokens_and_padding_have_no_probability(qwen: Path) -> None:
    vlm = VLM.load(qwen)
    logps = vlm.distribution(torch.zeros(1, len(vlm.tokenizer)), torch.ones(1))
    banned = [vlm.tokenizer.convert_tokens_to_ids(t) for t in ("<|image_pad|>", "<|pad|>", "<|im_start|>")]
    assert (logps[0, banned].exp() == 0).all()
    torch.testing.assert_close(logps.exp().sum(), torch.tensor(1.0))


def test_saved_folder_opens_with_transformers_and_gives_the_same_value(qwen: Path, tmp_path: Path) -> None:
    vlm = VLM.load(qwen, value_head=True)
    assert vlm.value_head is not None
    torch.nn.init.ones_(vlm.value_head.weight)
    vlm.save(tmp_path / "saved")
    AutoModelForImageTextToText.from_pretrained(tmp_path / "saved")
    again = VLM.load(tmp_path / "saved", value_head=True)
    prompt = prompts(vlm, 1)[0]
    row = Row(prompt.ids, np.array([20], np.int32), prompt.images)
    before, after = vlm(vlm.collate([row])).values, again(again.collate([row])).values
    torch.testing.assert_close(before, after)
    assert before.detach()[0, 0].abs().item() > 0


def test_the_generic_family_counts_tokens_by_its_own_processor(llava: Path) -> None:
    vlm = VLM.load(llava)
    assert isinstance(vlm.family, GenericFamily)
    assert vlm.family.image_tokens(frame(0)) == 16


def test_bfloat16_that_a_gpu_only_emulates_is_not_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not quick_bf16(torch.device("cuda"))


def test_errors_name_the_mend(qwen: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no model"):
        VLM.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="image-text-to-text"):
        VLM.load(tmp_path)
    with pytest.raises(ModelError, match="multiples of 16"):
        VLM.load(qwen).family.image_tokens(frame(0, 60, 64))


def test_quoted_text_is_spelled_and_template_words_are_single_tokens(qwen: Path) -> None:
    tokenizer = VLM.load(qwen).tokenizer
    pieces = tokenizer.convert_ids_to_tokens(tokenizer.encode('Click the "button the" button.'))
    assert pieces == ["Click", "the", '"', *"button the", '"', "button", "."]
    reply = 'type"a B"<loc_3><a-10>'
    assert tokenizer.decode(tokenizer.encode(reply)) == reply
