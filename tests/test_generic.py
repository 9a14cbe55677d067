"""The generic family on classes that ask for more than ids: positions are the stock model's, or there is an error."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

from policy.agent import dialect_of
from policy.codecs.compact import Compact
from policy.context import ContextBuilder, Prompt
from policy.engine import Engine, Sampling
from policy.families import GenericFamily, ModelError
from policy.packing import Row
from policy.tiny import image_processor
from policy.vlm import VLM
from tests.toy_models import frame, write_paligemma, write_qwen_2_5

REPLY = np.array([20, 30, 40], np.int32)


@pytest.fixture(scope="module")
def placing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with multimodal rotary positions."""
    folder = tmp_path_factory.mktemp("placing")
    write_qwen_2_5(folder)
    return folder


def prompts(vlm: VLM) -> list[Prompt]:
    """With one image, with two, and with none: 8 x 4 patches, then 4 x 12, of which two by two make a token."""
    builder = ContextBuilder(dialect_of(vlm), Compact())
    tall, wide = frame(1, 64, 32), frame(2, 32, 96)
    return [builder.compose([tall], "Click the red"), builder.compose([tall, wide], "bowl"), builder.compose([], "red")]


def stock_inputs(rows: list[np.ndarray[Any, Any]], of: list[Prompt], vlm: VLM, left: bool) -> dict[str, torch.Tensor]:
    """What the folder's processor would make of padded rows, written out."""
    width = max(map(len, rows))
    ids, mask = torch.full((len(rows), width), int(vlm.tokenizer.pad_token_id)), torch.zeros(len(rows), width).long()
    for b, row in enumerate(rows):
        at = slice(width - len(row), width) if left else slice(0, len(row))
        ids[b, at], mask[b, at] = torch.from_numpy(row).long(), 1
    images = image_processor(8)([image for prompt in of for image in prompt.images], return_tensors="pt")
    told = (ids == vlm.family.image_token_id).int()
    return {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": told, **images}


def test_log_probs_are_those_of_the_stock_models_own_positions(placing: Path) -> None:
    vlm = VLM.load(placing)
    assert isinstance(vlm.family, GenericFamily)
    asked = prompts(vlm)[:2]
    ours = vlm(vlm.collate([Row(p.ids, REPLY, p.images) for p in asked])).logps
    stock: Any = AutoModelForImageTextToText.from_pretrained(placing, dtype=torch.float32)
    rows = [np.concatenate([p.ids, REPLY]) for p in asked]
    with torch.no_grad():
        logits = stock(**stock_inputs(rows, asked, vlm, left=False)).logits
    for b, row in enumerate(rows):
        predicting = vlm.distribution(logits[b, len(row) - 4 : len(row) - 1], torch.ones(3))
        theirs = predicting.gather(1, torch.from_numpy(REPLY).long()[:, None])[:, 0]
        torch.testing.assert_close(ours[b], theirs, atol=1e-5, rtol=0)


def test_positions_of_padded_rows_by_hand(placing: Path) -> None:
    """The tall image is 4 x 2 tokens, the wide one 2 x 6: they take as many positions as they are long."""
    vlm = VLM.load(placing)
    asked = prompts(vlm)
    inputs = stock_inputs([p.ids for p in asked], asked, vlm, left=True)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    found = vlm.family.positions(ids, mask, [p.images for p in asked])
    assert found.shape == (3, *ids.shape) and not found[:, mask == 0].any()
    for b, (saved, prompt) in enumerate(zip((8 - 4, 8 - 4 + 12 - 6, 0), asked, strict=True)):
        # A reply goes on from the last position: all that an image's rows and columns save is behind it.
        assert (found[:, b, -1] == len(prompt.ids) - 1 - saved).all()
    tall = found[:, 0, ids[0] == vlm.family.image_token_id]
    assert (tall - tall[:, :1]).tolist() == [[0] * 8, [0, 0, 1, 1, 2, 2, 3, 3], [0, 1] * 4]
    wide = found[:, 1, ids[1] == vlm.family.image_token_id][:, 8:]
    assert (wide - wide[:, :1]).tolist() == [[0] * 12, [0] * 6 + [1] * 6, [0, 1, 2, 3, 4, 5] * 2]


def test_decoding_goes_on_where_the_stock_model_does(placing: Path) -> None:
    vlm = VLM.load(placing)
    vlm.end_ids = ()
    asked = prompts(vlm)[:2]
    ours = Engine(vlm).generate(asked, Sampling(0.0, max_tokens=12), [0, 0])
    stock: Any = AutoModelForImageTextToText.from_pretrained(placing, dtype=torch.float32)
    stock.generation_config.eos_token_id = None
    inputs = stock_inputs([p.ids for p in asked], asked, vlm, left=True)
    found = vlm.family.positions(inputs["input_ids"], inputs["attention_mask"], [p.images for p in asked])
    out = stock.generate(
        **inputs,
        max_new_tokens=12,
        do_sample=False,
        bad_words_ids=[[int(i)] for i in vlm.bans.nonzero()[:, 0]],
    )
    # The first reply token stands, as the stock model has it, at the number of tokens before it and this much more.
    first = inputs["attention_mask"].sum(1) + stock.model.rope_deltas[:, 0]
    assert (found[..., -1] + 1 == first).all()
    assert out[:, inputs["input_ids"].shape[1] :].tolist() == [g.reply_ids.tolist() for g in ours]


def test_a_picture_is_processed_once_for_each_size(placing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = VLM.load(placing)
    asked = prompts(vlm)  # which counts the tokens of both sizes
    assert isinstance(vlm.family, GenericFamily)
    monkeypatch.setattr(vlm.family, "processor", None)
    vlm.collate([Row(p.ids, REPLY, p.images) for p in asked])


def test_a_model_that_is_told_which_tokens_are_images_is_refused(tmp_path: Path) -> None:
    write_paligemma(tmp_path)
    with pytest.raises(ModelError, match=r"PaliGemma.* by token_type_ids.*another class.*adding-a-model"):
        VLM.load(tmp_path)


def test_a_model_that_places_images_by_something_else_is_refused(
    placing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_sizes(self: Any, input_ids: Any, mm_token_type_ids: Any, target_sizes: Any, attention_mask: Any) -> None:
        """As MiniCPM-V 4.7 has it."""

    monkeypatch.setattr(Qwen2_5_VLModel, "get_rope_index", by_sizes)
    with pytest.raises(ModelError, match="places image tokens by more than the grids"):
        VLM.load(placing)


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="nothing is missing")
def test_a_missing_package_is_named(placing: Path, tmp_path: Path) -> None:
    for file in placing.iterdir():
        text = file.read_bytes().replace(b"PaddleOCRVLProcessor", b"Qwen2_5_VLProcessor")
        (tmp_path / file.name).write_bytes(text)
    (tmp_path / "video_preprocessor_config.json").write_text('{"video_processor_type": "Qwen2VLVideoProcessor"}')
    with pytest.raises(ModelError, match=r"needs a package .* install it: \S.*[Tt]orchvision"):
        VLM.load(tmp_path)


def test_a_processor_that_writes_marks_among_an_images_tokens_is_refused(
    placing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Idefics 3 marks tiles and Pixtral rows: a prompt without the marks would be another picture to the model."""
    vlm = VLM.load(placing)
    assert isinstance(vlm.family, GenericFamily)
    stock = vlm.family.processor

    def marked(**given: Any) -> dict[str, Any]:
        inputs = stock(**given)
        return {**inputs, "input_ids": [[*inputs["input_ids"][0], REPLY[0]]]}

    monkeypatch.setattr(vlm.family, "processor", marked)
    with pytest.raises(ModelError, match="marks rows, tiles or ends of images"):
        vlm.family.image_tokens(frame(1, 64, 32))
