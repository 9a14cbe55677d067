"""Transformers' ``generate`` with the model's processor: 16 prompts times a group of 8, a round.

.peers/trl/bin/python -m benchmarks.peers.hf_generate --model DIR
"""

from __future__ import annotations

from itertools import count
from typing import Any

import torch
from PIL import Image
from transformers import Qwen3VLForConditionalGeneration

from benchmarks.peers.meter import Meter, rollout_options
from benchmarks.peers.scene import INSTRUCTION, frame
from benchmarks.peers.stock import open_processor


def main() -> None:
    options = rollout_options(__doc__).parse_args()
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
