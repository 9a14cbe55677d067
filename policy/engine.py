"""Generation inside the process: one decode batch, one random stream a row, tokens and log-probs out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from episode import Generation, frame_key
from policy.context import Prompt
from policy.vlm import VLM, Row, bucket


@dataclass(frozen=True, slots=True)
class Sampling:
    """How replies are drawn."""

    temperature: float = 1.0
    """Above 0. Log-probs are those of the distribution at this temperature, also when ``greedy``."""
    max_tokens: int = 24
    greedy: bool = False


class Engine:
    """The embedded engine: prefill all prompts at once, then decode all rows together.

    Each row draws its uniforms from its own seed by inverse transform sampling, so that what a row says does not depend
    on the batch that it happens to be in (beyond rounding of the logits).
    """

    def __init__(self, vlm: VLM) -> None:
        self.vlm = vlm

    @torch.no_grad()
    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, seeds: Sequence[int]) -> list[Generation]:
        """One reply a prompt; ``seeds`` has one entry a prompt."""
        if not prompts:
            return []
        vlm = self.vlm
        was_training = vlm.training
        vlm.eval()
        uniforms = np.stack([np.random.Generator(np.random.PCG64(s)).random(sampling.max_tokens) for s in seeds])
        # Rows up to a whole number of eights: on a CPU every new shape costs the kernels a compilation.
        extra = bucket(len(prompts), 8) - len(prompts)
        padded = [*prompts, *[prompts[-1]] * extra]
        uniforms = np.concatenate([uniforms, uniforms[-1:].repeat(extra, 0)])
        ids, logps = self._decode(padded, sampling, torch.from_numpy(uniforms).to(vlm.device))
        vlm.train(was_training)
        return [
            self._generation(prompt, row_ids, row_logps, sampling)
            for prompt, row_ids, row_logps in zip(prompts, ids, logps, strict=False)
        ]

    def _decode(
        self, prompts: Sequence[Prompt], sampling: Sampling, uniforms: torch.Tensor
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Sampled ids and log-probs, both [B, T]; rows that have ended are filled with padding."""
        vlm = self.vlm
        empty = np.empty(0, np.int32)
        batch = vlm.collate([Row(p.ids, empty, p.images, sampling.temperature) for p in prompts])
        cache = DynamicCache(config=vlm.model.config.get_text_config())
        logits = vlm.logits(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            images=batch.images,
        )[:, -1]
        mask, position = batch.mask, batch.positions[..., -1:]
        ends = torch.tensor(vlm.end_ids, device=vlm.device)
        pad = torch.tensor(vlm.tokenizer.pad_token_id, device=vlm.device)
        done = torch.zeros(len(prompts), dtype=torch.bool, device=vlm.device)
        ids, logps = [], []
        for step in range(sampling.max_tokens):
            distribution = vlm.distribution(logits, batch.temperature)
            token = _pick(distribution, uniforms[:, step], sampling.greedy)
            token = torch.where(done, pad, token)
            ids.append(token)
            logps.append(distribution.gather(1, token[:, None])[:, 0])
            done = done | torch.isin(token, ends)
            if step + 1 == sampling.max_tokens or bool(done.all()):
                break
            mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], 1)
            position = position + 1
            logits = self._next(token, mask, position, cache)
        return (
            torch.stack(ids, 1).to("cpu", torch.int32).numpy(),
            torch.stack(logps, 1).to("cpu", torch.float32).numpy(),
        )

    def _next(self, token: torch.Tensor, mask: torch.Tensor, position: torch.Tensor, cache: Any) -> torch.Tensor:
        return self.vlm.logits(
            input_ids=token[:, None],
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
        )[:, -1]

    def _generation(
        self, prompt: Prompt, ids: NDArray[np.int32], logps: NDArray[np.float32], sampling: Sampling
    ) -> Generation:
        ended = np.flatnonzero(np.isin(ids, self.vlm.end_ids))
        length = int(ended[0]) + 1 if len(ended) else len(ids)
        said = ids[: length - 1] if len(ended) else ids
        return Generation(
            prompt_ids=prompt.ids,
            reply_ids=ids[:length].copy(),
            images=tuple(frame_key(f) for f in prompt.images),
            text=str(self.vlm.tokenizer.decode(said.tolist(), skip_special_tokens=False)),
            logps=logps[:length].copy(),
            temperature=sampling.temperature,
            weight_version=self.vlm.weight_version,
        )


def _pick(distribution: torch.Tensor, uniform: torch.Tensor, greedy: bool) -> torch.Tensor:
    """Inverse transform sampling from log-probs [B, V] with one uniform a row; or the most likely token."""
    if greedy:
        return distribution.argmax(-1)
    cumulative = distribution.double().exp().cumsum(-1)
    target = uniform[:, None] * cumulative[:, -1:]
    token = torch.searchsorted(cumulative, target, right=True)[:, 0]
    return token.clamp(max=distribution.shape[1] - 1)
