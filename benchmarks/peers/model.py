"""The model of every comparison: the shipped base's architecture and size, random weights, a byte-level tokenizer.

The shipped tokenizer drops spaces and knows no tool calls; TRL's multi-turn path needs both: both sides get this.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from policy.tiny import CHAT_TEMPLATE, END, PAD, SPECIAL, TinyShape, build_model, image_processor

TOOLS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and the special ones: any text has as many tokens as it has bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [t for t in (*SPECIAL, *TOOLS) if t not in (PAD, END)]
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, extra_special_tokens=special, padding_side="left"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def write(folder: Path) -> None:
    """A model folder that both sides open."""
    tokenizer, shape = byte_tokenizer(), TinyShape()
    model = build_model(tokenizer, shape, seed=0)
    # Odd sizes are slow everywhere alike: up to whole cache lines, as real models have it.
    model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=16, mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    image_processor(shape.patch).save_pretrained(folder)
