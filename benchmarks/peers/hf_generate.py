"""Transformers' ``generate`` with the model's processor: 16 prompts times a group of 8, a round.

.peers/trl/bin/python -m benchmarks.peers.hf_generate --model DIR
"""

from __future__ import annotations

import argparse
from itertools import count
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import Qwen3VLForConditionalGeneration

from benchmarks.peers.meter import Meter
from benchmarks.peers.scene import INSTRUCTION, frame
from benchmarks.peers.stock import open_processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--reply", type=int, default=32)
    options = parser.parse_args()
    meter, rounds = Meter(), count()
    processor = open_processor(options.model)
    model: Any = Qwen3VLForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32)
    model.eval()
    setting: dict[str, int] = {}

    @torch.inference_mode()
    def generate() -> float:
        number = next(rounds)
        images = [Image.fromarray(frame(1000 * number + i)) for i in range(options.prompts)]
        asked = [
            [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": INSTRUCTION}]}]
            for image in images
            for _ in range(options.group_size)
        ]
        inputs = processor.apply_chat_template(
            asked, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt", padding=True
        )
        output = model.generate(
            **inputs, max_new_tokens=options.reply, min_new_tokens=options.reply, do_sample=True, top_k=0
        )
        setting["prompt"] = inputs["input_ids"].shape[1]
        setting["rows"] = len(output)
        return float((output.shape[1] - setting["prompt"]) * len(output))

    generate()
    meter.ready(("torch", "transformers"), **setting, reply=options.reply)
    meter.serve(generate)


if __name__ == "__main__":
    main()
