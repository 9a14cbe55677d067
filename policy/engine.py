"""Generation inside the process: one decode batch, one random stream a row, tokens and log-probs out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from episode import Generation, frame_key
from policy.context import Prompt
from policy.packing import bucket
from policy.vlm import VLM


@dataclass(frozen=True, slots=True)
class Sampling:
    """How replies are drawn."""

    temperature: float = 1.0
    """Above 0. Log-probs are those of the distribution at this temperature, also when ``greedy``."""
    max_tokens: int = 24
    greedy: bool = False


@dataclass(slots=True)
class _State:
    """Rows in the middle of being decoded."""

    cache: DynamicCache
    mask: torch.Tensor
    """[B, P] 1 where a token stands."""
    position: torch.Tensor
    """[B, 1] or [3, B, 1] of the last token."""
    logits: torch.Tensor
    """[B, V] of the next token."""

    def select(self, rows: torch.Tensor) -> None:
        """Go on with these rows, which may repeat."""
        self.cache.batch_select_indices(rows)
        self.mask, self.logits = self.mask[rows], self.logits[rows]
        self.position = self.position[..., rows, :]


class Engine:
    """The embedded engine: prefill each distinct prompt once, then decode all rows together.

    Rows with the same prompt and images share its prefill; rows that have ended leave the decode batch. Each row draws
    its uniforms from its own seed by inverse transform sampling, so that what a row says does not depend on the batch
    that it happens to be in (beyond rounding of the logits).
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
        keys = [tuple(frame_key(image) for image in prompt.images) for prompt in prompts]
        distinct: dict[tuple[bytes, tuple[str, ...]], int] = {}
        which = [
            distinct.setdefault((prompt.ids.tobytes(), images), len(distinct))
            for prompt, images in zip(prompts, keys, strict=True)
        ]
        first = [which.index(number) for number in range(len(distinct))]
        uniforms = np.stack([np.random.Generator(np.random.PCG64(s)).random(sampling.max_tokens) for s in seeds])
        state = self._prefill([prompts[i] for i in _eights(first)])
        ids, logps = self._decode(state, which, sampling, torch.from_numpy(uniforms).to(vlm.device))
        vlm.train(was_training)
        return [
            self._generation(prompt, images, row_ids, row_logps, sampling)
            for prompt, images, row_ids, row_logps in zip(prompts, keys, ids, logps, strict=True)
        ]

    def _prefill(self, prompts: Sequence[Prompt]) -> _State:
        """Prompts padded on the left, so that all replies begin in one column."""
        vlm = self.vlm
        width = bucket(max(len(p.ids) for p in prompts), 16)
        ids = torch.full((len(prompts), width), int(vlm.tokenizer.pad_token_id))
        mask = torch.zeros_like(ids)
        for b, prompt in enumerate(prompts):
            vlm.require_images(prompt.ids, prompt.images)
            ids[b, width - len(prompt.ids) :] = torch.from_numpy(prompt.ids)
            mask[b, width - len(prompt.ids) :] = 1
        images = [p.images for p in prompts]
        positions = vlm.family.positions(ids, mask, images).to(vlm.device)
        mask = mask.to(vlm.device)
        cache = DynamicCache(config=vlm.model.config.get_text_config())
        logits = vlm.logits(
            input_ids=ids.to(vlm.device),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            images=images,
        )[:, -1]
        return _State(cache, mask, positions[..., -1:], logits)

    def _decode(
        self, state: _State, which: Sequence[int], sampling: Sampling, uniforms: torch.Tensor
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Sampled ids and log-probs, both [B, T], where reply b goes on from row ``which[b]`` of the prefill.

        What stands behind a reply's end means nothing.
        """
        vlm, count = self.vlm, len(which)
        ends = torch.tensor(vlm.end_ids, device=vlm.device)
        ids = torch.full((count, sampling.max_tokens), int(vlm.tokenizer.pad_token_id), device=vlm.device)
        logps = torch.zeros(count, sampling.max_tokens, device=vlm.device)
        done = torch.zeros(count, dtype=torch.bool, device=vlm.device)
        rows = torch.tensor(_eights(range(count)), device=vlm.device)
        state.select(torch.tensor(which, device=vlm.device)[rows])
        for step in range(sampling.max_tokens):
            distribution = vlm.distribution(
                state.logits, torch.full_like(rows, sampling.temperature, dtype=torch.float)
            )
            token = _pick(distribution, uniforms[rows, step], sampling.greedy)
            ids[rows, step] = token
            logps[rows, step] = distribution.gather(1, token[:, None])[:, 0]
            done[rows] |= torch.isin(token, ends)
            going = (~done).nonzero()[:, 0].tolist()
            if step + 1 == sampling.max_tokens or not going:
                break
            if bucket(len(going), 8) < len(rows):
                places = {row: place for place, row in enumerate(rows.tolist())}
                kept = torch.tensor([places[row] for row in _eights(going)], device=vlm.device)
                state.select(kept)
                rows, token = rows[kept], token[kept]
            self._advance(state, token)
        return ids.to("cpu", torch.int32).numpy(), logps.cpu().numpy()

    def _advance(self, state: _State, token: torch.Tensor) -> None:
        """One more token a row."""
        state.mask = torch.cat([state.mask, state.mask.new_ones(len(token), 1)], 1)
        state.position = state.position + 1
        state.logits = self.vlm.logits(
            input_ids=token[:, None],
            attention_mask=state.mask,
            position_ids=state.position,
            past_key_values=state.cache,
            use_cache=True,
        )[:, -1]

    def _generation(
        self,
        prompt: Prompt,
        images: tuple[str, ...],
        ids: NDArray[np.int32],
        logps: NDArray[np.float32],
        sampling: Sampling,
    ) -> Generation:
        ended = np.flatnonzero(np.isin(ids, self.vlm.end_ids))
        length = int(ended[0]) + 1 if len(ended) else len(ids)
        said = ids[: length - 1] if len(ended) else ids
        return Generation(
            prompt_ids=prompt.ids,
            reply_ids=ids[:length].copy(),
            images=images,
            text=str(self.vlm.tokenizer.decode(said.tolist(), skip_special_tokens=False)),
            logps=logps[:length].copy(),
            temperature=sampling.temperature,
            weight_version=self.vlm.weight_version,
        )


def _eights(rows: Sequence[int]) -> list[int]:
    """Rows up to a whole number of eights, the last one repeated: on a CPU every new shape costs a compilation."""
    return [*rows, *[rows[-1]] * (bucket(len(rows), 8) - len(rows))]


def _pick(distribution: torch.Tensor, uniform: torch.Tensor, greedy: bool) -> torch.Tensor:
    """Inverse transform sampling from log-probs [B, V] with one uniform a row; or the most likely token."""
    if greedy:
        return distribution.argmax(-1)
    cumulative = distribution.double().exp().cumsum(-1)
    target = uniform[:, None] * cumulative[:, -1:]
    token = torch.searchsorted(cumulative, target, right=True)[:, 0]
    return token.clamp(max=distribution.shape[1] - 1)
