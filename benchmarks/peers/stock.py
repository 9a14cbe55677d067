"""The model's processor as transformers has it, for the peers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor


class Processor(Qwen3VLProcessor):
    """Without videos, and so without torchvision."""

    def check_argument_for_proper_class(self, *_: Any, **__: Any) -> None:
        return None


# transformers tells processors apart by the name of their class.
Processor.__name__ = "Qwen3VLProcessor"


def open_processor(folder: Path, chat_template: str = "") -> Any:
    """The processor of a model folder, with its own chat template or another one."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if chat_template:
        tokenizer.chat_template = chat_template
    made: Any = Processor
    return made(
        image_processor=Qwen2VLImageProcessorPil.from_pretrained(folder),
        tokenizer=tokenizer,
        video_processor=None,
        chat_template=tokenizer.chat_template,
    )
