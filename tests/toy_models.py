"""Models at toy size, of two families and more classes, and pictures for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    CLIPImageProcessorPil,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PaddleOCRVLProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    SiglipImageProcessorPil,
)

from episode import Frame
from policy.tiny import IMAGE, VIDEO, VISION_END, VISION_START, TinyShape, build_tiny, build_tokenizer, image_processor

TEXTS = [
    'Click the "Save" button.',
    "Put the red cube into the bowl.",
    "click type scroll at open close hand half shut",
]
SMALL = TinyShape(vision_depth=2, vision_hidden=32, vision_heads=2, layers=2, hidden=32, heads=2, feed_forward=64)


def frame(seed: int, height: int = 64, width: int = 64) -> Frame:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def write_qwen(folder: Path) -> None:
    build_tiny(folder, TEXTS, shape=SMALL)


def write_llava(folder: Path) -> None:
    """A second family at toy size: another vision tower, no merging, its own processor."""
    tokenizer = build_tokenizer(TEXTS)
    image = tokenizer.get_vocab()["<|image_pad|>"]
    config = LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
            "projection_dim": 32,
        },
        text_config={"model_type": "llama", **_text(tokenizer)},
        image_token_index=image,
        vision_feature_layer=-1,
        image_seq_length=16,
    )
    _write(folder, LlavaForConditionalGeneration, config, tokenizer)
    make_processor: Any = LlavaProcessor
    make_processor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        image_token="<|image_pad|>",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    ).save_pretrained(folder)


def write_qwen_2_5(folder: Path) -> None:
    """A class of the generic family with multimodal rotary positions, seen through windows of two by two tokens.

    Its own processor needs torchvision, for videos. Another class's makes of images just the same.
    """
    tokenizer = build_tokenizer(TEXTS)
    vocabulary = tokenizer.get_vocab()
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 8,
            "spatial_merge_size": 2,
            "temporal_patch_size": 1,
            "window_size": 32,
            "fullatt_block_indexes": [1],
            "out_hidden_size": 32,
            "initializer_range": 0.2,
        },
        text_config={
            **_text(tokenizer),
            "initializer_range": 0.2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
        },
        image_token_id=vocabulary[IMAGE],
        video_token_id=vocabulary[VIDEO],
        vision_start_token_id=vocabulary[VISION_START],
        vision_end_token_id=vocabulary[VISION_END],
    )
    _write(folder, Qwen2_5_VLForConditionalGeneration, config, tokenizer)
    tokenizer.save_pretrained(folder)
    naming = PreTrainedTokenizerFast.from_pretrained(folder, image_token=IMAGE)
    make_processor: Any = PaddleOCRVLProcessor
    make_processor(image_processor(8), naming, chat_template=tokenizer.chat_template).save_pretrained(folder)


def write_paligemma(folder: Path) -> None:
    """A class that asks of every token whether it is a prompt's: images and prompts see all of themselves."""
    tokenizer = build_tokenizer(TEXTS)
    image: Any = SiglipImageProcessorPil(size={"height": 64, "width": 64})
    image.image_seq_length = 16
    make_processor: Any = PaliGemmaProcessor
    make_processor(image, tokenizer).save_pretrained(folder)
    config = PaliGemmaConfig(
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
        },
        text_config={
            "model_type": "gemma",
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
        },
        image_token_index=tokenizer.get_vocab()["<image>"],
        projection_dim=32,
    )
    _write(folder, PaliGemmaForConditionalGeneration, config, tokenizer)


def _text(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The text model's share of a config."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }


def _write(folder: Path, kind: type[PreTrainedModel], config: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    """The same random model every time."""
    torch.manual_seed(0)
    model = kind(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
