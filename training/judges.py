"""Judges: models that learn, beside the policy, what is better, so that the policy can be trained by their judgement.

Each is a copy of the policy at the start, with a score of its own, and learns by −log σ(margin) (``preferences.py``):

===============  ================================================  =============================================
judge            score                                             margin
===============  ================================================  =============================================
reward model     V of an episode's end (last frames, what was      score of the preferred episode of a group − the
                 asked and done)                                   other's (Bradley and Terry 1952)
verifier         the same                                          ± the score: did the simulator say success?
critic           A(o, c, a) of a turn: mean log π(a|o, c) − log    β · [mean A over the turns of the preferred
                 π_ref(a|o) over its tokens                        episode − the other's] (SWEET-RL, 2503.15478)
===============  ================================================  =============================================

In each training step a judge first scores the episodes, then learns from them. So the policy is paid by a judge that
has not seen what is preferred among *these* episodes, and the share of pairs that it ranks right is held out; in the
first ``judge_steps`` of a run it learns alone. Left out: keeping the pairs of earlier steps; people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from episode import Decision, Trajectory
from policy.context import ContextBuilder, turn_text
from policy.packing import Row
from policy.value import ValueHead
from policy.vlm import VLM, Scores
from training.batch import returns_of, rewards_of, sampled_of
from training.checkpoint import CheckpointError
from training.config import Config
from training.critic import Layout
from training.distributed import all_reduce_gradients, all_reduce_sum, broadcast_module
from training.losses import masked
from training.preferences import margins, preference_loss, pulls, ranked_pairs, sides, turn_advantage
from training.samples import row_of
from training.trainee import Trainee, padded, score

PASSES = 4
"""Optimiser steps over what a training step collected."""

Sides = tuple[NDArray[np.int64], NDArray[np.int64], int]
"""Of N episodes: side [N], pair [N] and how many pairs, as ``preferences.margins`` takes them."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row that a judge scores."""

    row: Row
    decision: Decision
    """On which the score is written."""
    owner: int
    """Index of its episode."""
    reference: NDArray[np.float32]
    """[R] log-probs of the reply under the policy at the start."""
    mask: NDArray[np.bool_]
    """[R] True where the policy sampled the token."""


@dataclass(frozen=True)
class Kind:
    """What sets one judge apart from another."""

    term: str
    """What its scores are called among a decision's ``terms``."""
    compare: Callable[[Sequence[Trajectory], Config], Sides]
    """What it learns from."""
    turns: bool = False
    """Whether it scores turns by log-ratios that see the privileged state; else an episode by its end."""


# --- what is compared


def preferred(trajectories: Sequence[Trajectory], config: Config) -> Sides:
    """Pairs of a group by return: whoever prefers knows the weights of the run's ``reward``, its judge does not."""
    return _in_groups(trajectories, returns_of(trajectories, config), config.tie)


def verified(trajectories: Sequence[Trajectory], config: Config) -> Sides:
    """Pairs of a group of which the verifier says that one succeeded and the other did not."""
    verdicts = [float(t.decisions[-1].terms[JUDGES["verifier"].term] > 0) for t in trajectories]
    return _in_groups(trajectories, np.array(verdicts))


def checked(trajectories: Sequence[Trajectory], config: Config) -> Sides:
    """Each episode by itself: +1 where the simulator's final check held, else −1."""
    side = np.array([1 if t.success else -1 for t in trajectories], np.int64)
    return side, np.arange(len(side)), len(side)


def _in_groups(trajectories: Sequence[Trajectory], labels: NDArray[np.float64], tie: float = 0.0) -> Sides:
    pairs = ranked_pairs(labels, [t.group for t in trajectories], tie)
    return *sides(pairs, len(trajectories)), len(pairs)


JUDGES: dict[str, Kind] = {
    "reward_model": Kind("preferred", preferred),
    "reward_model_ai": Kind("preferred", verified),
    "verifier": Kind("verified", checked),
    "critic": Kind("critic", preferred, turns=True),
}
"""Judges by name, as algorithms ask for them."""


class Judge(Trainee):
    """A judge of one kind, with its model and optimiser."""

    def __init__(self, name: str, vlm: VLM, config: Config, context: ContextBuilder, layout: Layout | None) -> None:
        """Begin a judge.

        Args:
            name: one of :data:`JUDGES`.
            vlm: a copy of the policy at the start, the judge's own.
            config: the run's.
            context: how prompts are written.
            layout: of the privileged states, for a judge that sees them.
        """
        self.name, self.kind, self.context, self.layout = name, JUDGES[name], context, layout
        if self.kind.turns:
            assert layout is not None, "the critic sees the state"
            vlm.see_privileged(layout.size)
        else:
            vlm.value_head = ValueHead(int(vlm.head.weight.shape[1])).to(vlm.device)
        broadcast_module(vlm)
        super().__init__(vlm, config)

    def judge(self, trajectories: Sequence[Trajectory], step: int) -> dict[str, float]:
        """Write this judge's scores on the record, then learn from what is compared.

        Args:
            trajectories: this rank's scored episodes, with ``reference_logps`` for a judge of turns.
            step: number of the training step.

        Returns:
            Figures for the log, the same on every rank: ``NAME/pairs``, ``NAME/dropped`` (optimiser steps left out
            because something was not finite), and where there are pairs ``NAME/accuracy`` (ranked right before any of
            them was learned from) and ``NAME/loss``.
        """
        cases = self._cases(trajectories)
        scores = self._scores(cases)
        for case, value in zip(cases, scores.tolist(), strict=True):
            terms = case.decision.terms
            terms[self.kind.term] = terms.get(self.kind.term, 0.0) + value
        of_episode, pair_of, pairs = self.kind.compare(trajectories, self.config)
        owner = np.array([case.owner for case in cases], np.int64)
        side, pair = of_episode[owner], pair_of[owner]
        share = torch.from_numpy(1 / np.bincount(owner)[owner]).float()  # of its episode's mean
        beta = self.config.beta if self.kind.turns else 1.0
        margin = margins(scores * share, side, pair, pairs, beta)
        right = float((margin > 0).sum() + 0.5 * (margin == 0).sum())
        unranked = float((~np.isfinite(rewards_of(trajectories))).sum())
        right, loss, count, unranked = all_reduce_sum([right, float(preference_loss(margin).sum()), pairs, unranked])
        figures = {f"{self.name}/pairs": count, f"{self.name}/dropped": PASSES if unranked else 0.0}
        if unranked or not count:  # what has no return cannot be preferred: the pairs of the others are not its lesson
            return figures
        kept = np.flatnonzero(side)
        learned, side, pair, share = [cases[i] for i in kept], side[kept], pair[kept], share[kept]
        scores, norms = scores[kept], []
        for number in range(PASSES):
            scores = self._scores(learned) if number else scores
            weights = share * pulls(scores * share, side, pair, pairs, beta)
            norms.append(self._descend(learned, weights / count, step))
        figures[f"{self.name}/dropped"] = float((~np.isfinite(norms)).sum())
        return figures | {f"{self.name}/accuracy": right / count, f"{self.name}/loss": loss / count}

    def _descend(self, cases: Sequence[Case], weights: Tensor, step: int) -> float:
        """One optimiser step along Σ weight · score: the gradient of the loss whose ``pulls`` the weights are.

        The gradient's norm, as of :meth:`descend`.
        """
        self.optimizer.zero_grad(set_to_none=True)
        for indices in self.walk([case.row for case in cases]):
            scores = self._score([cases[i] for i in indices])
            (-(weights[indices].to(scores.device) * scores).sum()).backward()  # type: ignore[no-untyped-call]
        all_reduce_gradients(self.vlm)
        return self.descend(step)

    @torch.no_grad()
    def _scores(self, cases: Sequence[Case]) -> Tensor:
        """[B] on the CPU."""
        scores = torch.zeros(len(cases))
        for indices in self.batches([case.row for case in cases]):
            scores[indices] = self._score([cases[i] for i in indices]).float().cpu()
        return scores

    def _score(self, cases: Sequence[Case]) -> Tensor:
        """[B] of one micro-batch, with gradient."""
        scores: Scores = score(self.vlm, [case.row for case in cases])
        if not self.kind.turns:
            assert scores.values is not None
            return scores.values[:, 0]
        mask = padded([case.mask for case in cases], scores.logps)
        reference = masked(padded([case.reference for case in cases], scores.logps), mask)
        return turn_advantage(scores.logps, reference, mask)

    def _cases(self, trajectories: Sequence[Trajectory]) -> list[Case]:
        if not self.kind.turns:
            return [self._end(t, i) for i, t in enumerate(trajectories)]
        return [
            case
            for i, trajectory in enumerate(trajectories)
            for decision in trajectory.decisions
            for case in self._turn(trajectory, decision, i)
        ]

    def _end(self, trajectory: Trajectory, owner: int) -> Case:
        """The end of an episode: the last frames, what was asked, and every action on the way."""
        did = [d.action if d.valid else "invalid" for d in trajectory.decisions]
        images = [trajectory.frames[key] for key in trajectory.final_frames.values()]
        prompt = self.context.compose(images, turn_text(trajectory.task.instruction, "", did))
        reply = self.context.reply_ids("")
        row = Row(prompt.ids, reply, prompt.images)
        return Case(row, trajectory.decisions[-1], owner, np.zeros(len(reply), np.float32), np.ones(len(reply), bool))

    def _turn(self, trajectory: Trajectory, decision: Decision, owner: int) -> list[Case]:
        assert decision.reference_logps is not None, "score the episodes by the reference first"
        ends = np.cumsum([len(g.reply_ids) for g in decision.generations])[:-1]
        references, masks = np.split(decision.reference_logps, ends), np.split(sampled_of(decision), ends)
        rows = [row_of(trajectory, decision, i, self.layout) for i in range(len(decision.generations))]
        return [
            Case(row, decision, owner, reference, mask)
            for row, reference, mask in zip(rows, references, masks, strict=True)
        ]

    # --- what a checkpoint holds

    def tensors(self) -> dict[str, Tensor]:
        """Everything that was learned: ``NAME::weight`` of each trained parameter, and the optimiser's state."""
        trained = {
            f"{name}::weight": p.detach().cpu().contiguous()
            for name, p in self.vlm.named_parameters()
            if p.requires_grad
        }
        return {**trained, **self.optimizer_tensors(), "optimizer_steps": torch.tensor(self.optimizer_steps)}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`tensors`.

        Raises:
            CheckpointError: they are of a judge of another shape.
        """
        parameters = dict(self.vlm.named_parameters())
        left = dict(tensors)
        try:
            steps = int(left.pop("optimizer_steps"))
            for key in [key for key in left if key.endswith("::weight")]:
                parameters[key.removesuffix("::weight")].copy_(left.pop(key))
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"the checkpoint's {self.name} does not fit ({error}): it was written with another --policy or other "
                "--tasks. Resume without those options, or begin a new run from its model folder "
                "with --policy"
            ) from error
        self.load_optimizer(left, steps)
