"""``handeye pretrain``: teach a tiny vision-language model to see, from our own worlds and nothing else.

Dense perception first (heads on the vision tokens, no language), then pictures with few things and packed questions,
then the full mixture: pointing, reading, naming, locating, arithmetic of motion, and what an expert would do now. The
order matters: the language loss alone never broke the first plateau (docs/log.md).

Departures from the spike's recipe in words: one run over both worlds at once, steps instead of CPU seconds as the clock
(so that a run is the same on any machine), and one process a core with averaged gradients.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from policy.tiny import build_tiny, extend_tiny
from policy.vlm import model_folder
from training import distributed
from training.files import keep_lines, write_whole
from training.journal import METRICS
from training.mixture import corpus
from training.pretrainer import PretrainConfig, Pretrainer, PretrainError
from training.start import alone
from training.worlds import import_modules

MODEL = "model"
STATE = "state.safetensors"
"""In the run's folder: everything that a resumed run needs beside its config."""
START = "start.safetensors"
"""The weights that the run began with, where they have a share in what is saved."""


def pretrain(config: PretrainConfig, out: Path, resume: bool = False, imports: Sequence[str] = ()) -> None:
    """Run on this process's rank; rank 0 writes ``out/model``, ``out/metrics.jsonl`` and ``out/config.json``.

    A resumed run goes on from the last probe with the same weights, optimisers and pictures; only the experts' episodes
    that were under way begin anew.

    Args:
        config: the run.
        out: its folder.
        resume: go on with the run that is there.
        imports: modules that add tasks, whose words and experts belong to the mixture; ranks are new processes.

    Raises:
        ImportFailed: such a module is missing or breaks.
        PretrainError: nothing to resume, or something there that a new run would overwrite; it cannot be saved; what
            it computes is no longer a number.
        ConfigError: another process writes into ``out``.
    """
    import_modules(imports)
    _check(config, out, resume)
    distributed.barrier()
    if distributed.rank() == 0:
        out.mkdir(parents=True, exist_ok=True)
    with alone(out):
        if distributed.rank() == 0:
            _begin(config, out, resume)
        distributed.barrier()
        trainer = Pretrainer(config, out / MODEL)
        distributed.broadcast_module(trainer.vlm)
        distributed.broadcast_module(trainer.heads)
        done = _restore(trainer, out, resume)
        _train(trainer, out, done)
        trainer.close()
        distributed.barrier()


def _check(config: PretrainConfig, out: Path, resume: bool) -> None:
    saved = (out / STATE).is_file()
    if resume and not saved:
        raise PretrainError(f"{out} holds no pretraining run to resume (no {STATE}): leave out --resume")
    if saved and not resume:
        raise PretrainError(f"{out} holds a pretraining run already: give --resume True, or another --out")
    if not 0 <= config.init_share < 1 or (config.init_share and not config.init):
        raise PretrainError(f"--init-share {config.init_share}: a share in [0, 1) of the model that --init names")
    if resume and config.init_share and not (out / START).is_file():
        raise PretrainError(f"{out} kept nothing of what it began with (no {START}): resume it without --init-share")
    if config.screens < distributed.world_size():
        raise PretrainError(
            f"--screens {config.screens}: each of {distributed.world_size()} processes needs one a step at least"
        )


def _begin(config: PretrainConfig, out: Path, resume: bool) -> None:
    # A resumed run's too: its steps, rates and recipe may be others now, and the card tells them.
    write_whole(out / "config.json", json.dumps(asdict(config), indent=1))
    if resume:
        if not (out / MODEL).is_dir():  # killed between two renames
            (out / f".{MODEL}").rename(out / MODEL)
    elif config.init:
        extend_tiny(model_folder(config.init), out / MODEL, corpus(config.seed, config.resets))
    else:
        build_tiny(out / MODEL, corpus(config.seed, config.resets), config.seed, config.shape)


@dataclass(slots=True)
class Done:
    """How far a run has come, over all its pieces."""

    step: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    """Of the first process."""


def _restore(trainer: Pretrainer, out: Path, resume: bool) -> Done:
    """Give a trainer what the run in ``out`` had at its last save, or a new run's start its place."""
    done = Done()
    if trainer.config.init_share:
        if distributed.rank() == 0 and not resume:
            save_file({k: v.detach().clone() for k, v in trainer.vlm.model.named_parameters()}, out / START)
        distributed.barrier()
        trainer.initial = load_file(out / START, str(trainer.vlm.device))
    if resume:
        tensors = load_file(out / STATE)
        step, stage, in_stage, trainer.found, done.seconds, done.cpu = tensors.pop("counters").tolist()
        done.step, trainer.stage, trainer.in_stage = int(step), int(stage), int(in_stage)
        trainer.load_state(tensors)
        if distributed.rank() == 0:
            keep_lines(out / METRICS, done.step)
    return done


def _train(trainer: Pretrainer, out: Path, done: Done) -> None:
    config = trainer.config
    mean: dict[str, float] = {}
    started, cpu = time.time() - done.seconds, time.process_time() - done.cpu
    with (out / METRICS).open("a") as log:
        for step in range(done.step, config.steps):
            for name, value in trainer.step(step).items():
                if value == value:  # a batch without targets of a kind has no accuracy on it
                    mean[name] = 0.95 * mean.get(name, value) + 0.05 * value
            last = step + 1 == config.steps
            if distributed.rank() == 0 and ((step + 1) % config.log_every == 0 or last):
                row = {"step": step + 1, "stage": trainer.stage, **{k: round(v, 4) for k, v in mean.items()}}
                done = Done(step + 1, time.time() - started, time.process_time() - cpu)
                row |= {"seconds": round(done.seconds), "cpu": round(done.cpu)}
                if (step + 1) % config.probe_every == 0 or last:
                    if step >= config.dense_steps:
                        with trainer.averaged():
                            row |= {k: round(v, 4) for k, v in trainer.probe().items()}
                    _save(trainer, out, done)
                log.write(json.dumps(row) + "\n")
                log.flush()
                print(json.dumps(row), flush=True)


def _save(trainer: Pretrainer, out: Path, done: Done) -> None:
    """The model as it is probed, the state as it was trained; whatever happens meanwhile, a whole one of each stays.

    Raises:
        PretrainError: they could not be written.
    """
    counters = [done.step, trainer.stage, trainer.in_stage, trainer.found, done.seconds, done.cpu]
    model, aside, old = out / MODEL, out / f".{MODEL}", out / f".{MODEL}.old"
    try:
        for left in (aside, old):
            shutil.rmtree(left, ignore_errors=True)  # of a run that was killed while it saved
        with trainer.averaged():
            trainer.vlm.save(aside)
        save_file(trainer.state() | {"counters": torch.tensor(counters, dtype=torch.float64)}, out / f".{STATE}")
        (out / f".{STATE}").replace(out / STATE)
        model.rename(old)
        aside.rename(model)
        shutil.rmtree(old)
    except (OSError, SafetensorError) as error:
        raise PretrainError(
            f"step {done.step} could not be saved in {out}: {error}. The save before it still stands: mend that (free "
            "some space, say), then --resume True"
        ) from error
