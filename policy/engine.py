"""Generation inside the process: one decode batch, one random stream a row, tokens and log-probs out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from episode import Generation, frame_key
from policy.cache import Forked, Layers, empty_cache
from policy.context import Prompt
from policy.packing import Columns, bucket, images_in, require_images, symbols
from policy.recall import Recall, Said, cache_of
from policy.vlm import VLM

SHARED = 2
"""Replies to a prompt, in the mean, from which on its keys and values are not copied for each of them."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How replies are drawn."""

    temperature: float = 1.0
    """Of the distribution from which tokens are drawn, and whose log-probs are kept; 0 takes the likeliest token, with
    log-probs of temperature 1."""
    max_tokens: int = 24

    @property
    def scale(self) -> float:
        """What logits are divided by."""
        return self.temperature or 1.0


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

    def layers(self, rows: torch.Tensor | None = None) -> Layers:
        """Keys and values of some rows, or of all."""
        layers: list[Any] = self.cache.layers
        if any(isinstance(layer, Forked) for layer in layers):
            return [layer.whole(rows) for layer in layers]
        pairs = [(layer.keys, layer.values) for layer in layers]
        return pairs if rows is None else [(keys[rows], values[rows]) for keys, values in pairs]

    def share(self) -> None:
        """Rows stand where they stand, however many are selected that go on from one, token by token."""
        self.cache.layers = [Forked(keys, values) for keys, values in self.layers()]


def _joined(states: Sequence[_State], empty: DynamicCache) -> _State:
    """Rows of several states in one, aligned on the right."""
    if len(states) == 1:
        return states[0]
    width = max(s.mask.shape[1] for s in states)

    def widened(parts: list[torch.Tensor], dim: int) -> torch.Tensor:
        grown = []
        for part in parts:
            shape = list(part.shape)
            shape[dim] = width - shape[dim]
            grown.append(torch.cat([part.new_zeros(shape), part], dim))
        return torch.cat(grown)

    for number, same in enumerate(zip(*(s.layers() for s in states), strict=True)):
        keys, values = zip(*same, strict=True)
        empty.update(widened(list(keys), 2), widened(list(values), 2), number)
    return _State(
        empty,
        widened([s.mask for s in states], 1),
        torch.cat([s.position for s in states], -2),
        torch.cat([s.logits for s in states]),
    )


class Engine:
    """The embedded engine: prefill each distinct prompt once, then decode all rows together.

    Rows with the same prompt and images share its prefill, prompts may go on from what was said before, and rows that
    have ended leave the decode batch. Each row draws its uniforms from its own seed by inverse transform sampling, so
    that what a row says does not depend on the batch that it happens to be in (beyond rounding of the logits).
    """

    def __init__(self, vlm: VLM) -> None:
        self.vlm = vlm
        self.recall = Recall(vlm)

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, seeds: Sequence[int], keep: bool = False
    ) -> list[Generation]:
        """One reply a prompt; ``seeds`` has one entry a prompt.

        With ``keep`` prompts go on from replies of the last call where they begin as those did, and what is computed is
        kept for the next call: for prompts that grow, or that share a long beginning. Where the family does not pack it
        changes nothing.
        """
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
        keep = keep and vlm.family.packs
        asked = [prompts[i] for i in first]
        told = [symbols(prompt.ids, prompt.images, vlm.family) for prompt in asked] if keep else []
        kept: dict[int, tuple[Layers, int, torch.Tensor]] | None = {} if keep else None
        drawn = torch.from_numpy(uniforms).to(vlm.device)
        with vlm.precision():  # entered once: trained weights are brought to it once, not for each token
            state, place = self._begin(asked, told)
            ids, logps = self._decode(state, [place[n] for n in which], sampling, drawn, kept)
        vlm.train(was_training)
        found = [
            self._generation(prompt, images, row_ids, row_logps, sampling)
            for prompt, images, row_ids, row_logps in zip(prompts, keys, ids, logps, strict=True)
        ]
        if kept is not None:
            whole = [np.concatenate([told[n], g.reply_ids]) for n, g in zip(which, found, strict=True)]
            self.recall.remember([Said(whole[b], *kept[b]) for b in range(len(found))])
        return found

    def _begin(self, prompts: Sequence[Prompt], told: Sequence[Columns]) -> tuple[_State, dict[int, int]]:
        """Distinct prompts, those of which symbols are ``told`` from what is known of them; and the row of each."""
        known = [self.recall.before(t) for t in told] or [(0, None)] * len(prompts)
        # Those that begin and those that go on: apart, as they have much and little left to compute.
        fresh = [n for n, (same, _) in enumerate(known) if not same]
        going = [n for n, (same, _) in enumerate(known) if same]
        parts = [_eights(part) for part in (fresh, going) if part]
        states = [self._prefill([prompts[n] for n in part], [known[n] for n in part]) for part in parts]
        rows = list(itertools.chain(*parts))
        return _joined(states, empty_cache(self.vlm.model.config.get_text_config())), {
            n: rows.index(n) for n in range(len(prompts))
        }

    def _prefill(self, prompts: Sequence[Prompt], known: Sequence[tuple[int, Said | None]]) -> _State:
        """Prompts padded on the left, so that all replies begin in one column, behind what is known of them."""
        vlm = self.vlm
        longest = max(len(p.ids) for p in prompts)
        width = bucket(max(len(p.ids) - same for p, (same, _) in zip(prompts, known, strict=True)), 16)
        pad = int(vlm.tokenizer.pad_token_id)
        ids, whole = torch.full((len(prompts), width), pad), torch.full((len(prompts), max(longest, width)), pad)
        mask, stands = torch.zeros_like(ids), torch.zeros_like(whole)
        images = []
        for b, (prompt, (same, _)) in enumerate(zip(prompts, known, strict=True)):
            require_images(prompt.ids, prompt.images, vlm.family)
            new = torch.from_numpy(prompt.ids[same:])
            ids[b, width - len(new) :], mask[b, width - len(new) :] = new, 1
            whole[b, whole.shape[1] - len(prompt.ids) :] = torch.from_numpy(prompt.ids)
            stands[b, whole.shape[1] - len(prompt.ids) :] = 1
            shown = images_in(prompt.ids[:same], prompt.images, vlm.family)
            images.append(prompt.images[shown:])
        positions = vlm.family.positions(whole, stands, [p.images for p in prompts])[..., -width:].to(vlm.device)
        cache, before = cache_of(vlm, known)
        mask = torch.cat([before, mask.to(vlm.device)], 1)
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
        self,
        state: _State,
        which: Sequence[int],
        sampling: Sampling,
        uniforms: torch.Tensor,
        kept: dict[int, tuple[Layers, int, torch.Tensor]] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Sampled ids and log-probs, both [B, T], where reply b goes on from row ``which[b]`` of the prefill.

        What stands behind a reply's end means nothing. ``kept`` is filled with each reply's layers, its row of them,
        and the columns of its tokens.
        """
        vlm, count = self.vlm, len(which)
        ends = torch.tensor(vlm.end_ids, device=vlm.device)
        ids = torch.full((count, sampling.max_tokens), int(vlm.tokenizer.pad_token_id), device=vlm.device)
        logps = torch.zeros(count, sampling.max_tokens, device=vlm.device)
        done = torch.zeros(count, dtype=torch.bool, device=vlm.device)
        rows = torch.tensor(_eights(range(count)), device=vlm.device)
        if vlm.family.packs and count >= SHARED * len(set(which)):
            state.share()
        state.select(torch.tensor(which, device=vlm.device)[rows])
        for step in range(sampling.max_tokens):
            distribution = vlm.distribution(state.logits, torch.full_like(rows, sampling.scale, dtype=torch.float))
            token = _pick(distribution, uniforms[rows, step], greedy=not sampling.temperature)
            ids[rows, step] = token
            logps[rows, step] = distribution.gather(1, token[:, None])[:, 0]
            done[rows] |= torch.isin(token, ends)
            going = (~done).nonzero()[:, 0].tolist()
            if step + 1 == sampling.max_tokens or not going:
                break
            if _enough(len(going)) < len(rows):
                places = {row: place for place, row in enumerate(rows.tolist())}
                if kept is not None:
                    gone = {row: place for row, place in places.items() if bool(done[row])}
                    _keep(kept, state, gone, torch.tensor(list(gone.values()), device=vlm.device))
                staying = torch.tensor([places[row] for row in _eights(going)], device=vlm.device)
                state.select(staying)
                rows, token = rows[staying], token[staying]
            self._advance(state, token)
        if kept is not None:
            _keep(kept, state, {row: place for place, row in enumerate(rows.tolist()) if row not in kept})
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
            temperature=sampling.scale,
            weight_version=self.vlm.weight_version,
        )


def _keep(
    kept: dict[int, tuple[Layers, int, torch.Tensor]],
    state: _State,
    places: dict[int, int],
    chosen: torch.Tensor | None = None,
) -> None:
    """Keep replies by number, which stand in these rows of a state; ``chosen`` copies those rows, else all are kept."""
    layers = state.layers(chosen)
    for number, (reply, place) in enumerate(places.items()):
        kept[reply] = layers, place if chosen is None else number, state.mask[place].nonzero()[:, 0]


def _eights(rows: Sequence[int]) -> list[int]:
    """Rows up to 1, 2, 4 or whole eights, the last one repeated: on a CPU every new shape costs a compilation."""
    return [*rows, *[rows[-1]] * (_enough(len(rows)) - len(rows))]


def _enough(rows: int) -> int:
    return bucket(rows, 8) if rows > 4 else bucket(rows, 4) if rows > 2 else rows


def _pick(distribution: torch.Tensor, uniform: torch.Tensor, greedy: bool) -> torch.Tensor:
    """Inverse transform sampling from log-probs [B, V] with one uniform a row; or the most likely token."""
    if greedy:
        return distribution.argmax(-1)
    cumulative = distribution.double().exp().cumsum(-1)
    target = uniform[:, None] * cumulative[:, -1:]
    token = torch.searchsorted(cumulative, target, right=True)[:, 0]
    return token.clamp(max=distribution.shape[1] - 1)
