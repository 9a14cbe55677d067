"""Attention that is quick on a CPU, registered with transformers under the name ``handeye``; what speeds up a Qwen3-VL.

Four things cost tiny models their time on a CPU. Torch's fused attention is quick in float32 without a mask, and slow
with one in its backward pass, in bfloat16 and for one token a row: plain matrix products are taken there. Qwen3-VL's
vision tower attends image by image in a Python loop: it takes all images of a size at once. And the mask of a long
packed row pairs tokens that do not see each other: there attention goes branch by branch. Norms and
rotary positions take more passes over memory than they need: :mod:`policy.elementwise` has theirs. The results agree
with the stock ones within rounding (tests/test_vlm.py, tests/test_packing.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from policy.cache import Forked
from policy.elementwise import normed, precision, rotated

NAME = "handeye"
LOWEST = -1e30
"""Additive mask value; float32's minimum would become −inf in bfloat16 and turn fully masked rows into NaN."""


class _Attention(torch.autograd.Function):
    """softmax(scale · q kᵀ + mask) v for [B, H, L, D] tensors, without the dispatcher's overhead."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        # Products of views whose heads lie beside each other are slow. (In decoding all of them lie well.)
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        scores = torch.matmul(q * scale, k.transpose(2, 3))
        weights = (scores if mask is None else scores.add_(mask)).softmax(-1)
        ctx.save_for_backward(q, k, v, weights)
        ctx.scale = scale
        return torch.matmul(weights, v)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights = ctx.saved_tensors
        grad = grads[0].contiguous()
        d_v = torch.matmul(weights.transpose(2, 3), grad)
        d_weights = torch.matmul(grad, v.transpose(2, 3))
        d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
        d_q = torch.matmul(d_scores, k).mul_(ctx.scale)
        d_k = torch.matmul(d_scores.transpose(2, 3), q).mul_(ctx.scale)
        return d_q, d_k, d_v, None, None


@dataclass(frozen=True, slots=True)
class Branch:
    """Tokens of one row that go on from a path, all of which they see."""

    row: int
    path: Tensor
    """[P] int64 columns of the tokens before."""
    start: int
    stop: int


_BRANCHES: ContextVar[Sequence[Branch] | None] = ContextVar("branches", default=None)


@contextmanager
def attending(branches: Sequence[Branch] | None) -> Iterator[None]:
    """Within, masked attention is that of these branches, not that of the mask; None is the mask."""
    token = _BRANCHES.set(branches)
    try:
        yield
    finally:
        _BRANCHES.reset(token)


class _Branched(torch.autograd.Function):
    """The same branch by branch, so that nothing is computed for pairs of tokens that do not see each other."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, branches: Sequence[Branch], scale: float) -> Tensor:
        # Choosing columns of what is not contiguous copies all of it, for every branch.
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        out = torch.zeros_like(q)
        kept = []
        for branch in branches:
            mine = slice(branch.start, branch.stop)
            scores = torch.matmul(q[branch.row, :, mine] * scale, _seen(k, branch).transpose(1, 2))
            later = scores.new_full((scores.shape[1],) * 2, LOWEST).triu_(1)
            scores[:, :, len(branch.path) :].add_(later)
            weights = scores.softmax(-1)
            out[branch.row, :, mine] = torch.matmul(weights, _seen(v, branch))
            if ctx.needs_input_grad[0]:
                kept.append(weights)
        ctx.save_for_backward(q, k, v, *kept)
        ctx.branches, ctx.scale = branches, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *kept = ctx.saved_tensors
        d_q = torch.zeros_like(q)
        # What is shared sums over many branches: not in bfloat16.
        d_k, d_v = (torch.zeros_like(t, dtype=torch.float32) for t in (k, v))
        for branch, weights in zip(ctx.branches, kept, strict=True):
            mine = slice(branch.start, branch.stop)
            grad = grads[0][branch.row, :, mine]
            d_weights = torch.matmul(grad, _seen(v, branch).transpose(1, 2))
            d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype).mul_(ctx.scale)
            d_q[branch.row, :, mine] = torch.matmul(d_scores, _seen(k, branch))
            _spread(d_k, branch, torch.matmul(d_scores.transpose(1, 2), q[branch.row, :, mine]))
            _spread(d_v, branch, torch.matmul(weights.transpose(1, 2), grad))
        return d_q, d_k.to(k.dtype), d_v.to(v.dtype), None, None


def _seen(whole: Tensor, branch: Branch) -> Tensor:
    """What a branch's tokens see, its path and themselves: [H, P + n, D] of [B, H, L, D]."""
    mine = whole[branch.row]
    own = mine[:, branch.start : branch.stop]
    return torch.cat([mine.index_select(1, branch.path), own], 1) if len(branch.path) else own


def _spread(whole: Tensor, branch: Branch, part: Tensor) -> None:
    """The inverse of :func:`_seen`, added."""
    mine, path = whole[branch.row], len(branch.path)
    if path:
        mine.index_add_(1, branch.path, part[:, :path].to(whole.dtype))
    mine[:, branch.start : branch.stop] += part[:, path:]


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    device, dtype = v.device.type, precision(v)
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    with torch.autocast(device, enabled=False):
        branches = _BRANCHES.get()
        if mask is not None and branches is not None:
            return _Branched.apply(q, k, v, branches, scale)  # type: ignore[no-any-return, no-untyped-call]
        mask = mask if mask is None else mask.to(dtype)
        learns = torch.is_grad_enabled()
        # On a CPU fused attention is slow for one token a row, in its backward pass with a mask or in bfloat16, and
        # in bfloat16 with a mask at all.
        quick = (mask is None or not learns) if dtype == torch.float32 else (mask is None and not learns)
        if (quick and q.shape[2] > 1) or device != "cpu":
            return F.scaled_dot_product_attention(q, k, v, mask, scale=scale)
        return _Attention.apply(q, k, v, mask, scale)  # type: ignore[no-any-return, no-untyped-call]


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention interface: q [B, H, L, D], k and v [B, H_kv, S, D] → [B, L, H, D]."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        attention_mask = torch.zeros_like(attention_mask, dtype=query.dtype).masked_fill_(~attention_mask, LOWEST)
    elif attention_mask is not None:
        attention_mask = attention_mask.clamp(min=LOWEST)
    return _attend(query, key, value, attention_mask, scaling).transpose(1, 2).contiguous(), None


def _vision_forward(
    self: Any, hidden_states: Tensor, cu_seqlens: Tensor, position_embeddings: tuple[Tensor, Tensor], **_: Any
) -> Tensor:
    """Vision attention over runs of equally sized images at once; a run is one matrix product."""
    total = hidden_states.shape[0]
    q, k, v = self.qkv(hidden_states).view(total, 3, self.num_heads, -1).unbind(1)
    q, k = (rotated(t, *position_embeddings, t.dtype) for t in (q, k))
    lengths = (cu_seqlens[1:] - cu_seqlens[:-1]).tolist()
    parts, start, image = [], 0, 0
    while image < len(lengths):
        length, count = lengths[image], 1
        while image + count < len(lengths) and lengths[image + count] == length:
            count += 1
        stop = start + length * count

        def split(t: Tensor, start: int = start, stop: int = stop, count: int = count, length: int = length) -> Tensor:
            return t[start:stop].view(count, length, self.num_heads, -1).transpose(1, 2)

        part = _attend(split(q), split(k), split(v), None, self.scaling)
        parts.append(part.transpose(1, 2).reshape(stop - start, -1))
        start, image = stop, image + count
    return self.proj(torch.cat(parts) if len(parts) > 1 else parts[0])  # type: ignore[no-any-return]


def _text_forward(
    self: Any,
    hidden_states: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    attention_mask: Tensor | None,
    past_key_values: Any = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Text attention whose queries and keys are normed and rotated in few passes, and kept as they are multiplied."""
    shape = (*hidden_states.shape[:-1], -1, self.head_dim)
    dtype = precision(hidden_states)

    def placed(projection: nn.Module, norm: Any) -> Tensor:
        x = projection(hidden_states).view(shape)
        return rotated(x, *position_embeddings, dtype, norm.weight, norm.variance_epsilon).transpose(1, 2)

    q, k = placed(self.q_proj, self.q_norm), placed(self.k_proj, self.k_norm)
    v = self.v_proj(hidden_states).view(shape).transpose(1, 2)
    layer = None if past_key_values is None else past_key_values.layers[self.layer_idx]
    if isinstance(layer, Forked) and attention_mask is not None:
        out, weights = layer.attend(q, k, v, attention_mask.clamp(min=LOWEST), self.scaling), None
    else:
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer_idx)
        out, weights = attention(self, q, k, v, attention_mask, self.scaling)
    return self.o_proj(out.reshape(*shape[:-2], -1)), weights


def _patch_forward(self: Any, hidden_states: Tensor) -> Tensor:
    """Patches [N, C·t·p·p] as tokens: the convolution, whose stride is its kernel, is one matrix product."""
    return F.linear(hidden_states.to(self.proj.weight.dtype), self.proj.weight.flatten(1), self.proj.bias)


def _norm_forward(self: Any, hidden_states: Tensor) -> Tensor:
    return normed(hidden_states, self.weight, self.variance_epsilon, precision(hidden_states))


def speed_up(model: nn.Module) -> None:
    """Give a Qwen3-VL the quick attention and norms; other models keep transformers' own.

    The norm before the head keeps its own too: critics read what it returns, in float32. On GPUs all of this is as
    right, and unmeasured.
    """
    from transformers import Qwen3VLForConditionalGeneration

    if not isinstance(model, Qwen3VLForConditionalGeneration):
        return
    model.set_attn_implementation(NAME)
    patches = model.model.visual.patch_embed
    patches.forward = MethodType(_patch_forward, patches)
    for block in model.model.visual.blocks:
        block.attn.forward = MethodType(_vision_forward, block.attn)
    for layer in model.model.language_model.layers:
        layer.self_attn.forward = MethodType(_text_forward, layer.self_attn)
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.forward = MethodType(_norm_forward, norm)


ALL_ATTENTION_FUNCTIONS.register(NAME, attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["eager"])
