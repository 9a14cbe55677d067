"""What differs between families of vision-language models: how frames become model inputs, and where tokens stand.

The generic family uses nothing but the model and the processor of its folder. A fast family is declared per model
class and held to the generic one by parity tests: Qwen3-VL shares prefixes and the features of frames.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2VLImageProcessorPil,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from episode import Frame, HandeyeError, frame_key
from policy.frames import Encoded, Features, chunks


class ModelError(HandeyeError):
    """A folder holds no model that we can use, or model and inputs do not fit together."""


class Family(Protocol):
    tokenizer: PreTrainedTokenizerBase
    image_token_id: int
    packs: bool
    """Whether the model takes masks [B, 1, L, L] and explicit positions, so that rows can share a prefix."""

    def image_tokens(self, frame: Frame) -> int:
        """How many placeholder tokens a frame of this size takes in the prompt."""

    def image_inputs(self, images: Sequence[Sequence[Frame]]) -> dict[str, Any]:
        """Keyword arguments of the model's ``forward`` for the images of each row, in prompt order."""

    def positions(self, ids: Tensor, mask: Tensor, images: Sequence[Sequence[Frame]]) -> Tensor:
        """Explicit position ids for padded rows ``ids`` [B, L] with ``mask`` [B, L]; [B, L] or [3, B, L].

        Padding has any that are valid, 0 and above.
        """

    def sharing(self, uses: Sequence[Collection[str]]) -> Iterator[int]:
        """Count through micro-batches that show frames by these keys: see :meth:`policy.frames.Features.sharing`."""

    def take_tower(self, other: Family) -> None:
        """See through the other's vision tower and remember with it, where it is the same and frozen for good.

        A frame is then encoded once for both models, which have to compute in one precision.
        """

    def forget(self) -> None:
        """Drop remembered features, so that what comes depends on nothing before it."""

    def save(self, folder: Path) -> None: ...


@runtime_checkable
class Placing(Protocol):
    """A model that places image tokens in time, height and width: multimodal rotary positions."""

    def get_rope_index(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Positions [3, B, L], and what is to be added to those that count in a row of replies."""


RopeIndex = Callable[..., tuple[Tensor, Tensor]]
PLACED_BY = {"mm_token_type_ids", "image_grid_thw", "attention_mask"}
"""What it is called with."""
TOLD_BY_TOKEN = ("token_type_ids", "mm_token_type_ids", "moe_mm_token_type_ids")
"""Inputs that say of every token whether it is of an image: for masks, for experts, and for positions."""


class GenericFamily:
    """An image-text-to-text model, through its own processor, and through its own positions where it has such.

    Nothing tells the model token by token what belongs to an image: a class that asks for that beyond positions, such
    as Gemma 3 and PaliGemma for masks, is refused.
    """

    packs = False

    def __init__(self, folder: Path, model: PreTrainedModel) -> None:
        self.processor: Any = AutoProcessor.from_pretrained(folder, trust_remote_code=False)  # type: ignore[no-untyped-call]
        self.tokenizer: PreTrainedTokenizerBase = self.processor.tokenizer
        self.image_token_id = int(model.config.image_token_id)
        self._name = type(model).__name__
        self._rope_index = _rope_index(model)
        _require_untold(model, self.processor.model_input_names, self._rope_index)
        self._looks: dict[tuple[int, ...], tuple[int, list[list[int]]]] = {}

    def image_tokens(self, frame: Frame) -> int:
        return self._look(frame)[0]

    def _look(self, frame: Frame) -> tuple[int, list[list[int]]]:
        """Tokens of a frame of this size; and its patches in time, height and width, where positions are made of them.

        A picture is processed once for each size.

        Raises:
            ModelError: the processor writes more than the image's tokens, marks of rows say: prompts have these alone.
        """
        if frame.shape not in self._looks:
            token = self.tokenizer.convert_ids_to_tokens(self.image_token_id)
            inputs = self.processor(text=[token], images=[Image.fromarray(frame)])
            written, alone = np.asarray(inputs["input_ids"][0]), np.asarray(self.tokenizer(token)["input_ids"])
            count = int((written == self.image_token_id).sum())
            if not np.array_equal(written, np.repeat(alone, np.where(alone == self.image_token_id, count, 1))):
                raise _unfit(self._name, "marks rows, tiles or ends of images by tokens of their own")
            grids = np.asarray(inputs["image_grid_thw"]).tolist() if self._rope_index else []
            self._looks[frame.shape] = count, grids
        return self._looks[frame.shape]

    def image_inputs(self, images: Sequence[Sequence[Frame]]) -> dict[str, Any]:
        if not any(len(row) for row in images):
            return {}
        nested = [[Image.fromarray(f) for f in row] for row in images]
        inputs = self.processor.image_processor(nested, return_tensors="pt")
        return {k: v for k, v in inputs.items() if isinstance(v, Tensor)}

    def positions(self, ids: Tensor, mask: Tensor, images: Sequence[Sequence[Frame]]) -> Tensor:
        if self._rope_index is None:
            return (mask.long().cumsum(1) - 1).clamp_(min=0)
        shown = (ids == self.image_token_id).int()
        found = []
        # Row by row: some classes count images on from one row to the next.
        for row, frames in enumerate(images):
            grids = [grid for frame in frames for grid in self._look(frame)[1]]
            placed, _ = self._rope_index(
                ids[row, None],
                mm_token_type_ids=shown[row, None],
                image_grid_thw=torch.tensor(grids, device=ids.device) if grids else None,
                attention_mask=mask[row, None],
            )
            found.append(placed)
        return torch.cat(found, 1)

    def sharing(self, uses: Sequence[Collection[str]]) -> Iterator[int]:
        """Nothing is shared: the generic path leaves all of this to the model."""
        yield from range(len(uses))

    def take_tower(self, other: Family) -> None:
        """Nothing is taken: the generic path leaves encoding to the model."""

    def forget(self) -> None:
        """Nothing is remembered."""

    def save(self, folder: Path) -> None:
        self.processor.save_pretrained(folder)


class Qwen3VLFamily:
    """Qwen3-VL: patches cut here, each distinct frame encoded once, multimodal rotary positions computed here.

    The stock composite processor needs torchvision for videos, which we never have; the image processor of the folder
    is read for the mean and the deviation of pixels. Nothing is resized: frames are whole image tokens, or refused.
    """

    packs = True

    def __init__(self, folder: Path, model: Qwen3VLForConditionalGeneration) -> None:
        self.model = model
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.image_processor = Qwen2VLImageProcessorPil.from_pretrained(folder)
        vision: Any = model.config.vision_config
        self.patch, self.merge = int(vision.patch_size), int(vision.spatial_merge_size)
        self.temporal = int(vision.temporal_patch_size)
        self.image_token_id = int(model.config.image_token_id)
        self._grids: dict[tuple[int, ...], tuple[int, int]] = {}
        self.features = Features(model.model.visual, self._features)

    def grid(self, frame: Frame) -> tuple[int, int]:
        """Rows and columns of patches for a frame of this size."""
        if frame.shape not in self._grids:
            height, width = frame.shape[:2]
            unit = self.patch * self.merge
            if height % unit or width % unit:
                raise ModelError(
                    f"a frame of {width}x{height} pixels is not a whole number of image tokens ({unit} pixels); "
                    f"choose sizes that are multiples of {unit}"
                )
            self._grids[frame.shape] = (height // self.patch, width // self.patch)
        return self._grids[frame.shape]

    def image_tokens(self, frame: Frame) -> int:
        rows, columns = self.grid(frame)
        return rows * columns // self.merge**2

    def pixels(self, frames: Sequence[Frame]) -> tuple[Tensor, Tensor]:
        """Patches [sum of h·w, C·t·p·p] in the model's order, and grids [N, 3], for frames in order."""
        p, k = self.patch, self.merge
        mean = torch.tensor(self.image_processor.image_mean).view(1, 3, 1, 1)
        std = torch.tensor(self.image_processor.image_std).view(1, 3, 1, 1)
        parts, grids, start = [], [], 0
        while start < len(frames):
            stop = start + 1
            while stop < len(frames) and frames[stop].shape == frames[start].shape:
                stop += 1
            rows, columns = self.grid(frames[start])
            x = torch.from_numpy(np.stack(frames[start:stop])).permute(0, 3, 1, 2).float().div_(255)
            x = (x - mean) / std
            x = x.view(-1, 3, rows // k, k, p, columns // k, k, p).permute(0, 2, 5, 3, 6, 1, 4, 7)
            x = x.reshape(-1, 3, 1, p * p).expand(-1, 3, self.temporal, p * p)
            parts.append(x.reshape(-1, 3 * self.temporal * p * p))
            grids += [[1, rows, columns]] * (stop - start)
            start = stop
        return torch.cat(parts), torch.tensor(grids)

    def encode(self, frames: Sequence[Frame]) -> Any:
        """The vision tower's output for frames in order, with features split frame by frame.

        ``last_hidden_state`` has the patches, in blocks of ``merge`` by ``merge``; ``pooler_output`` the tokens.
        """
        parts = [self._encode(frames[start:stop]) for start, stop in chunks([f.shape for f in frames])]
        if len(parts) == 1:
            return parts[0]
        whole = parts[0]
        whole.last_hidden_state = torch.cat([p.last_hidden_state for p in parts])
        whole.pooler_output = tuple(f for p in parts for f in p.pooler_output)
        levels = zip(*(p.deepstack_features for p in parts), strict=True)
        whole.deepstack_features = [tuple(f for level in same for f in level) for same in levels]
        return whole

    def _features(self, frames: Sequence[Frame]) -> list[Encoded]:
        output = self._encode(frames)
        levels = zip(*output.deepstack_features, strict=True) if output.deepstack_features else [()] * len(frames)
        return [(tokens, *deep) for tokens, deep in zip(output.pooler_output, levels, strict=True)]

    def _encode(self, frames: Sequence[Frame]) -> Any:
        device = self.model.device
        pixels, grids = self.pixels(frames)
        return self.model.model.get_image_features(pixels.to(device), grids.to(device), return_dict=True)

    def image_inputs(self, images: Sequence[Sequence[Frame]]) -> dict[str, Any]:
        flat = [frame for row in images for frame in row]
        if not flat:
            return {}
        keys = [frame_key(frame) for frame in flat]
        known = self.features.of(dict(zip(keys, flat, strict=True)))
        output = BaseModelOutputWithDeepstackFeatures(
            pooler_output=tuple(known[key][0] for key in keys),  # type: ignore[arg-type] # frame by frame
            deepstack_features=list(zip(*(known[key][1:] for key in keys), strict=True)),  # type: ignore[arg-type]
        )
        return {"mm_encoder_outputs": {"image": output}}

    def positions(self, ids: Tensor, mask: Tensor, images: Sequence[Sequence[Frame]]) -> Tensor:
        result = torch.zeros(3, *ids.shape, dtype=torch.long)
        rows, keep = ids.cpu().numpy(), mask.cpu().numpy().astype(bool)
        for b, row in enumerate(images):
            grids = [tuple(n // self.merge for n in self.grid(frame)) for frame in row]
            result[:, b, torch.from_numpy(keep[b])] = torch.from_numpy(self._row_positions(rows[b][keep[b]], grids))
        return result.to(ids.device)

    def _row_positions(self, ids: np.ndarray[Any, Any], grids: Sequence[tuple[int, ...]]) -> np.ndarray[Any, Any]:
        """[3, L]: text counts on; an image spans max(h, w) positions, its tokens at (start, start + y, start + x)."""
        out = np.empty((3, len(ids)), np.int64)
        spans = np.flatnonzero(ids == self.image_token_id)
        at, position, used = 0, 0, 0
        for height, width in grids:
            start = int(spans[used])
            out[:, at:start] = np.arange(position, position + start - at)
            position += start - at
            y, x = np.divmod(np.arange(height * width), width)
            out[:, start : start + height * width] = np.stack([np.zeros_like(y), y, x]) + position
            position += max(height, width)
            at, used = start + height * width, used + height * width
        if used != len(spans):
            raise ModelError(f"the prompt has {len(spans)} image tokens, its images have {used} features")
        out[:, at:] = np.arange(position, position + len(ids) - at)
        return out

    def sharing(self, uses: Sequence[Collection[str]]) -> Iterator[int]:
        return self.features.sharing(uses)

    def take_tower(self, other: Family) -> None:
        if not isinstance(other, Qwen3VLFamily) or self._sight() != other._sight():
            return
        mine, theirs = (list(f.model.model.visual.parameters()) for f in (self, other))
        if not any(p.requires_grad for p in theirs) and all(map(torch.equal, mine, theirs)):
            self.model.model.visual, self.features = other.model.model.visual, other.features

    def _sight(self) -> list[Any]:
        """All but weights that decides how a frame is encoded."""
        vision: Any = self.model.config.vision_config
        return [vision.to_dict(), self.image_processor.image_mean, self.image_processor.image_std]

    def forget(self) -> None:
        self.features.forget()

    def save(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save_pretrained(folder)


def family_of(folder: Path, model: PreTrainedModel) -> Family:
    """The fast family where one is declared for the model's class, else the generic one."""
    if isinstance(model, Qwen3VLForConditionalGeneration):
        return Qwen3VLFamily(folder, model)
    return GenericFamily(folder, model)


def _rope_index(model: PreTrainedModel) -> RopeIndex | None:
    """What places a model's image tokens in height and width; None where its positions just count.

    Raises:
        ModelError: they are placed by something else than the grids of images.
    """
    placing = next((part for part in (model.base_model, model) if isinstance(part, Placing)), None)
    if placing is None:
        return None
    if not inspect.signature(placing.get_rope_index).parameters.keys() >= PLACED_BY:
        raise _unfit(type(model).__name__, "places image tokens by more than the grids of images")
    return placing.get_rope_index


def _require_untold(model: PreTrainedModel, given: Collection[str], rope_index: RopeIndex | None) -> None:
    """Raise a ModelError where a model takes from its processor what every token is, for more than positions.

    Without it such a model computes something else and does not say so.
    """
    takes = inspect.signature(model.forward).parameters
    told = [name for name in TOLD_BY_TOKEN if name in takes and name in given]
    if rope_index is not None:
        told = [name for name in told if name != "mm_token_type_ids"]  # for positions alone, which it is given
    if told:
        raise _unfit(type(model).__name__, f"treats tokens of images apart, in masks for example, by {told[0]}")


def _unfit(model: str, why: str) -> ModelError:
    return ModelError(
        f"{model} {why}, which GenericFamily does not pass: take a model of another class, or write a "
        "family for this one (docs/adding-a-model.md)"
    )
