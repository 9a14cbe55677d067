"""Models at toy size, of two families, and pictures for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPImageProcessorPil, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

from episode import Frame
from policy.tiny import TinyShape, build_tiny, build_tokenizer

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
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": None,
        },
        image_token_index=image,
        vision_feature_layer=-1,
        image_seq_length=16,
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
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
