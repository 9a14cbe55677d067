"""The one wrapped model: any transformers image-text-to-text model, scored through a single ``forward``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast
from weakref import WeakSet

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from episode import Frame
from policy.attention import attending, speed_up
from policy.families import Family, ModelError, family_of
from policy.packing import Row, Tree, pack, require_images, shared
from policy.value import ValueHead, mixed, mixer

BASE = Path(__file__).resolve().parent.parent / "assets" / "tiny-vlm"
"""The shipped base model, also reached by the name ``base``."""
VALUE_FILE = "value_head.safetensors"
BANNED = -1e30


@dataclass(frozen=True, slots=True)
class Batch:
    """B rows to score, M reply tokens in all."""

    tree: Tree
    order: Tensor
    """[M] int64: which answer of the tree each reply token is, row by row."""
    mask: Tensor
    """[B, R] bool, where a row has a reply token."""
    temperature: Tensor
    """[M] float32."""
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
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
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


class Forgetful(Protocol):
    def forget(self) -> None: ...


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
        self.recalls: WeakSet[Forgetful] = WeakSet()
        """What remembers keys and values that this model computed."""
        self.value_head = value_head
        self.adapter: nn.Sequential | None = None
        self.register_buffer("bans", self._bans(), persistent=False)
        self.end_ids = self._end_ids()
        self._where: tuple[Tensor, Tensor] | None = None
        self._hidden: Tensor | None = None
        # The head's input is the last hidden state, whatever the model's family.
        self.head.register_forward_pre_hook(self._only_where)

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
        except ImportError as error:
            raise ModelError(
                f"{path} holds a model for which transformers needs a package that is not here, install it: "
                + " ".join(str(error).split())
            ) from error
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

    def forget(self) -> None:
        """Nothing that was remembered reaches beyond this point: what comes is computed afresh."""
        self.family.forget()
        self._forget_turns()

    def _forget_turns(self) -> None:
        for recall in self.recalls:
            recall.forget()

    def freeze_vision(self) -> None:
        """Train everything but the vision tower, whose features of a frame then never change.

        Raises:
            ModelError: the model's vision tower is not to be found.
        """
        tower = self.model.get_encoder("image")
        if tower is self.model:
            raise ModelError(f"{type(self.model).__name__} has no vision tower that could be frozen: train all of it")
        tower.requires_grad_(False)

    def freeze_embeddings(self) -> None:
        """Leave the token embeddings and the head as they are."""
        self.model.get_input_embeddings().requires_grad_(False)
        self.head.requires_grad_(False)

    def see_privileged(self, size: int) -> None:
        """Let log-probs depend on the privileged state: the LM head reads h + f(h, c), with f = 0 at first.

        For critics that say what they think in log-probs. A model that acts has no such thing.
        """
        self.adapter = mixer(int(self.head.weight.shape[1]), size, int(self.head.weight.shape[1])).to(self.device)

    # --- scoring

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Rows as one batch, in which what they have in common at their start is computed once where that pays.

        Raises:
            ModelError: a row's image tokens are not as many as the features of its images.
        """
        for row in rows:
            require_images(row.prompt_ids, row.images, self.family)
        groups, at = shared(rows, self.family), 0
        order: list[NDArray[np.int64]] = [np.zeros(0, np.int64)] * len(rows)
        for group in groups:
            for index, numbers in zip(group.members, group.answers, strict=True):
                order[index] = at + np.array(numbers, np.int64)
            at += len(group.tree.answers)
        lengths = [len(r.reply_ids) for r in rows]
        mask = np.arange(max(lengths))[None] < np.array(lengths)[:, None]
        temperature = np.repeat(np.array([r.temperature for r in rows], np.float32), lengths)
        return Batch(
            tree=pack([g.tree for g in groups], self.family).to(self.device),
            order=torch.from_numpy(np.concatenate(order)).to(self.device),
            mask=torch.from_numpy(mask).to(self.device),
            temperature=torch.from_numpy(temperature).to(self.device),
            privileged=self._privileged(rows),
        )

    def _privileged(self, rows: Sequence[Row]) -> Tensor | None:
        states = [r.privileged for r in rows if r.privileged is not None]
        return torch.from_numpy(np.stack(states)).to(self.device) if states else None

    def forward(self, batch: Batch) -> Scores:
        """Score each reply token given everything before it. The only way gradients reach the model in RL.

        What turns were to go on from is freed: whoever scores has played to the end.
        """
        self._forget_turns()
        hidden, logits = (found[batch.order] for found in self.answers(batch.tree, images=batch.tree.images))
        if self.adapter is not None:
            logits = logits + self._told(hidden, batch)
        logps_all = self.distribution(logits, batch.temperature)
        chosen = logps_all.gather(1, batch.tree.targets[batch.order, None])[:, 0]
        entropy = -(logps_all.exp() * logps_all.clamp(min=-1e4)).sum(-1)
        values = None
        if self.value_head is not None:
            values = self.value_head(_spread(hidden.float(), batch.mask), batch.privileged)
        return Scores(_spread(chosen, batch.mask), _spread(entropy, batch.mask), batch.mask, values)

    def _told(self, hidden: Tensor, batch: Batch) -> Tensor:
        """What the privileged states add to the logits, [M, V]: W(h + f) = Wh + Wf.

        h [M, H] is what rows with one prompt share, whatever their states; f is each row's own.
        """
        assert self.adapter is not None
        with self.precision():
            f = mixed(self.adapter, _spread(hidden, batch.mask), batch.privileged)[batch.mask]
            return linear(f, self.head.weight).float()

    def answers(self, tree: Tree, **images: Any) -> tuple[Tensor, Tensor]:
        """Hidden states [N, H] and float32 logits [N, V] where the tree's answer tokens are predicted.

        ``images`` are the tree's, as :meth:`logits` takes them, or what the family made of them already.
        """
        self._where = tree.rows, tree.columns
        try:
            with attending(tree.branches):
                logits = self.logits(
                    input_ids=tree.ids,
                    attention_mask=tree.mask,
                    position_ids=tree.positions,
                    use_cache=False,
                    **images,
                )[0]
        finally:
            hidden, self._where, self._hidden = self._hidden, None, None
        assert hidden is not None, "the model's output embeddings were not called"
        return hidden[0], logits

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

    def _only_where(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Of hidden states [B, L, H], those [1, N, H] that predict answers: logits of the others are never made."""
        if self._where is not None:
            self._hidden = inputs[0][self._where][None]
            return (self._hidden,)
        return inputs


def _spread(values: Tensor, mask: Tensor) -> Tensor:
    """Values [M, ...] of a mask's True entries in their places [B, R, ...]; 0 elsewhere."""
    whole = values.new_zeros(*mask.shape, *values.shape[1:])
    whole[mask] = values
    return whole
