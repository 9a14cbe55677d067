"""FLOPs that a gradient needs, and how fast plain matrix products of the same shapes are on this machine."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from episode import frame_key
from policy.families import Qwen3VLFamily
from policy.packing import Row, shared
from policy.vlm import VLM

T = TypeVar("T")
Shape = tuple[int, int, int]
"""(n, in, out) of a product of [n, in] and [in, out]."""


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds of this process, and what came of it."""
    start = time.process_time()
    done = work()
    return time.process_time() - start, done


def layers(vlm: VLM) -> Iterator[tuple[str, nn.Module, torch.Tensor]]:
    """Layers that are a product with a matrix: what their rows are, and the matrix, [out, ...]."""
    for name, module in vlm.model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv3d):
            vision = "image tokens" if "merger" in name else "patches"
            yield "answers" if module is vlm.head else vision if "visual" in name else "tokens", module, module.weight


def needed(vlm: VLM, rows: Sequence[Row]) -> int:
    """FLOPs of a gradient over rows: matrix products and attention, forward and backward.

    What rows begin with in common and each distinct frame count once, padding never, and a token attends to its path
    alone. Each weight takes part in three products (two where its input is pixels), attention in two forward and four
    backward, at two FLOPs a multiplication. Every layer counts for every token, also where nobody reads the result.
    """
    family = vlm.family
    assert isinstance(family, Qwen3VLFamily)
    trees = [group.tree for group in shared(rows, family, most=sys.maxsize)]
    frames = {frame_key(image): image for row in rows for image in row.images}.values()
    patches = [math.prod(family.grid(frame)) for frame in frames]
    counts = {
        "patches": sum(patches),
        "image tokens": sum(map(family.image_tokens, frames)),
        "tokens": sum(tree.length for tree in trees),
        "answers": sum(len(tree.answers) for tree in trees),
    }
    products = sum((4 if isinstance(m, nn.Conv3d) else 6) * counts[kind] * w.numel() for kind, m, w in layers(vlm))
    pairs = sum(len(b) * len(path) + len(b) * (len(b) + 1) // 2 for tree in trees for path, b, _ in tree.branches)
    config: Any = vlm.model.config
    vision, text = config.vision_config, config.get_text_config()
    attention = int(vision.depth * vision.hidden_size) * sum(n**2 for n in patches)
    attention += int(text.num_hidden_layers * text.num_attention_heads * text.head_dim) * pairs
    return products + 12 * attention


def products_of(vlm: VLM, work: Callable[[], None]) -> Counter[Shape]:
    """How often layers multiply by shape while ``work`` runs, padding and all."""
    found: Counter[Shape] = Counter()

    def watch(module: nn.Module, weight: torch.Tensor) -> Any:
        out, width = len(weight), weight[0].numel()

        def count(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            found[inputs[0].numel() // width, width, out] += 1

        return module.register_forward_pre_hook(count)

    hooks = [watch(module, weight) for _, module, weight in layers(vlm)]
    work()
    for hook in hooks:
        hook.remove()
    return found


def product_seconds(shape: Shape, dtype: torch.dtype) -> float:
    """CPU seconds of the three products that a layer of this shape takes part in: output, both gradients."""
    n, width, out = shape
    x, w, g = (torch.randn(size).to(dtype) for size in ((n, width), (out, width), (n, out)))
    return sum(map(fastest, (lambda: x @ w.t(), lambda: g @ w, lambda: g.t() @ x)))


def fastest(work: Callable[[], Any]) -> float:
    """CPU seconds of one call: the best of five runs of some milliseconds, after two that do not count."""
    work()
    calls = max(1, int(2e-3 / timed(work)[0]))
    return min(timed(lambda: [work() for _ in range(calls)])[0] for _ in range(5)) / calls


def rates(shapes: Counter[Shape], dtype: torch.dtype) -> dict[str, float]:
    """FLOPs a CPU second of products of these shapes: of the best of them, and of all of them as often as counted."""
    flops = {shape: 6 * math.prod(shape) for shape in shapes}
    seconds = {shape: product_seconds(shape, dtype) for shape in shapes}
    everything = sum(count * flops[shape] for shape, count in shapes.items())
    return {
        "best": max(flops[shape] / seconds[shape] for shape in shapes),
        "same": everything / sum(count * seconds[shape] for shape, count in shapes.items()),
    }
