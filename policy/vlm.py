"""The one wrapped model: any transformers image-text-to-text model, scored through a single ``forward``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from episode import Frame
from policy.attention import speed_up
from policy.families import Family, ModelError, family_of
from policy.value import ValueHead

BASE = Path(__file__).resolve().parent.parent / "assets" / "tiny-vlm"
"""The shipped base model, also reached by the name ``base``."""
VALUE_FILE = "value_head.safetensors"
BANNED = -1e30


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt with its images and one reply to score."""

    prompt_ids: NDArray[np.int32]
    reply_ids: NDArray[np.int32]
    images: tuple[Frame, ...]
    temperature: float = 1.0
    privileged: NDArray[np.float32] | None = None
    """[C] for an asymmetric critic; the policy never sees it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows with prompts padded on the left and replies on the right, so that all replies start in column ``prompt``."""

    ids: Tensor
    """[B, P + R] int64."""
    mask: Tensor
    """[B, P + R] int64, 1 where a token stands."""
    reply_mask: Tensor
    """[B, R] bool."""
    positions: Tensor
    images: tuple[tuple[Frame, ...], ...]
    temperature: Tensor
    """[B] float32."""
    prompt: int
    privileged: Tensor | None = None
    """[B, C] float32."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What the policy thinks of the replies. Entries outside ``mask`` are 0."""

    logps: Tensor
    """[B, R] float32, under the sampling distribution: temperature applied, banned tokens left out."""
    entropy: Tensor
    """[B, R] float32, nats."""
    mask: Tensor
    """[B, R] bool."""
    values: Tensor | None
    """[B, R] float32, V before each reply token; None without a value head."""


def quick_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 here: on GPUs that have it, and on CPUs with instructions for it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def model_folder(name: str | Path) -> Path:
    """The folder of a model, where ``base`` is the shipped one.

    Raises:
        ModelError: there is no model in it.
    """
    path = BASE if str(name) == "base" else Path(name)
    if not (path / "config.json").is_file():
        hint = "make it with `handeye pretrain`" if path == BASE else "give a folder written by save_pretrained"
        raise ModelError(f"{path} holds no model (no config.json): {hint}")
    return path


def bucket(length: int, unit: int) -> int:
    """``length`` rounded up to whole units: on a CPU every new shape costs the kernels a compilation."""
    return -(-length // unit) * unit


class VLM(nn.Module):
    """A vision-language model with tokenizer, image handling, token bans and an optional value head."""

    def __init__(
        self, model: PreTrainedModel, family: Family, value_head: ValueHead | None = None, bf16: bool = False
    ) -> None:
        super().__init__()
        self.bf16 = bf16
        self.bans: Tensor
        self.model = model
        self.family = family
        self.tokenizer: PreTrainedTokenizerBase = family.tokenizer
        self.weight_version = 0
        self.value_head = value_head
        self.register_buffer("bans", self._bans(), persistent=False)
        self.end_ids = self._end_ids()
        self._hidden: Tensor | None = None
        # The head's input is the last hidden state of just the positions asked for, whatever the model's family.
        self.head.register_forward_pre_hook(self._keep_hidden)

    # --- loading and saving

    @classmethod
    def load(
        cls,
        folder: str | Path,
        value_head: bool = False,
        device: str | torch.device = "cpu",
        bf16: bool = False,
        privileged: int = 0,
    ) -> VLM:
        """Open a model folder (or ``base``, the shipped one).

        Weights stay in float32; with ``bf16`` everything is computed under autocast, in rollout and update alike,
        where the device is quick at it (see :func:`quick_bf16`). The value head sees ``privileged`` entries besides.

        Raises:
            ModelError: the folder is missing or holds no image-text-to-text model.
        """
        path = model_folder(folder)
        disable_progress_bar()  # type: ignore[no-untyped-call] # transformers': the command line has its own
        try:
            # Hubs are not asked, code from the folder is never run, and nothing is unpickled.
            config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
            opened: Any = AutoModelForImageTextToText.from_pretrained(
                path,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                dtype=torch.float32,
            )
            model: PreTrainedModel = opened[0]
            loaded: dict[str, Any] = opened[1]
            family = family_of(path, model)
        except (OSError, ValueError, KeyError, json.JSONDecodeError, SafetensorError) as error:
            raise ModelError(f"{path} holds no image-text-to-text model that transformers can open: {error}") from error
        # transformers draws at random what it does not find, and goes on.
        if lost := sorted([*loaded["missing_keys"], *(str(name) for name, *_ in loaded["mismatched_keys"])]):
            raise ModelError(f"{path} lacks weights that fit its config.json: {lost[0]} and {len(lost) - 1} more")
        if wrong := next((name for name, p in model.named_parameters() if not p.isfinite().all()), None):
            raise ModelError(f"{path} holds weights that are not finite, the first is {wrong}: take another model")
        speed_up(model)
        head = ValueHead(int(model.config.get_text_config().hidden_size), privileged) if value_head else None
        if head is not None and (path / VALUE_FILE).is_file():
            try:
                head.load_state_dict(load_file(path / VALUE_FILE))
            except RuntimeError as error:
                raise ModelError(
                    f"{path / VALUE_FILE} is the critic of another algorithm or of other tasks: go on with those, or "
                    "remove the file to begin a new critic"
                ) from error
        vlm = cls(model, family, head, bf16 and quick_bf16(torch.device(device)))
        return vlm.to(device)

    def save(self, folder: str | Path) -> None:
        """Write a folder that ``AutoModelForImageTextToText.from_pretrained`` opens, with tokenizer and processor."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(path)
        self.family.save(path)
        if self.value_head is not None:
            save_file({k: v.contiguous() for k, v in self.value_head.state_dict().items()}, path / VALUE_FILE)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def head(self) -> nn.Linear:
        """The layer from hidden states to logits."""
        return cast(nn.Linear, self.model.get_output_embeddings())  # type: ignore[no-untyped-call]

    def _bans(self) -> Tensor:
        """[V] True for tokens that are never sampled: vision placeholders, padding, turn starts. The end is allowed."""
        names = ("<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>")
        vocabulary = self.tokenizer.get_vocab()
        banned = {self.family.image_token_id, self.tokenizer.pad_token_id, *(vocabulary.get(name) for name in names)}
        banned.discard(self.tokenizer.eos_token_id)
        bans = torch.zeros(self.head.weight.shape[0], dtype=torch.bool)
        bans[[i for i in banned if i is not None]] = True
        return bans

    def _end_ids(self) -> tuple[int, ...]:
        configured = self.model.generation_config.eos_token_id
        listed = configured if isinstance(configured, list) else [configured]
        return tuple({i for i in (*listed, self.tokenizer.eos_token_id) if i is not None})

    def freeze_vision(self) -> None:
        """Train everything but the vision tower, whose features of a frame then never change.

        Raises:
            ModelError: the model's vision tower is not to be found.
        """
        tower = self.model.get_encoder("image")
        if tower is self.model:
            raise ModelError(f"{type(self.model).__name__} has no vision tower that could be frozen: train all of it")
        tower.requires_grad_(False)
        self.family.remember()

    # --- scoring

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Pad rows into one batch.

        Raises:
            ModelError: a row's image tokens are not as many as the features of its images.
        """
        prompt = bucket(max(len(r.prompt_ids) for r in rows), 16)
        reply = bucket(max(len(r.reply_ids) for r in rows), 8)
        for row in rows:
            placed = int((row.prompt_ids == self.family.image_token_id).sum())
            features = sum(map(self.family.image_tokens, row.images))
            if placed != features:
                raise ModelError(f"the prompt has {placed} image tokens, its images have {features} features")
        ids = np.full((len(rows), prompt + reply), self.tokenizer.pad_token_id, np.int64)
        mask = np.zeros_like(ids)
        for b, row in enumerate(rows):
            start, stop = prompt - len(row.prompt_ids), prompt + len(row.reply_ids)
            ids[b, start:prompt], ids[b, prompt:stop] = row.prompt_ids, row.reply_ids
            mask[b, start:stop] = 1
        ids_t, mask_t = torch.from_numpy(ids), torch.from_numpy(mask)
        images = tuple(r.images for r in rows)
        return Batch(
            ids=ids_t.to(self.device),
            mask=mask_t.to(self.device),
            reply_mask=mask_t[:, prompt:].bool().to(self.device),
            positions=self.family.positions(ids_t, mask_t, images).to(self.device),
            images=images,
            temperature=torch.tensor([r.temperature for r in rows], device=self.device),
            prompt=prompt,
            privileged=self._privileged(rows),
        )

    def _privileged(self, rows: Sequence[Row]) -> Tensor | None:
        states = [r.privileged for r in rows if r.privileged is not None]
        return torch.from_numpy(np.stack(states)).to(self.device) if states else None

    def forward(self, batch: Batch) -> Scores:
        """Score each reply token given everything before it. The only way gradients reach the model in RL."""
        width = batch.ids.shape[1]
        columns = torch.arange(batch.prompt - 1, width - 1, device=self.device)
        logits = self.logits(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            logits_to_keep=columns,
            use_cache=False,
            images=batch.images,
        )
        hidden = self._take_hidden()
        logps_all = self.distribution(logits, batch.temperature)
        chosen = logps_all.gather(2, batch.ids[:, batch.prompt :, None])[..., 0]
        entropy = -(logps_all.exp() * logps_all.clamp(min=-1e4)).sum(-1)
        zero = torch.zeros((), device=self.device)
        values = None
        if self.value_head is not None:
            values = self.value_head(hidden.float(), batch.privileged)
        return Scores(
            logps=torch.where(batch.reply_mask, chosen, zero),
            entropy=torch.where(batch.reply_mask, entropy, zero),
            mask=batch.reply_mask,
            values=values,
        )

    def logits(self, images: Sequence[Sequence[Frame]] = (), **inputs: Any) -> Tensor:
        """The model's logits in float32 at the positions asked for."""
        with self.precision():
            return cast(Tensor, self.model(**inputs, **self._image_inputs(images)).logits).float()

    def precision(self) -> torch.autocast:
        """The context under which the model computes."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def distribution(self, logits: Tensor, temperature: Tensor) -> Tensor:
        """Log-probabilities [..., V] of the sampling distribution: the same in rollout and in training."""
        scaled = logits / temperature.view(-1, *[1] * (logits.dim() - 1))
        return scaled.masked_fill(self.bans, BANNED).log_softmax(-1)

    def _image_inputs(self, images: Sequence[Sequence[Frame]]) -> dict[str, Any]:
        inputs = self.family.image_inputs(images)
        return {k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in inputs.items()}

    def _keep_hidden(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._hidden = inputs[0]

    def _take_hidden(self) -> Tensor:
        assert self._hidden is not None, "the model's output embeddings were not called"
        hidden, self._hidden = self._hidden, None
        return hidden
