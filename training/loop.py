"""The training loop: collect, score, credit, update, log, save."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from episode import HandeyeError, Trajectory
from policy.vlm import model_folder
from training import checkpoint
from training.config import Config
from training.distributed import StopRequest, any_rank, is_first_process, launch, processes
from training.journal import METRICS
from training.metrics import whole_groups
from training.pool import open_pool
from training.rewards import score
from training.rollout import collect
from training.run import Run
from training.samples import Sample, samples_of
from training.start import alone, begin_folder, read_config, write_config


class Interrupted(HandeyeError):
    """Somebody asked the run to stop; it was saved."""


def train(config: Config, out: Path, resume: Path | None = None, *, stop_at: int | None = None) -> dict[str, Any]:
    """Train by ``config`` into the run folder ``out``; the summary, as in ``summary.json``.

    Args:
        config: what to do; for a resumed run see :func:`resumed`.
        out: the run folder; must not hold a run yet, unless it is resumed.
        resume: a run folder or one of its checkpoints to go on from, bit for bit.
        stop_at: stop as Ctrl-C does, once this many steps are done.

    Raises:
        Interrupted: by Ctrl-C; the text says how to go on.
        HandeyeError: everything else that was foreseen.
    """
    if resume is not None and not _nothing_saved(resume):
        checkpoint.find(resume)  # before any rank is started
        config = replace(config, policy=_start(config.policy, begins=False))
    else:
        config = replace(config, policy=_start(config.policy, begins=True))  # before anything is written or started
        if is_first_process():
            (begin_folder if resume is None else write_config)(config, out)
        resume = None  # killed before its first checkpoint: all of it again
    summary: dict[str, Any] = launch(
        train_rank, (config, out, resume, stop_at), min(processes(config.ranks), config.groups), patient=True
    )
    return summary


def resumed(resume: Path) -> tuple[Config, Path]:
    """The config and the run folder of a run or checkpoint that is to be resumed."""
    if _nothing_saved(resume):
        return read_config(resume), resume
    found = checkpoint.find(resume)
    return checkpoint.load_config(found), found.parent.parent


def _start(policy: str, begins: bool) -> str:
    """The model that a run began from, to be found again by a resumed one wherever it is resumed.

    Where the run only begins, of a run the model of its newest checkpoint: that run may go on, but this one's start
    stays what it was.
    """
    found = Path(policy)
    if begins:
        found = model_folder(policy if policy == "base" else checkpoint.model_folder(found))
    return policy if policy == "base" else str(found.absolute())


def _nothing_saved(run: Path) -> bool:
    """Whether a run was begun here and ended before its first checkpoint was whole."""
    metrics = run / METRICS
    learned = metrics.is_file() and metrics.stat().st_size > 0  # and its checkpoints were removed since
    return (run / "config.json").is_file() and not checkpoint.listed(run / "checkpoints") and not learned


def train_rank(config: Config, out: Path, resume: Path | None, stop_at: int | None) -> dict[str, Any]:
    """The run as each rank lives it."""
    with (
        alone(out),
        open_pool(config.world_timeout, config.imports) as pool,
        Run(config, out, resume, pool) as run,
        StopRequest() as stop,
    ):
        learner, algorithm = run.learner, run.algorithm
        if not run.done.before and run.done.step == 0:
            run.done.before = run.evaluate("before")
            run.save()
        while run.more():
            if any_rank(stop.requested) or run.done.step == stop_at:
                run.save()
                raise Interrupted(f"stopped after step {run.done.step} of {config.steps}; go on with --resume {out}")
            with run.timed("collect"):
                played: list[Trajectory] = []
                while specs := run.plan(played):
                    fresh = collect(run.player, specs, batch=config.batch, run_seed=config.seed, pool=pool)
                    for episode in fresh:
                        score(episode, run.weights, config.gamma, config.reward_scales.get(episode.task.id, 1.0))
                    played += fresh
                episodes, dropped = whole_groups(played)
                run.check(episodes, dropped)
            with run.timed("update"):
                learns = run.done.step >= config.judge_steps
                if algorithm.critic and learns:
                    learner.values(episodes)
                if algorithm.direct:
                    learner.references(episodes)
                figures = run.judge(episodes)
                samples: list[Sample] = []
                if learns:
                    algorithm.credit(episodes, config)
                    samples = samples_of(episodes, algorithm.critic, learner.layout)
                surrogate = not (algorithm.expert or algorithm.direct)
                figures |= learner.update(samples, run.done.step, surrogate, sampled=not algorithm.expert)
            run.log(episodes, dropped, figures)
            if run.done.step % config.save_every == 0 and run.more():
                run.save()
        run.save()
        run.done.after = run.evaluate("after")
        return run.summary()
