"""TRL's GRPO: one training step a round, with what it generates and what it learns from that.

    .peers/trl/bin/python -m benchmarks.peers.trl_grpo --model DIR --turns 4 --groups 2

One turn is its plain path with an image column. Several turns are its ``environment_factory``, the only one that shows
images after the first turn. There a random model would never write a tool call, so all but two digits of each is
forced: every reply costs what a real one does.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
import trl  # type: ignore[import-not-found]
from datasets import Dataset  # type: ignore[import-not-found]
from PIL import Image
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    Qwen3VLForConditionalGeneration,
    TrainerCallback,
)

from benchmarks.peers.meter import Meter
from benchmarks.peers.scene import INSTRUCTION, box, frame
from benchmarks.peers.stock import open_processor

CALL = '<tool_call>\n{"name": "click", "arguments": {"x": 0, "y": 0}}\n</tool_call><|im_end|>'
TEMPLATE = Path(trl.__file__).parent / "chat_templates" / "qwen3_vl.jinja"


class ClickBox:
    """The world of ``ours_grpo``, as TRL wants one."""

    number = 0

    def reset(self, **_: Any) -> list[dict[str, Any]]:
        # Siblings are reset one after another and share a seed; which seed it is does not matter for the cost.
        self.seed, self.clicks = 0, []  # type: ignore[var-annotated]
        return [self._seen(), {"type": "text", "text": INSTRUCTION}]

    def click(self, x: int, y: int) -> list:  # type: ignore[type-arg]  # the schema is made from this signature
        """Click on the screen.

        Args:
            x: column
            y: row

        Returns:
            The next screen.
        """
        self.clicks.append((12 * int(x), 12 * int(y)))
        return [self._seen()]

    def get_reward(self) -> float:
        left, top = box(self.seed)
        far = float(sum(abs(x - left) + abs(y - top) for x, y in self.clicks))
        return 1 - far / 256 - 0.001 * (id(self) % 97)

    def _seen(self) -> dict[str, Any]:
        return {"type": "image", "image": Image.fromarray(frame(self.seed, self.clicks))}


class Forced(LogitsProcessor):
    """Everything of a tool call but its two digits."""

    def __init__(self, tokenizer: Any, prompt: int) -> None:
        self.call = tokenizer.encode(CALL, add_special_tokens=False)
        self.digits = tokenizer.convert_tokens_to_ids([str(d) for d in range(10)])
        self.prompt = prompt

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        at = ids.shape[1] - self.prompt
        forced = torch.full_like(scores, -1e9)
        if self.call[at] == self.digits[0]:
            forced[:, self.digits] = scores[:, self.digits]
        else:
            forced[:, self.call[at]] = 0
        return forced


class Rounds(TrainerCallback):
    """The trainer's loop waits here until the harness asks for the next step."""

    def __init__(self, meter: Meter, seen: list[tuple[int, int, int]], rows: int, turns: int) -> None:
        self.meter = meter
        self.seen = seen
        self.rows = rows
        self.turns = turns

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0:
            return
        if state.global_step == 1:
            prompts = [prompt for _, prompt, _ in self.seen]
            growth = prompts[1] - prompts[0] if len(prompts) > 1 else 0
            self.meter.ready(
                ("trl", "torch", "transformers"),
                prompts=prompts,
                prompt=prompts[0],
                growth=growth,
                reply=self.seen[0][2],
                rows=self.rows,
            )
        self.seen.clear()
        if not self.meter.asked():
            os._exit(0)  # out of the middle of TRL's loop

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        turns = sum(rows for rows, _, _ in self.seen)
        assert turns == self.rows * self.turns, f"TRL played {turns} turns, not {self.rows * self.turns}"
        if state.global_step > 1:
            self.meter.done(turns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--reply", type=int, default=16, help="tokens; with several turns a tool call decides")
    options = parser.parse_args()
    meter, turns, rows = Meter(), options.turns, options.groups * options.group_size
    processor = open_processor(options.model, TEMPLATE.read_text() if turns > 1 else "")
    model: Any = Qwen3VLForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32)
    settings: dict[str, Any] = {
        "output_dir": "benchmarks/out/peers/trl",
        "per_device_train_batch_size": rows,
        "num_generations": options.group_size,
        "max_completion_length": options.reply if turns == 1 else 256 * turns,
        "max_steps": 10**6,
        "learning_rate": 1e-5,
        "beta": 0.0,
        "temperature": 1.0,
        "bf16": False,
        "fp16": False,
        "use_cpu": True,
        # The trainer's default trades time for memory that so small a model does not need.
        "gradient_checkpointing": False,
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1000,
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }
    if turns == 1:
        settings["generation_kwargs"] = {"min_new_tokens": options.reply}
        prompts = [[{"role": "user", "content": INSTRUCTION}]] * 64
        data = Dataset.from_dict({"prompt": prompts, "image": [Image.fromarray(frame(i)) for i in range(64)]})
        chosen: dict[str, Any] = {"reward_funcs": nearness, "train_dataset": data}
    else:
        settings["max_tool_calling_iterations"] = turns - 1
        data = Dataset.from_dict({"prompt": [[{"role": "user", "content": INSTRUCTION}]] * 64})
        chosen = {"environment_factory": ClickBox, "train_dataset": data}
    trainer = trl.GRPOTrainer(model=model, args=trl.GRPOConfig(**settings), processing_class=processor, **chosen)
    seen: list[tuple[int, int, int]] = []
    plain = model.generate

    def generate(**inputs: Any) -> torch.Tensor:
        """As it was, with tool calls forced, and written down: rows, tokens of the prompt, tokens of the reply."""
        prompt = inputs["input_ids"].shape[1]
        if turns > 1:
            inputs["logits_processor"] = LogitsProcessorList([Forced(processor.tokenizer, prompt)])
        output: torch.Tensor = plain(**inputs)
        seen.append((len(output), prompt, output.shape[1] - prompt))
        return output

    model.generate = generate
    trainer.add_callback(Rounds(meter, seen, rows, turns))
    trainer.train()


def nearness(completions: list[Any], **_: Any) -> list[float]:
    """A reward that no two replies share."""
    texts = [c if isinstance(c, str) else str(c[-1]["content"]) for c in completions]
    return [sum(map(ord, text)) % 997 / 997 for text in texts]


if __name__ == "__main__":
    main()
