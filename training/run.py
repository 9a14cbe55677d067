"""One training run on one rank: what is made before the loop, and what the loop says, keeps and saves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from episode import HandeyeError, Keyed, Outcome, Privileged, Trajectory
from policy.agent import Agent, ExpertAgent, VLMAgent, context_of
from policy.codecs import codec_named
from policy.engine import Sampling
from policy.vlm import VLM, model_folder
from training import checkpoint, guards, memory, probe, record
from training.algorithms import algorithm, require_fit
from training.config import Config
from training.critic import Layout
from training.curriculum import plan, shown_groups
from training.distributed import (
    all_reduce_sum,
    any_rank,
    barrier,
    broadcast_module,
    device,
    gather_objects,
    rank,
    world_size,
)
from training.evaluate import evaluate
from training.journal import METRICS, Journal, write_whole
from training.judges import Judge
from training.metrics import flat_groups, step_metrics, whole_groups
from training.pool import WorldPool
from training.rewards import RewardWeights
from training.rollout import BrokenWorld, EpisodeSpec
from training.start import go_on, layout_of, require
from training.summary import LEARNED_NOTHING, Progressed, summarised
from training.update import Learner
from training.worlds import import_modules, resolve

BAD_STEPS = 3
"""Steps in a row with something that is not finite, after which the run stops."""
RECENT = 10
"""Steps over whose success checkpoints are compared for the best."""
FILMED = 2
"""Episodes a task that are kept of each evaluation."""
LONELY = 0.9
"""Share of decisions alone in their step group above which a step term is said to be idle."""


class Diverged(HandeyeError):
    """Losses or gradients stopped being finite."""


class NoVariance(HandeyeError):
    """In no group of the run did two episodes have different returns: it learned nothing."""

    status = LEARNED_NOTHING


class Run:
    """Everything that the loop holds. A context: the tracker is closed at its end."""

    def __init__(self, config: Config, out: Path, resume: Path | None, pool: WorldPool) -> None:
        self.config, self.out, self.pool = config, out, pool
        import_modules(config.imports)
        self.task_ids = resolve(config.tasks)
        plan(config, self.task_ids, 0)  # says now what is wrong with the weights
        self.weights = RewardWeights(**config.reward)
        self.algorithm = algorithm(config.algorithm)
        require_fit(config)
        require(config.algorithm, self.algorithm.needs, self.task_ids, self.pool)
        self.layout = layout_of(self.task_ids, self.pool) if Privileged in self.algorithm.needs else None
        source = checkpoint.find(resume) if resume is not None else None
        if source is not None and (config.kl or self.algorithm.direct or self.algorithm.judges):
            # Read again; of a run that begins, before any rank was started.
            try:
                checkpoint.vouch(model_folder(config.policy))
            except HandeyeError as error:
                raise checkpoint.CheckpointError(
                    f"{error}. The run began with that model and measures how far the policy went from it: put it "
                    "back (a run keeps its newest checkpoints alone: --keep), or do without where the algorithm can "
                    "(--kl 0)"
                ) from error
        self.vlm = self._load(
            config.policy if source is None else source / checkpoint.MODEL, self.algorithm.critic, self._seen()
        )
        broadcast_module(self.vlm)
        self._make_agents()
        self.done = Progressed()
        self._origin = ""
        state: dict[str, Any] = {}
        if source is not None:
            state = checkpoint.load_state(source)
            self.done = checkpoint.part(source, state, "progress", Progressed)
            self.learner.load_optimizer(checkpoint.load_tensors(source), self.done.optimizer_steps)
            for name, judge in self.judges.items():
                judge.load(checkpoint.load_tensors(source, name))
            self.vlm.weight_version = checkpoint.part(source, state, "weight_version", int)
            began = state.get("origin", "")  # empty where the run was compared with nothing until here
            if began and self.origin and began != self.origin:
                raise checkpoint.CheckpointError(
                    f"{config.policy} is no longer the model that this run began with, and the run measures how far "
                    "the policy went from it: put it back, do without (--kl 0), or begin another run with --policy "
                    f"{source / checkpoint.MODEL}"
                )
            self._origin = began
            if rank() == 0:
                checkpoint.set_aside(source.parent, self.done.step)
                go_on(config, out, self.done.step)
        self._saved = self.done.step if source is not None else None
        self._started, self._cpu = time.monotonic() - self.done.seconds, self._cpu_now()
        self._timed: dict[str, float] = {}
        self._sight: probe.Sight | None = None
        self.journal = Journal(config, out, self.done.step, state.get("tracker")) if rank() == 0 else None
        if state.get("ranks", world_size()) != world_size():
            self._warn(
                "ranks",
                f"the run goes on with {world_size()} ranks instead of {state['ranks']}, which share and shuffle their "
                "work otherwise: it is another run from here than it would have been",
                again=True,
            )
        if self.journal is not None and self.journal.lost:
            self._warn(
                "lost",
                f"{out / METRICS} ends {self.journal.lost} steps before the checkpoint that the run goes on from: "
                "somebody removed or cut it, and the curves lack these steps",
                again=True,
            )

    def _load(self, folder: str | Path, value_head: bool = False, layout: Layout | None = None) -> VLM:
        seen = 0 if layout is None else layout.size
        vlm = VLM.load(folder, value_head=value_head, device=device(), bf16=self.config.bf16, privileged=seen)
        if not self.config.train_vision:
            vlm.freeze_vision()
        if not self.config.train_embeddings:
            vlm.freeze_embeddings()
        vlm.eval()
        return vlm

    def _seen(self) -> Layout | None:
        """The layout of what the policy's own critic sees besides."""
        return self.layout if self.algorithm.critic else None

    def _make_agents(self) -> None:
        config = self.config
        codec = codec_named(config.codec)
        reference = None
        if config.kl or self.algorithm.direct:
            reference = self._load(config.policy).requires_grad_(False)
            reference.family.take_tower(self.vlm.family)
        self.origin = _digest([reference]) if reference is not None else ""
        """Of the weights that the policy is compared with; no checkpoint holds them."""
        self.learner = Learner(self.vlm, config, codec.max_tokens, reference, self._seen())
        context = context_of(self.vlm, codec, config.frames, config.last_actions, config.conversation)
        self.judges = {
            name: Judge(name, self._load(config.policy), config, context, self.layout) for name in self.algorithm.judges
        }
        sampled = Sampling(config.temperature, codec.max_tokens)
        self.player: Agent = (
            ExpertAgent(codec, config.thought, context)
            if self.algorithm.expert
            else VLMAgent(self.vlm, codec, context, sampled)
        )
        judged = Sampling(config.eval_temperature, codec.max_tokens)
        self.judged: Agent = VLMAgent(self.vlm, codec, context, judged)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.journal is not None:
            self.journal.close(failed=kind is not None)

    # --- what the loop asks

    def more(self) -> bool:
        """Whether another step is due."""
        budget = self.config.cpu_seconds
        return self.done.step < self.config.steps and not (budget and self.done.cpu_seconds >= budget)

    def plan(self, played: Sequence[Trajectory]) -> list[EpisodeSpec]:
        """What this rank plays next in this step, given what it has ``played`` in it: nothing, once that is enough."""
        config, step = self.config, self.done.step
        if not played:
            self._forget_frames()
            return plan(config, self.task_ids, step)
        attempt = played[-1].group // config.groups - step * (1 + config.resample)
        if attempt == config.resample:
            return []
        first = (step * (1 + config.resample) + attempt) * config.groups
        latest, _ = whole_groups([t for t in played if t.group >= first])
        flat = [group - first for group in flat_groups(latest, self.weights, config.tie)]
        return plan(config, self.task_ids, step, flat, attempt + 1)

    def _cpu_now(self) -> NDArray[np.float64]:
        """[2] CPU seconds of this rank with its worlds, and of these worlds alone."""
        worlds = self.pool.usage()[0]
        return np.array([time.process_time() + worlds, worlds])

    def _forget_frames(self) -> None:
        """A step's features depend on nothing before it: a resumed run would not have that in memory."""
        for vlm in self._models():
            vlm.forget()

    def _trained(self) -> list[VLM]:
        """Policy and judges."""
        return [self.vlm, *(judge.vlm for judge in self.judges.values())]

    def _models(self) -> list[VLM]:
        """Those, and the policy at the start where it is kept."""
        return self._trained() + ([] if self.learner.reference is None else [self.learner.reference])

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the wall-clock seconds of a part of the step."""
        start = time.perf_counter()
        yield
        self._timed[name] = self._timed.get(name, 0.0) + time.perf_counter() - start
        memory.trim()

    def check(self, episodes: Sequence[Trajectory], dropped: Sequence[Trajectory]) -> None:
        """Every step: what broke, and how much of what the policy says depends on what it sees. At first it must."""
        broken = [t for part in gather_objects([(t.group, t.error) for t in dropped if t.error]) for t in part]
        if broken and not any_rank(bool(episodes)):
            raise BrokenWorld(
                f"no episode of step {self.done.step + 1} could be played; the first error: {broken[0][1]}. Mend the "
                f"world, or leave it out with --tasks; what was learned before goes on with --resume {self.out}"
            )
        if broken:
            groups = len({group for group, _ in broken})
            lost = f"{groups} groups were left out, as a world broke; the first error: {broken[0][1]}"
            self._warn("broken", f"step {self.done.step + 1}: {lost}", again=True)
        config = self.config
        self._sight = probe.look(self.vlm, episodes, self._seen(), config.seed, self.done.step)
        # Later it is a guard's to warn: what a run may go on with, its resumption may too.
        if self.done.step == 0 and not self.algorithm.expert:
            self._sight.require()

    def judge(self, episodes: Sequence[Trajectory]) -> dict[str, float]:
        """Let the judges, if there are any, score the episodes and learn from them; their figures."""
        figures: dict[str, float] = {}
        for judge in self.judges.values():
            figures |= judge.judge(episodes, self.done.step)
        return figures

    def log(self, episodes: Sequence[Trajectory], dropped: Sequence[Trajectory], figures: dict[str, float]) -> None:
        """Close the step: counters, metrics.jsonl, timings.jsonl, tracker, bar, and episodes to look at."""
        done, config = self.done, self.config
        played = step_metrics(episodes, dropped, self.weights, config.tie)
        if done.step % config.episodes_every == 0:
            self._keep_episodes(episodes)
        done.step += 1
        done.env_steps += int(played.pop("env_steps", 0))
        done.tokens += int(played.pop("tokens", 0))
        done.episodes += int(played.pop("episodes", 0))
        done.retried += int(played["infra/retried"])
        done.dropped += int(played["infra/dropped"])
        done.optimizer_steps = self.learner.optimizer_steps
        worlds = [v for k, v in played.items() if k.startswith("success/") and k.count("/") == 1]
        done.recent = [*done.recent, sum(worlds) / max(1, len(worlds))][-RECENT:]
        counters = {"env_steps": done.env_steps, "tokens": done.tokens, "episodes": done.episodes}
        sees = self._sight.figures() if self._sight is not None else {}
        metrics = {"step": done.step, **played, **figures, **sees, **counters}
        now = self._cpu_now()
        spent, in_worlds = all_reduce_sum((now - self._cpu).tolist())
        done.cpu_seconds += spent
        self._cpu = now
        done.seconds = time.monotonic() - self._started
        if self.journal is not None:
            timings = {f"{name}_seconds": value for name, value in self._timed.items()}
            times = {"seconds": done.seconds, "cpu_seconds": done.cpu_seconds, "worlds_share": in_worlds / spent}
            self.journal.step(metrics, {"step": done.step, **times, **timings})
        self._timed = {}
        if self.journal is not None:
            for name, text in guards.signs(self.journal.lines, self.weights).items():
                self._warn(name, text)
        self._watch(episodes, played | figures)

    def _watch(self, episodes: Sequence[Trajectory], figures: dict[str, float]) -> None:
        """Say when nothing is learned; keep the batch and stop when numbers stop being numbers."""
        done = self.done
        if bad := next(filter(None, map(guards.bad_weight, self._trained())), ""):
            raise Diverged(f"step {done.step}: the weights {bad} are not finite; {self._last_good()}")
        judged = done.step <= self.config.judge_steps and any(figures[f"{name}/pairs"] for name in self.judges)
        done.flat_steps = 0 if figures["updates"] or figures["dropped"] or judged else done.flat_steps + 1
        if done.flat_steps == guards.FLAT:
            mend = (
                f"not learning: for {guards.FLAT} steps every group's episodes had one return (within --tie). "
                "Use easier or more varied tasks, larger groups or a higher temperature, or begin with a better policy"
            )
            if not done.optimizer_steps:
                self.summary()
                raise NoVariance(mend)
            self._warn("flat", mend)
        if Keyed in self.algorithm.needs and done.step == 1 and figures.get("step_groups/1", 0.0) > LONELY:
            self._warn(
                "lonely",
                f"{figures['step_groups/1']:.0%} of the decisions are alone in their step group, so that "
                f"{self.config.algorithm} is little more than its episode term: larger groups meet states more often",
            )
        if not (figures["dropped"] or any(figures[f"{name}/dropped"] for name in self.judges)):
            done.bad_steps = 0
            return
        done.bad_steps += 1
        for index, trajectory in enumerate(episodes):
            record.save(
                trajectory, self.out / "nonfinite" / checkpoint.name_of(done.step) / f"rank-{rank()}-{index:04}"
            )
        why = next(filter(None, gather_objects(guards.culprit(episodes))), "the record itself is all finite")
        dropped = f"a gradient was not finite ({why}); the step was dropped, its episodes are in nonfinite/"
        self._warn("nonfinite", f"step {done.step}: {dropped}", again=True)
        if done.bad_steps >= BAD_STEPS:
            raise Diverged(f"{BAD_STEPS} steps in a row had gradients that are not finite ({why}); {self._last_good()}")

    def _last_good(self) -> str:
        saved = checkpoint.listed(self.out / "checkpoints")
        last = f"the last good checkpoint is {saved[-1]}" if saved else "there is no checkpoint"
        kept = ", or study nonfinite/" if (self.out / "nonfinite").is_dir() else ""
        return f"{last}. Resume from it with a lower --learning-rate{kept}"

    def _warn(self, name: str, text: str, again: bool = False) -> None:
        """Say something, once a run or ``again``; the first time stands in ``summary.json`` and on the report too."""
        if self.journal is not None and (again or name not in self.done.warnings):
            self.done.warnings.setdefault(name, text)
            self.journal.say(text)

    def _keep_episodes(self, episodes: Sequence[Trajectory]) -> None:
        shown = shown_groups(self.config, self.task_ids, self.done.step)
        folder = self.out / "episodes" / checkpoint.name_of(self.done.step + 1)
        for trajectory in episodes:
            if trajectory.group in shown and trajectory.episode % self.config.group_size == 0:
                record.save(trajectory, folder / record.folder_name(trajectory.task.id))

    # --- evaluating, saving, ending

    def evaluate(self, when: str) -> dict[str, Any]:
        """Held-out success by task; ``when`` is ``before`` or ``after``. Keeps the first episodes of each task."""
        if not self.config.eval_episodes:
            return {}
        if self.journal is not None:
            self.journal.note(f"evaluating {when}")

        errors: list[str] = []

        def keep(index: int, trajectory: Trajectory) -> None:
            errors.extend([trajectory.error] if trajectory.outcome is Outcome.INFRA_ERROR else [])
            if index < FILMED:
                name = f"{record.folder_name(trajectory.task.id)}-{index}"
                record.save(trajectory, self.out / "episodes" / when / name)

        tasks: dict[str, Any] = evaluate(
            self.judged,
            self.task_ids,
            "heldout",
            self.config.eval_episodes,
            batch=self.config.batch,
            run_seed=self.config.seed,
            pool=self.pool,
            on_episode=keep,
        )["tasks"]
        self._forget_frames()
        barrier()  # every rank's episodes are on disk
        self._cpu = self._cpu_now()
        unplayed = [task_id for task_id, figures in tasks.items() if not figures["n"]]
        if unplayed:
            first = next(error for part in gather_objects(errors) for error in part)
            raise BrokenWorld(
                f"no held-out episode of {', '.join(unplayed)} could be played; the first error: {first}. Mend the "
                "world, or leave it out with --tasks"
            )
        if self.journal is not None:
            self.journal.evaluation(tasks, self.done.step, when)
            self.journal.note("")
        return tasks

    def save(self) -> None:
        """Write a checkpoint, after making sure that all ranks hold the same weights; not twice of one step."""
        if self._saved == self.done.step:
            return
        if len(set(gather_objects(_digest(self._trained())))) > 1:
            raise Diverged("the ranks' weights differ: they no longer train one policy; resume the last checkpoint")
        self.done.seconds = time.monotonic() - self._started
        if self.journal is not None:
            state = {
                "schema": checkpoint.SCHEMA,
                "config": self.config.to_json(),
                "progress": asdict(self.done),
                "weight_version": self.vlm.weight_version,
                "origin": self.origin or self._origin,  # let go, it may be held again later
                "ranks": world_size(),
                "tracker": self.journal.tracker_state(),
                "score": sum(self.done.recent) / max(1, len(self.done.recent)),
            }
            folder = self.out / "checkpoints"
            tensors = {name: judge.tensors() for name, judge in self.judges.items()}
            tensors[checkpoint.OPTIMIZER] = self.learner.optimizer_tensors()
            checkpoint.save(folder, self.done.step, state, self.vlm.save, tensors)
            checkpoint.prune(folder, self.config.keep)
        self._saved = self.done.step
        barrier()

    def summary(self) -> dict[str, Any]:
        """``summary.json``, written by the first rank."""
        self.done.seconds = time.monotonic() - self._started
        peak = all_reduce_sum([(memory.peak() + self.pool.usage()[1]) / 2**20])[0]
        summary = summarised(self.done, self.config, self.task_ids, peak)
        if self.journal is not None:
            write_whole(self.out / "summary.json", json.dumps(summary, indent=2) + "\n")
        return summary


def _digest(models: Sequence[VLM]) -> str:
    """Of all weights."""
    digest = blake2b(digest_size=16)
    for tensor in (tensor for vlm in models for tensor in vlm.state_dict().values()):
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
