"""Judges and direct preference on a random tiny model: gradients, what is saved, and a whole run resumed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from episode import ControlStep, Decision, Generation, Outcome, Task, Trajectory, frame_key
from policy.agent import dialect_of
from policy.codecs import codec_named
from policy.context import ContextBuilder
from policy.packing import Row
from policy.vlm import BASE, VLM
from tests.fake_worlds import SIDE, Strip
from training import checkpoint, worlds
from training.algorithms import ALGORITHMS
from training.config import PRESETS, Config, ConfigError
from training.critic import Layout
from training.judges import Judge
from training.loop import Interrupted, train
from training.preferences import margins, preference_loss, ratio
from training.report import read_lines
from training.rewards import RewardWeights, score
from training.samples import samples_of
from training.start import MissingCapability
from training.trainee import Trainee
from training.update import Learner, _Sums

CONFIG = Config(reward={"task": 1.0}, beta=0.5, bf16=False, token_budget=64)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setitem(worlds.TASKS, Strip.task_id, Strip)
    yield


def played(vlm: VLM, turns: int, paid: float, number: int, group: int = 0) -> Trajectory:
    """An episode of some turns, each with words of its own, scored by the policy that said them."""
    rng, frame = np.random.default_rng(number), np.full((SIDE, SIDE, 3), 60 * (number % 4), np.uint8)
    decisions = []
    for index in range(turns):
        prompt, reply = (rng.integers(10, 60, size=n).astype(np.int32) for n in (6, 3 + index))
        with torch.no_grad():
            logps = vlm(vlm.collate([Row(prompt, reply, ())])).logps[0, : len(reply)].numpy()
        steps = [ControlStep(None, {"task": paid if index + 1 == turns else 0.0}, 0.0, 0.0)]
        said = Generation(prompt, reply, (), "", logps, mask=np.arange(len(reply)) != 1)
        where = np.array([number % 5], np.float32)
        decisions.append(
            Decision({}, [said], "click<loc_1><loc_2>", "", True, "", steps, 1, {}, state_key=index, privileged=where)
        )
    key = frame_key(frame)
    task, outcome = Task(Strip.task_id, "go to the left edge", (), 0), Outcome.SUCCESS if paid > 1 else Outcome.FAILURE
    made = Trajectory(task, outcome, decisions, {key: frame}, group=group, final_frames={"screen": key})
    score(made, RewardWeights(**CONFIG.reward))
    return made


def batch(vlm: VLM) -> list[Trajectory]:
    """Two groups: 3 against 1 and 2 left over, then 4 against 0."""
    shape = [(1, 3.0, 0), (2, 1.0, 0), (1, 2.0, 0), (2, 4.0, 1), (1, 0.0, 1)]
    return [played(vlm, turns, paid, i, group) for i, (turns, paid, group) in enumerate(shape)]


def moved(vlm: VLM) -> VLM:
    """The same model a step further: another policy."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in vlm.model.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=generator))
    return vlm.eval()


def gradients(vlm: VLM) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in vlm.named_parameters() if p.grad is not None}


def judge(model: Path, name: str, layout: Layout | None = None, config: Config = CONFIG) -> Judge:
    vlm = VLM.load(model).eval()
    return Judge(name, vlm, config, ContextBuilder(dialect_of(vlm), codec_named("compact")), layout)


def test_dpos_credit_has_the_gradient_of_its_loss(model: Path) -> None:
    """Micro-batches of weighted log-likelihoods against autograd on −log σ of whole margins."""
    vlm, reference = moved(VLM.load(model)), VLM.load(model).eval()
    episodes = batch(vlm)
    learner = Learner(vlm, CONFIG, 8, reference)
    learner.references(episodes)
    ALGORITHMS["dpo"].credit(episodes, CONFIG)
    samples = samples_of(episodes, critic=False)
    learner._gradients(samples, _Sums(), False, surrogate=False)
    got = gradients(vlm)

    vlm.zero_grad()
    rows = [s.row for s in samples]
    mask = torch.zeros(len(rows), max(len(s.mask) for s in samples), dtype=torch.bool)
    for i, s in enumerate(samples):
        mask[i, : len(s.mask)] = torch.from_numpy(s.mask)
    with torch.no_grad():
        anchor = reference(vlm.collate(rows)).logps
    x = ratio(vlm(vlm.collate(rows)).logps, anchor, mask)
    # Rows by episode: chosen, rejected (2), left over, chosen (2), rejected.
    loss = preference_loss(margins(x, [1, -1, -1, 0, 1, 1, -1], [0, 0, 0, 0, 1, 1, 1], 2, CONFIG.beta)).sum()
    assert len(rows) == 7
    (loss / mask.sum()).backward()  # type: ignore[no-untyped-call]
    for name, gradient in gradients(vlm).items():
        torch.testing.assert_close(got[name], gradient, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("name", ["reward_model", "verifier", "critic"])
def test_a_judge_descends_its_preference_loss(model: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores come first; then the gradient, summed over micro-batches, is that of the mean loss over pairs."""
    layout = Layout.of({Strip.task_id: Strip()})
    one = judge(model, name, layout)
    assert isinstance(one, Judge)
    episodes = batch(moved(VLM.load(model)))
    Learner(one.vlm, CONFIG, 8, VLM.load(model).eval()).references(episodes)
    parts = [one.vlm.value_head, one.vlm.adapter]
    with torch.no_grad():  # begun, so that something reaches the body
        for p in (p for part in parts if part is not None for p in part.parameters()):
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2)))
    cases = one._cases(episodes)
    owner = [case.owner for case in cases]
    of_episode, pair_of, pairs = one.kind.compare(episodes, CONFIG)
    # The reward model and the critic compare 3 with 1, 4 with 0; the verifier hears of five episodes whether they
    # succeeded.
    assert pairs == (5 if name == "verifier" else 2)
    assert of_episode.tolist() == ([1, -1, 1, 1, -1] if name == "verifier" else [1, -1, 0, 1, -1])
    scores = one._score(cases)
    turns = torch.tensor([owner.count(i) for i in owner])  # 1 where episodes are judged by their ends
    beta = CONFIG.beta if name == "critic" else 1.0
    margin = margins(scores / turns, of_episode[owner], pair_of[owner], pairs, beta)
    (preference_loss(margin).sum() / pairs).backward()  # type: ignore[no-untyped-call]
    wanted = gradients(one.vlm)

    found: list[dict[str, Tensor]] = []

    def keep(self: Judge, step: int) -> float:
        found.append(gradients(self.vlm))
        return 0.0

    monkeypatch.setattr(Judge, "descend", keep)
    figures = one.judge(episodes, 0)
    assert figures[f"{name}/pairs"] == pairs
    assert figures[f"{name}/accuracy"] == pytest.approx(float((margin > 0).float().mean()))
    given = [d.terms.get(one.kind.term) for e in episodes for d in e.decisions]
    kept = [g for g in given if g is not None]
    np.testing.assert_allclose(kept, scores.detach().numpy(), atol=1e-5)
    assert len(found) == 4 and any(g.any() for g in wanted.values())
    for key, gradient in wanted.items():
        torch.testing.assert_close(found[0][key], gradient, atol=1e-6, rtol=1e-3)


def test_a_critic_that_knows_nothing_yet_finds_all_turns_alike_and_comes_back_from_a_checkpoint(model: Path) -> None:
    layout = Layout.of({Strip.task_id: Strip()})
    critic = judge(model, "critic", layout)
    policy = VLM.load(model).eval()
    episodes = batch(policy)
    Learner(policy, CONFIG, 8, VLM.load(model).eval()).references(episodes)
    first = critic.judge(episodes, 0)
    assert first["critic/accuracy"] == 0.5 and all(d.terms["critic"] == 0 for e in episodes for d in e.decisions)
    cases = critic._cases(episodes)
    other = judge(model, "critic", layout)
    other.load({k: v.clone() for k, v in critic.tensors().items()})
    assert torch.equal(other._scores(cases), critic._scores(cases)) and critic._scores(cases).any()
    assert other.optimizer_steps == critic.optimizer_steps == 4
    mine, theirs = critic.tensors(), other.tensors()
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)
    # What it knows depends on the state that no policy sees.
    elsewhere = [
        dataclasses.replace(c, row=dataclasses.replace(c.row, privileged=np.full(layout.size, 9, np.float32)))
        for c in cases
    ]
    assert not torch.equal(critic._scores(cases), critic._scores(elsewhere))


def test_a_reward_model_learns_what_is_preferred_and_ranks_new_pairs(model: Path) -> None:
    """Frames tell which of two episodes is preferred; the pairs of each step are new."""
    config = dataclasses.replace(CONFIG, token_budget=4096, warmup=1, learning_rate=1e-3)
    one = judge(model, "reward_model", config=config)
    policy = VLM.load(model).eval()
    seen = [[played(policy, 1, float(i % 4), 8 * step + i, group=i // 2) for i in range(8)] for step in range(6)]
    accuracies = [one.judge(episodes, 0)["reward_model/accuracy"] for episodes in seen]
    assert accuracies[0] == 0.5 and accuracies[-1] == 1.0


def strip(model: Path, **changes: Any) -> Config:
    changes = {
        "policy": str(model),
        "tasks": Strip.task_id,
        "ranks": 1,
        "eval_episodes": 0,
        "group_size": 4,
        "world_timeout": 0,
        "reward": {"task": 1.0, "subgoal": 1.0, "length": -0.01},
        **changes,
    }
    return dataclasses.replace(PRESETS["debug"], **changes)


def test_judges_are_resumed_bit_for_bit(model: Path, tmp_path: Path) -> None:
    config = strip(model, algorithm="rlaif", kl=0.05)
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    train(config, straight)
    with pytest.raises(Interrupted):
        train(config, broken, stop_at=1)
    train(config, broken, resume=broken)
    assert (straight / "metrics.jsonl").read_bytes() == (broken / "metrics.jsonl").read_bytes()

    def saved(run: Path) -> dict[str, str]:
        files = checkpoint.find(run).glob("*.safetensors")
        return {p.stem: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    assert saved(straight) == saved(broken) and set(saved(straight)) == {"optimizer", "verifier", "reward_model_ai"}


def test_judges_learn_before_the_policy_does(tmp_path: Path) -> None:
    """In the first of two steps the policy stands still, and it is no sign of a run that does not learn."""
    config = strip(BASE, algorithm="sweet", judge_steps=1, steps=2)

    def weights(folder: Path) -> dict[str, Tensor]:
        return {name: p.clone() for name, p in VLM.load(folder).named_parameters()}

    with pytest.raises(Interrupted):
        train(config, tmp_path, stop_at=1)
    begun = weights(checkpoint.model_folder(tmp_path))
    assert all(torch.equal(begun[name], p) for name, p in weights(BASE).items())
    train(config, tmp_path, resume=tmp_path)
    assert any(not torch.equal(begun[name], p) for name, p in weights(checkpoint.find(tmp_path) / "model").items())
    first, second = read_lines(tmp_path / "metrics.jsonl")
    assert first["critic/pairs"] > 0 and first["updates"] == 0 < second["updates"]
    assert not json.loads((tmp_path / "summary.json").read_text())["warnings"]


def test_the_rate_falls_over_the_steps_in_which_the_policy_learns() -> None:
    # Six steps, two of them the judges': the fall takes half of four, (6 − step) / 4 / .5 below 1.
    trainee = Trainee.__new__(Trainee)
    trainee.config, trainee.optimizer_steps = Config(steps=6, judge_steps=2, decay=0.5, warmup=1), 9
    assert [trainee.rate_factor(step) for step in range(6)] == [1, 1, 1, 1, 1, 0.5]


def test_what_cannot_be_compared_is_said_at_the_start(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dpo", "rlhf", "rlaif", "sweet"):
        with pytest.raises(ConfigError, match=f"{name} sets an episode against others .* --group-size 2 or more"):
            train(strip(model, algorithm=name, group_size=1), tmp_path / name)
    with pytest.raises(ConfigError, match="beta = 0: must be above 0"):
        strip(model, beta=0)
    blank = {k: v for k, v in vars(Strip).items() if k not in ("state_key", "privileged")}
    monkeypatch.setitem(worlds.TASKS, Strip.task_id, type("Blank", Strip.__bases__, blank))
    with pytest.raises(MissingCapability, match=r"sweet needs worlds that are Keyed and Privileged .* leave it out"):
        train(strip(model, algorithm="sweet"), tmp_path / "blank")
