"""``handeye pretrain``: teach a tiny vision-language model to see, from our own worlds and nothing else.

Dense perception first (heads on the vision tokens, no language), then pictures with few things and packed questions,
then the full mixture: pointing, reading, naming, locating, arithmetic of motion, and what an expert would do now. The
order matters: the language loss alone never broke the first plateau (docs/log.md).

Departures from the spike's recipe in words: one run over both worlds at once, steps instead of CPU seconds as the clock
(so that a run is the same on any machine), and one process a core with averaged gradients.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from episode import HandeyeError
from policy.tiny import build_tiny, extend_tiny
from policy.vlm import model_folder
from training import distributed
from training.files import keep_lines
from training.journal import METRICS
from training.mixture import corpus
from training.pretrainer import PretrainConfig, Pretrainer
from training.worlds import import_modules

STATE = "state.safetensors"
"""In the run's folder: everything that a resumed run needs beside its config."""
START = "start.safetensors"
"""The weights that the run began with, where they have a share in what is saved."""


class PretrainError(HandeyeError):
    """A pretraining run that cannot be started or gone on with."""


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
        PretrainError: nothing to resume, or something there that a new run would overwrite.
    """
    import_modules(imports)
    folder = out / "model"
    saved = (out / STATE).is_file()
    if resume and not saved:
        raise PretrainError(f"{out} holds no pretraining run to resume (no {STATE}): leave out --resume")
    if saved and not resume:
        raise PretrainError(f"{out} holds a pretraining run already: give --resume True, or another --out")
    if not 0 <= config.init_share < 1 or (config.init_share and not config.init):
        raise PretrainError(f"--init-share {config.init_share}: a share in [0, 1) of the model that --init names")
    if resume and config.init_share and not (out / START).is_file():
        raise PretrainError(f"{out} kept nothing of what it began with (no {START}): resume it without --init-share")
    distributed.barrier()
    if distributed.rank() == 0:
        out.mkdir(parents=True, exist_ok=True)
        # A resumed run's too: its steps, rates and recipe may be others now, and the card tells them.
        (out / "config.json").write_text(json.dumps(asdict(config), indent=1))
        if not resume and config.init:
            extend_tiny(model_folder(config.init), folder, corpus(config.seed, config.resets))
        elif not resume:
            build_tiny(folder, corpus(config.seed, config.resets), config.seed, config.shape)
    distributed.barrier()
    trainer = Pretrainer(config, folder)
    distributed.broadcast_module(trainer.vlm)
    distributed.broadcast_module(trainer.heads)
    first = 0
    if config.init_share:
        if distributed.rank() == 0 and not resume:
            save_file({k: v.detach().clone() for k, v in trainer.vlm.model.named_parameters()}, out / START)
        distributed.barrier()
        trainer.initial = load_file(out / START)
    if resume:
        tensors = load_file(out / STATE)
        first, trainer.stage = (int(n) for n in tensors.pop("counters").tolist())
        trainer.load_state(tensors)
        if distributed.rank() == 0:
            keep_lines(out / METRICS, first)
    mean: dict[str, float] = {}
    started, cpu = time.time(), time.process_time()
    with (out / METRICS).open("a") as log:
        for step in range(first, config.steps):
            for name, value in trainer.step(step).items():
                if value == value:  # a batch without targets of a kind has no accuracy on it
                    mean[name] = 0.95 * mean.get(name, value) + 0.05 * value
            last = step + 1 == config.steps
            if distributed.rank() == 0 and ((step + 1) % config.log_every == 0 or last):
                row = {"step": step + 1, "stage": trainer.stage, **{k: round(v, 4) for k, v in mean.items()}}
                row |= {"seconds": round(time.time() - started), "cpu": round(time.process_time() - cpu)}
                if (step + 1) % config.probe_every == 0 or last:
                    with trainer.averaged():
                        if step >= config.dense_steps:
                            row |= {k: round(v, 4) for k, v in trainer.probe().items()}
                        trainer.vlm.save(folder)
                    counters = torch.tensor([step + 1, trainer.stage])
                    save_file(trainer.state() | {"counters": counters}, out / f".{STATE}")
                    (out / f".{STATE}").replace(out / STATE)
                log.write(json.dumps(row) + "\n")
                log.flush()
                print(json.dumps(row), flush=True)
    trainer.mixture.close()
    trainer.held_out.close()
    distributed.barrier()
