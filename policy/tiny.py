"""A vision-language model for a laptop: a real ``Qwen3VLForConditionalGeneration`` of 1 to 10 M parameters.

The shapes are those that learned to see in our trials (docs/log.md): 8-pixel patches merged two by two, sin-cos
positions at a visible amplitude, head size 64, a rotary base of 1e6. Departures from Qwen3-VL: one temporal patch, no
deepstack, its own small vocabulary.

The vocabulary is made of special tokens, 32 locations, 21 action bins, printable characters, and *template words*:
words of instructions outside double quotes are single tokens, whatever stands inside double quotes is spelled out
character by character and never merged, so that reading generalises to strings that nobody has seen.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from policy.codecs.compact import BINS, LOCATIONS

PAD, START, END = "<|pad|>", "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
IMAGE, VIDEO = "<|image_pad|>", "<|video_pad|>"
SPECIAL = (PAD, START, END, VISION_START, VISION_END, IMAGE, VIDEO)
LOCATION_TOKENS = tuple(f"<loc_{i}>" for i in range(LOCATIONS))
BIN_TOKENS = tuple(f"<a{i}>" for i in range(-BINS, BINS + 1))
CHARACTERS = string.ascii_letters + string.digits + string.punctuation + " \n"

ROLES = ("system", "user", "assistant")

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}"
    "{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class TinyShape:
    """The size of the tiny model. Sizes are widths unless said otherwise."""

    vision_depth: int = 4
    vision_hidden: int = 128
    vision_heads: int = 4
    patch: int = 8
    """Pixels a patch; two by two patches make one image token."""
    side: int = 128
    """Pixels of the square for which learned positions are stored; other sizes are interpolated."""
    layers: int = 4
    hidden: int = 128
    heads: int = 4
    head_dim: int = 64
    feed_forward: int = 320
    rope_theta: float = 1e6
    rope_sections: tuple[int, int, int] = (12, 10, 10)
    """Rotary frequency pairs given to time, height and width; they sum to ``head_dim / 2``."""
    position_amplitude: float = 0.7
    patch_gain: float = 4.0


SMALLEST = TinyShape(vision_depth=1, vision_hidden=32, vision_heads=2, hidden=64, layers=1, heads=2, feed_forward=64)
"""For tests and drills, where the machinery counts and not what is learned."""


def template_words(texts: Iterable[str]) -> list[str]:
    """Words outside double quotes, most frequent first, then by name."""
    counts: Counter[str] = Counter()
    for text in texts:
        outside = re.sub(r'"[^"]*"|<[^<>]*>', " ", text)
        counts.update(re.findall(r"[A-Za-z]+", outside))
    return [w for w, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if len(w) > 1]


def build_tokenizer(texts: Iterable[str], known: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """The tokenizer for a corpus of prompts and replies. Spaces outside quotes are dropped.

    ``known`` are tokens of an earlier one, which keep their numbers.
    """
    vocabulary = {token: index for index, token in enumerate(known)}
    for token in (*SPECIAL, *LOCATION_TOKENS, *BIN_TOKENS, *CHARACTERS, *ROLES, *template_words(texts)):
        vocabulary.setdefault(token, len(vocabulary))
    # Greedy longest match with single characters to fall back on; unknown scripts become padding-free "?".
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="?", continuing_subword_prefix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r'"[^"]*"'), "isolated"),
            pre_tokenizers.Split(Regex(r' +(?![^"]*"$)'), "removed"),
            pre_tokenizers.Split(Regex(r'.(?=[^"]*"$)|"$'), "isolated"),
            pre_tokenizers.Split(Regex(r"[A-Za-z]+|[^A-Za-z]"), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=[t for t in SPECIAL if t not in (PAD, END)],
        clean_up_tokenization_spaces=False,
    )
    fast.add_tokens([*LOCATION_TOKENS, *BIN_TOKENS])
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_model(tokenizer: PreTrainedTokenizerFast, shape: TinyShape, seed: int) -> Qwen3VLForConditionalGeneration:
    """A randomly initialised model, the same for the same seed."""
    vocabulary = tokenizer.get_vocab()
    ids = {name: vocabulary[name] for name in SPECIAL}
    config = Qwen3VLConfig(
        vision_config={
            "depth": shape.vision_depth,
            "hidden_size": shape.vision_hidden,
            "intermediate_size": 4 * shape.vision_hidden,
            "num_heads": shape.vision_heads,
            "patch_size": shape.patch,
            "spatial_merge_size": 2,
            "temporal_patch_size": 1,
            "out_hidden_size": shape.hidden,
            # Exact: its tanh takes four times as long in bfloat16 on a CPU, 12 % of the tower's pass.
            "hidden_act": "gelu",
            "num_position_embeddings": (shape.side // shape.patch) ** 2,
            "deepstack_visual_indexes": [],
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": shape.hidden,
            "intermediate_size": shape.feed_forward,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.heads,
            "head_dim": shape.head_dim,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": shape.rope_theta,
                "mrope_section": list(shape.rope_sections),
                "mrope_interleaved": True,
            },
            "pad_token_id": ids[PAD],
            "bos_token_id": None,
            "eos_token_id": ids[END],
            "tie_word_embeddings": True,
        },
        image_token_id=ids[IMAGE],
        video_token_id=ids[VIDEO],
        vision_start_token_id=ids[VISION_START],
        vision_end_token_id=ids[VISION_END],
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.pad_token_id = ids[PAD]
    model.generation_config.eos_token_id = ids[END]
    visual = model.model.visual
    _sin_cos_positions(visual.pos_embed.weight, shape.position_amplitude)
    visual.patch_embed.proj.weight.data.mul_(shape.patch_gain)
    return model


def _sin_cos_positions(weight: torch.Tensor, amplitude: float) -> None:
    """Fill a [side², hidden] table: the stock std of 0.02 is far below the patches' content."""
    count, hidden = weight.shape
    side, quarter = math.isqrt(count), hidden // 4
    exponent = torch.arange(quarter) * (math.log2(side) / (quarter - 1))
    angle = torch.arange(side).float()[:, None] * (math.pi * 2**exponent / side)
    axis = torch.cat([angle.sin(), angle.cos()], 1)
    table = torch.cat([axis[:, None].expand(-1, side, -1), axis[None].expand(side, -1, -1)], -1)
    weight.data.copy_(table.reshape(count, hidden) * amplitude * math.sqrt(2))


def image_processor(patch: int) -> Qwen2VLImageProcessorPil:
    """The image processor of the tiny model: frames keep their size, rounded to whole tokens; pixels in [-1, 1]."""
    return Qwen2VLImageProcessorPil(
        patch_size=patch,
        merge_size=2,
        temporal_patch_size=1,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
        size={"shortest_edge": (2 * patch) ** 2, "longest_edge": 1280 * 1280},
    )


def build_tiny(folder: str | Path, texts: Iterable[str], seed: int = 0, shape: TinyShape | None = None) -> None:
    """Write a randomly initialised tiny model with its tokenizer and image processor to ``folder``."""
    shape = shape or TinyShape()
    tokenizer = build_tokenizer(texts)
    build_model(tokenizer, shape, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    image_processor(shape.patch).save_pretrained(folder)


def extend_tiny(source: str | Path, folder: str | Path, texts: Iterable[str]) -> None:
    """Write the tiny model in ``source`` to ``folder``, with new tokens for words of ``texts`` that it has none for.

    A new word starts as the mean of its letters: what the model read in its place so far.
    """
    old = PreTrainedTokenizerFast.from_pretrained(source)
    numbers = old.get_vocab()
    known = sorted(numbers, key=numbers.__getitem__)
    tokenizer = build_tokenizer(texts, known)
    # No type is known of what transformers builds from a folder.
    model: Any = Qwen3VLForConditionalGeneration.from_pretrained(source, dtype=torch.float32)
    before = model.get_input_embeddings().weight.data.clone()
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    table = model.get_input_embeddings().weight.data
    for token, index in tokenizer.get_vocab().items():
        if index >= len(known):
            table[index] = before[[numbers[c] for c in token]].mean(0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    image_processor(int(model.config.vision_config.patch_size)).save_pretrained(folder)
