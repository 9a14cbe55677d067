"""One process of a pretraining run: model, heads, optimisers and pictures, a step, and a look at what is learned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from episode import Frame, HandeyeError, SceneObject
from perception.dense import Classes, dense_labels
from policy.packing import ROOT, PrefixTree, pack
from policy.tiny import TinyShape
from policy.vlm import BANNED, VLM
from training import distributed
from training.blind import BLIND
from training.card import SKILLS
from training.dense_heads import DenseHeads
from training.mixture import Item, Mixture, Recipe
from training.muon import Muon


class PretrainError(HandeyeError):
    """A pretraining run that cannot be started or gone on with."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer as token ids."""

    question: tuple[int, ...]
    answer: tuple[int, ...]
    weight: float = 1.0
    """Of each of its answer's tokens in the loss."""
    skill: str = ""


@dataclass(frozen=True, slots=True)
class Packed:
    """Pictures, and what is asked about them: every exchange goes on from the pictures and sees no other."""

    prefix: tuple[int, ...]
    images: tuple[Frame, ...]
    exchanges: tuple[Exchange, ...]

    def tree(self) -> PrefixTree:
        tree = PrefixTree()
        prefix = tree.branch(ROOT, self.prefix, self.images)
        for exchange in self.exchanges:
            path = tree.branch(prefix, exchange.question + exchange.answer)
            tree.answer(path, len(exchange.answer))
        return tree


@dataclass(frozen=True, slots=True)
class PretrainConfig:
    """One pretraining run. Lengths are in optimiser steps."""

    seed: int = 0
    init: str = ""
    """A tiny model's folder to go on from, with new optimisers and heads and tokens for words that are new to it; empty
    starts from random weights."""
    init_share: float = 0.0
    """Share of the model in ``init`` in the weights that are probed and saved: their mean with those that were trained
    forgets less than these, and here does better than either (arXiv 2109.01903; docs/log.md)."""
    steps: int = 20000
    dense_steps: int = 2000
    """Steps of dense perception alone, at the start."""
    bf16: bool = True
    """Compute in bfloat16 where the machine is quick at that."""
    screens: int = 8
    """Screens a step, over all processes."""
    tables: int = 4
    """Manipulation scenes a step, over all processes; each has two frames."""
    lr: float = 1.5e-3
    """AdamW, for everything that is not a matrix."""
    muon_lr: float = 0.015
    """Muon, for matrices."""
    warmup: int = 40
    decay: float = 0.45
    """Share of the run, at its end, over which the learning rates fall linearly to 2 %."""
    clip: float = 1.0
    dense_weight: float = 1.0
    skill_weights: dict[str, float] = field(
        default_factory=lambda: (
            dict.fromkeys(SKILLS, 1.0)
            | {"act": 4.0, "boxes": 2.0, "mend": 2.0, "sought": 2.0}
            | {"turn": 4.0, "way": 6.0, "checked": 3.0, "tick": 3.0}
        )
    )
    """Weight of a skill's questions against the others, 1 where it is not named: there is one ``act`` a picture, and a
    yes or no is one token among many."""
    blind_weight: float = 0.5
    """Of the questions that need no picture, which are averaged by themselves, against all others together, where they
    would be a twentieth of the tokens. So what ``blind_rows`` taught was kept; by itself it taught no rule
    (docs/log.md)."""
    blind_rows: int = 8
    """Rows of questions that need no picture, over all processes, in the last ``blind_steps`` of dense perception
    alone: the text model learns its rules, many at a time and at the full rate, while the tower learns to see."""
    blind_steps: int = 300
    dense_widgets: tuple[int, int] = (6, 14)
    """Widgets on a gallery screen while perception is trained alone: as much to read as fits."""
    stages: tuple[tuple[int, int], ...] = ((1, 2), (1, 4), (2, 8), (2, 10))
    """Widgets on a gallery screen, by stage; a stage ends when a quoted text is found often enough."""
    advance_at: float = 0.4
    """Share of the places' numbers that are right."""
    stage_steps: int = 400
    """A stage ends after as many steps at the latest."""
    log_every: int = 25
    probe_every: int = 250
    """Steps between probes of held-out skills and savings of the model."""
    probe_items: int = 16
    """Pictures of each kind in a probe."""
    resets: int = 150
    """Episodes a task, and gallery pictures, from which the tokenizer takes its words."""
    recipe: Recipe = field(default_factory=Recipe)
    shape: TinyShape = field(default_factory=TinyShape)


GATE = "point"
"""The skill by which stages end."""
WEIGHTS = {"location": 1.0, "bin": 0.1, "character": 0.7, "word": 0.7, "rest": 0.1}
"""Loss weights by kind of answer token; each kind is averaged by itself, so that rare kinds count.

Words choose the action (``click`` or ``type``): buried among quotes and end tokens they were not learned. Beside a
picture bins are a handful of tokens a step, of motions: with a weight of 1 they were four fifths of the text model's
gradient, and noise (docs/log.md)."""
RULES = {**WEIGHTS, "bin": 1.0}
"""The same where no picture is needed: sums of motions are most of it."""


class Pretrainer:
    """State of one process of a run; see :func:`training.pretrain.pretrain` for the way through it."""

    def __init__(self, config: PretrainConfig, folder: Path) -> None:
        self.config = config
        self.vlm = VLM.load(folder, device=distributed.device(), bf16=config.bf16)
        self.mixture = Mixture(config.recipe, config.seed)
        self.held_out = Mixture(config.recipe, config.seed + 1, "heldout")
        vision = self.vlm.model.config.vision_config
        torch.manual_seed(config.seed)
        heads = DenseHeads(vision.hidden_size, vision.out_hidden_size, self._classes())
        self.heads = heads.to(self.vlm.device)
        self.optimizers = self._optimizers()
        self.kinds = self._token_kinds()
        self.initial: dict[str, Tensor] = {}
        """What ``init_share`` takes its share from, by parameter; empty where there is none."""
        self.stage = 0
        self.in_stage = 0
        """Steps."""
        self.found = 0.1
        """Running share of right answers by which stages end."""
        self._start = self._encode("<|im_start|>user\n")
        self._image = self._encode("<|vision_start|><|image_pad|><|vision_end|>")
        self._answer = self._encode("<|im_end|>\n<|im_start|>assistant\n")
        self._end = self._encode("<|im_end|>")

    def _classes(self) -> Classes:
        objects: list[SceneObject] = []
        for index in range(400):  # so many that every shape is among them
            objects += self.mixture.sight(index, (3, 8)).objects
        for index in range(60):
            objects += [o for view in self.mixture.table(index).views for o in view.objects]
        return Classes.of(objects)

    def _optimizers(self) -> list[tuple[torch.optim.Optimizer, float]]:
        named = list(self.vlm.model.named_parameters())
        matrices = [p for n, p in named if p.ndim == 2 and "embed" not in n]
        chosen = {id(p) for p in matrices}
        rest = [p for _, p in named if id(p) not in chosen] + list(self.heads.parameters())
        muon = Muon(matrices, lr=self.config.muon_lr)
        adam = torch.optim.AdamW(rest, lr=self.config.lr, betas=(0.9, 0.98), weight_decay=0.0)
        return [(muon, self.config.muon_lr), (adam, self.config.lr)]

    def _token_kinds(self) -> Tensor:
        """[V] index into ``WEIGHTS``."""
        kinds = torch.full((len(self.vlm.tokenizer),), 4)
        for token, index in self.vlm.tokenizer.get_vocab().items():
            if token.startswith("<loc_"):
                kinds[index] = 0
            elif token.startswith("<a") and token.endswith(">"):
                kinds[index] = 1
            elif token.isalnum():
                kinds[index] = 2 if len(token) == 1 else 3
        return kinds.to(self.vlm.device)

    def close(self) -> None:
        """Frees the worlds."""
        self.mixture.close()
        self.held_out.close()

    # --- what a resumed run needs

    def state(self) -> dict[str, Tensor]:
        """Weights of model and heads, and the optimisers' state by the number of their parameter."""
        tensors = {f"model::{k}": v for k, v in self.vlm.model.named_parameters()}
        tensors |= {f"heads::{k}": v for k, v in self.heads.named_parameters()}
        for number, (optimizer, _) in enumerate(self.optimizers):
            for place, parameter in enumerate(optimizer.param_groups[0]["params"]):
                for kind, value in optimizer.state[parameter].items():
                    tensors[f"optimizer{number}::{place}::{kind}"] = value
        return {k: v.detach().clone().contiguous() for k, v in tensors.items()}

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`state`."""
        for name, module in (("model", self.vlm.model), ("heads", self.heads)):
            for key, parameter in module.named_parameters():
                parameter.copy_(tensors[f"{name}::{key}"])
        for key, tensor in tensors.items():
            owner, place, *kind = key.split("::")
            if kind:
                optimizer = self.optimizers[int(owner.removeprefix("optimizer"))][0]
                parameter = optimizer.param_groups[0]["params"][int(place)]
                # AdamW counts its steps on the CPU.
                tensor = tensor if kind[0] == "step" else tensor.to(parameter.device)
                optimizer.state[parameter][kind[0]] = tensor

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with the share of what it began with, to be probed and saved; then as it was trained."""
        trained = {k: v.detach().clone() for k, v in self.vlm.model.named_parameters() if self.initial}
        with torch.no_grad():
            for key in trained:
                self.vlm.model.get_parameter(key).lerp_(self.initial[key], self.config.init_share)
            yield
            for key, tensor in trained.items():
                self.vlm.model.get_parameter(key).copy_(tensor)

    # --- data

    def items(self, mixture: Mixture, step: int, widgets: tuple[int, int], demos: float) -> list[Item]:
        """This process's share of step ``step``; the draw depends on the step alone."""
        config, items = self.config, []
        for world, total in (("gui", config.screens), ("sims", config.tables)):
            for slot in distributed.share(total):
                index = step * total + slot
                if np.random.default_rng([config.seed, step, slot, total]).random() < demos:
                    items.append(mixture.demo(world, index))
                elif world == "gui":
                    items.append(mixture.screen(index, widgets))
                else:
                    items.append(mixture.table(index))
        return items

    def pack(self, item: Item) -> Packed:
        prefix = list(self._start)
        for view in item.views:
            begin, pad, after = self._image
            prefix += [begin, *[pad] * self.vlm.family.image_tokens(view.frame), after]
        exchanges = []
        for q in item.questions:
            asked, _, said = q.question.partition("\0")
            question, given = self._encode(asked), self._encode(said)
            end = () if q.skill == "aim" else self._end
            weight = self.config.skill_weights.get(q.skill, 1.0)
            answer = self._encode(q.answer) + end
            exchanges.append(Exchange(question + self._answer + given, answer, weight, q.skill))
        return Packed(tuple(prefix), tuple(v.frame for v in item.views), tuple(exchanges))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(cast(list[int], self.vlm.tokenizer.encode(text, add_special_tokens=False)))

    # --- one step

    def vision(self, items: list[Item]) -> tuple[Any, Tensor, dict[str, float]]:
        """The vision tower over all frames, and the loss of the dense heads on it."""
        views = [view for item in items for view in item.views]
        patch = int(self.vlm.model.config.vision_config.patch_size)
        labels = [dense_labels(v.frame, v.objects, patch, self.heads.classes) for v in views]
        with self.vlm.precision():
            output = self.vlm.family.encode([v.frame for v in views])  # type: ignore[attr-defined]
        loss, accuracy = self.heads(output, labels)
        return output, loss, accuracy

    def answers(self, rows: Sequence[Packed], vision: Any) -> tuple[Tensor, Tensor]:
        """Logits [N, V], banned tokens left out, and targets [N] of all answer tokens.

        ``vision``: of the rows' pictures, None where they have none.
        """
        tree = pack([row.tree() for row in rows], self.vlm.family).to(self.vlm.device)
        images = {} if vision is None else {"mm_encoder_outputs": {"image": vision}}
        _, logits = self.vlm.answers(tree, **images)
        return logits.masked_fill(self.vlm.bans, BANNED), tree.targets

    def language(self, items: list[Item], vision: Any) -> tuple[Tensor, dict[str, float]]:
        rows = [self.pack(i) for i in items]
        logits, targets = self.answers(rows, vision)
        told = [(e.weight, e.skill in BLIND, e.skill == GATE) for r in rows for e in r.exchanges for _ in e.answer]
        weights, blind, gate = (torch.tensor(column, device=logits.device) for column in zip(*told, strict=True))
        losses = F.cross_entropy(logits, targets, reduction="none") * weights
        right = (logits.argmax(-1) == targets).float()
        kinds = self.kinds[targets]
        total, accuracy = torch.zeros((), device=logits.device), {}
        sides = (("token", ~blind, WEIGHTS, 1.0), ("blind", blind, RULES, self.config.blind_weight))
        for number, name in enumerate(WEIGHTS):
            for side, of_side, of_kind, share in sides:
                part = of_side & (kinds == number)
                if part.any():
                    # A part may hold nothing but skills whose weight is 0.
                    mean = losses[part].sum() / weights[part].sum().clamp(min=1e-9)
                    total = total + share * of_kind[name] * mean
                    accuracy[f"{side}/{name}"] = float(right[part].mean())
        if gate.any():
            accuracy[f"token/{GATE}"] = float(right[gate].mean())
        return total, accuracy

    def step(self, step: int) -> dict[str, float]:
        config = self.config
        dense_only = step < config.dense_steps
        widgets = config.dense_widgets if dense_only else config.stages[self.stage]
        items = self.items(self.mixture, step, widgets, 0.0 if dense_only else config.recipe.demos)
        output, loss, metrics = self.vision(items)
        loss = loss * config.dense_weight
        metrics["dense/loss"] = float(loss.detach())
        if dense_only:  # the pictures are for the heads alone
            rows = config.blind_rows if step >= config.dense_steps - config.blind_steps else 0
            items, output = [self.mixture.pictureless(step * rows + i) for i in distributed.share(rows)], None
        if items:
            answer_loss, accuracy = self.language(items, output)
            loss = loss + answer_loss
            metrics |= accuracy
        scale = learning_rate_scale(step, config)
        # Gradients are summed over the processes, each of which has a mean over its own share.
        (loss / distributed.world_size()).backward()  # type: ignore[no-untyped-call]
        for module in (self.vlm, self.heads):
            distributed.all_reduce_gradients(module)
        norm = torch.nn.utils.clip_grad_norm_(self.vlm.parameters(), config.clip)
        if not norm.isfinite():  # on every process, as the sum is
            raise PretrainError(
                f"step {step + 1}: the gradient is not finite, so nothing was learned from it. The last save stands: "
                "--resume True with a lower --lr and --muon-lr"
            )
        for optimizer, base in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = base * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        metrics["loss"] = float(loss.detach())
        self._advance(metrics)
        return metrics

    def _advance(self, metrics: dict[str, float]) -> None:
        """Move on to fuller screens; all processes decide by their common mean.

        By the skill that the screens are for alone: rules are learned before anything is seen, and experts' places
        long after, so that one would end every stage at once and the other none.
        """
        if self.stage + 1 == len(self.config.stages):
            return
        found = [x for x in distributed.gather_objects(metrics.get(f"token/{GATE}")) if x is not None]
        if not found:
            return
        self.in_stage += 1
        self.found = 0.98 * self.found + 0.02 * float(np.mean(found))
        if self.found > self.config.advance_at or self.in_stage == self.config.stage_steps:
            self.stage, self.in_stage, self.found = self.stage + 1, 0, 0.1

    # --- looking

    @torch.no_grad()
    def probe(self) -> dict[str, float]:
        """Held-out scores by skill, answers forced: whole answers exact, and locations and bins within one."""
        scores: dict[str, list[float]] = defaultdict(list)
        self.vlm.eval()
        for index in range(self.config.probe_items):
            for item in (
                self.held_out.screen(index, self.config.stages[-1]),
                self.held_out.table(index),
                self.held_out.demo("gui", index),
                self.held_out.demo("sims", index),
            ):
                packed = self.pack(item)
                vision, _, _ = self.vision([item])
                logits, targets = self.answers([packed], vision)
                guess, at = logits.argmax(-1), 0
                for question, exchange in zip(item.questions, packed.exchanges, strict=True):
                    n = len(exchange.answer)
                    near = _near(guess[at : at + n], targets[at : at + n], self.kinds)
                    scores[f"{question.skill}/exact"].append(
                        float(bool((guess[at : at + n] == targets[at : at + n]).all()))
                    )
                    scores[f"{question.skill}/near"].append(near)
                    at += n
        self.vlm.train()
        return {f"heldout/{k}": float(np.mean(v)) for k, v in sorted(scores.items())}


def _near(guess: Tensor, target: Tensor, kinds: Tensor) -> float:
    """1 where numbers are right within one bin and everything else exactly."""
    number = kinds[target] < 2
    same = guess == target
    close = (guess - target).abs() <= 1
    return float(bool(torch.where(number, close & (kinds[guess] == kinds[target]), same).all()))


def learning_rate_scale(step: int, config: PretrainConfig) -> float:
    """Linear warm-up, flat, linear decay to 2 % over the last ``decay`` of the run."""
    left = (config.steps - step) / (config.decay * config.steps)
    return min(1.0, (step + 1) / config.warmup) * max(0.02, min(1.0, left))
