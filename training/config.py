"""Presets: everything that decides what a run does, as frozen dataclasses."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import tyro

from episode import HandeyeError, nearest
from policy.codecs.base import Thought

Aggregation = Literal["token", "sequence", "constant"]
"""What weighs the same in a loss: tokens, episodes, or tokens over a constant length."""


class ConfigError(HandeyeError):
    """A setting that cannot be."""


@dataclass(frozen=True)
class Config:
    """One training run. The same config, seed and ranks give the same run, bit for bit."""

    preset: tyro.conf.Suppress[str] = "default"
    """Name under which the run is reported."""
    seed: int = 0
    """Keys every random draw of the run."""
    ranks: int = 0
    """Processes; 0 takes one a GPU, and two where there is none. Part of what a run's numbers depend on."""
    imports: tyro.conf.Suppress[tuple[str, ...]] = ()
    """Modules of the user's own, imported on every rank; they add tasks, terms or algorithms to their dicts."""

    # --- what is learned
    tasks: str = "all"
    """``all``, ``gui``, ``sims``, or task ids with commas between."""
    task_weights: dict[str, float] = field(default_factory=dict)
    """How often a task is drawn, relative to the others; 1 where it is not named."""
    reward: dict[str, float] = field(default_factory=lambda: {"task": 1.0, "subgoal": 1.0, "invalid": -0.1})
    """Weight by reward term. A world's term that is not named is recorded and unpaid, an agent's is not computed; with
    a weight of 0 it is recorded too."""
    reward_scales: dict[str, float] = field(default_factory=dict)
    """Factor on all rewards of a task; 1 where it is not named."""

    # --- who learns
    policy: str = "base"
    """A run, checkpoint or model folder to go on from, or ``base``: the shipped one."""
    codec: str = "compact"
    """How replies are written."""
    frames: int = 1
    """Frames of each camera that a turn sees, the current one included."""
    last_actions: int = 1
    """Actions of the turns before that a turn is told."""
    conversation: bool = False
    """Whether a turn goes on from the one before, with all frames and replies so far, instead of being told of the last
    ones afresh. As long as the model's positions allow: then it begins afresh."""
    thought: Thought = "place"
    """What experts that are cloned write before the action: none, place (where they look, as the base), or words."""

    # --- collecting
    steps: int = 20
    """Training steps: one collection and one update each."""
    groups: int = 16
    """Groups of episodes a step, over all ranks; a group never splits over ranks."""
    group_size: int = 8
    """Episodes a group, all from one start."""
    resample: int = 0
    """Rounds, at most, in which other groups are played in place of those whose episodes all had the same return
    (dynamic sampling); all of them count as environment steps."""
    batch: int = 64
    """Episodes alive at once on a rank."""
    world_timeout: float = 60.0
    """Seconds that a world may take for one turn. Worlds run in a process of their own, one a rank; one that hangs or
    dies is replaced, and its episodes are played again. 0 keeps worlds in the rank's own process, where neither can be
    mended."""
    temperature: float = 1.0
    """Of sampling; log-probs are those of the tempered distribution."""

    # --- crediting
    algorithm: str = "grpo"
    """How rewards become advantages."""
    gamma: float = 1.0
    """Discount a control step (a decision on screens)."""
    lam: float = 0.95
    """λ of generalised advantage estimation, a decision. Only with a critic."""
    tie: float = 0.0
    """Episodes whose returns differ by no more than this are equally good to whoever prefers, and make no pair. Only
    with dpo, sweet and rlhf."""
    judge_steps: int = 0
    """So many of the steps, the first ones, in which only the judges learn, from what the policy plays as it is: one
    that is paid by a judge that knows nothing learns nonsense, and sooner than its judge learns better. Only with
    sweet, rlhf and rlaif."""
    beta: float = 0.1
    """How firmly direct preference methods hold the policy to where it started. Only with dpo and sweet."""

    # --- updating
    train_vision: bool = True
    """Train the vision tower too. Left as it is, each frame is encoded once a step, for rollout and update together: a
    step takes half of the time (docs/log.md)."""
    train_embeddings: bool = True
    """Train the token embeddings and the head too, which most models tie together. What the optimiser walks in a head
    makes tokens likelier everywhere, whatever was seen: of a tiny model that costs fine motions (docs/log.md)."""
    learning_rate: float = 2e-4
    """Of AdamW, after the warm-up. Where gradients are mostly noise it walks this · √(optimiser steps) in every weight:
    3e-4 over 40 steps, all of a tiny model trained and held by nothing, cost what it had gained (docs/log.md)."""
    value_learning_rate: float = 1e-3
    """Of the value head, which starts from nothing."""
    warmup: int = 5
    """Optimiser steps over which the learning rate rises."""
    decay: float = 0.0
    """Share of the steps, at the end, over which the learning rate falls to 0 in a line."""
    weight_decay: float = 0.0
    """Of AdamW."""
    max_grad_norm: float = 1.0
    """Longer gradients are scaled down to this."""
    epochs: int = 1
    """Passes over what a step collected."""
    minibatches: int = 1
    """Optimiser steps a pass."""
    clip_low: float = 0.2
    """Probability ratios below 1 - this get no gradient."""
    clip_high: float = 0.28
    """Probability ratios above 1 + this get no gradient."""
    dual_clip: float = 3.0
    """Where the advantage is negative, no token's loss exceeds this multiple of it; 0 is off."""
    importance_cap: float = 0.0
    """Weigh each token by its probability at the start of the update over the one it was sampled with, at most this
    (truncated importance sampling, for stale or foreign log-probs); 0 trusts the sampled ones and saves a pass."""
    kl: float = 0.0
    """Weight of the KL divergence to the policy at the start; 0 keeps no copy of it (but dpo and sweet always do)."""
    entropy: float = 0.0
    """Weight of the entropy bonus."""
    value: float = 0.5
    """Weight of the value loss. Only with a critic."""
    value_clip: float = 0.2
    """How far a value may move from its old one before its loss counts no further; 0 is off."""
    aggregation: Aggregation = "token"
    """What weighs the same: every token, every episode (``sequence``), or tokens over a constant length."""
    token_budget: int = 4096
    """Tokens, padding included, that go through the model at once in an update."""
    bf16: bool = True
    """Compute rollouts and updates under bfloat16 autocast where the machine is quick at it; weights stay float32."""

    # --- looking and saving
    eval_episodes: int = 100
    """Held-out episodes a task, before and after; 0 is none."""
    eval_temperature: float = 1.0
    """Of the replies that are evaluated; 0 takes the likeliest. What is trained is what samples: a policy that always
    takes the likeliest, a little off, does the same again for ever, which training never meets and so cannot mend
    (docs/log.md)."""
    save_every: int = 1
    """Steps between checkpoints, and so the most that a kill can lose; there is always one of the start and one of the
    end. More where writing a model and its optimiser takes a while beside a step."""
    keep: int = 2
    """Newest checkpoints that are kept, beside the best one."""
    episodes_every: int = 10
    """Steps between recorded training episodes, one a task."""
    cpu_seconds: float = 0.0
    """Stop after the first step at which all ranks together have spent this on training; 0 never. For comparisons at
    equal cost: where a run then ends depends on the machine, what it does until there does not."""

    def __post_init__(self) -> None:
        sizes = ("steps", "groups", "group_size", "batch", "epochs", "minibatches", "token_budget")
        for name in (*sizes, "save_every", "keep", "episodes_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be at least 1")
        counts = ("resample", "eval_episodes", "ranks", "judge_steps", "warmup")
        weights = (
            "eval_temperature",
            "tie",
            "kl",
            "value",
            "value_clip",
            "clip_high",
            "importance_cap",
            "weight_decay",
        )
        for name in (*counts, *weights):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be 0 or more")
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{name} = {value}: must be a finite number")
        if self.judge_steps >= self.steps:
            raise ConfigError(
                f"judge_steps = {self.judge_steps}: must be less than steps = {self.steps}, or the policy never "
                f"learns: --steps {self.judge_steps + 20}, or --judge-steps {self.steps // 3}"
            )
        if not self.world_timeout >= 0:
            raise ConfigError(
                f"world_timeout = {self.world_timeout}: must be 0 (no process of their own) or more seconds"
            )
        if self.aggregation not in get_args(Aggregation):
            raise ConfigError(
                f"no aggregation {self.aggregation!r}: {nearest(self.aggregation, get_args(Aggregation))}"
            )
        for name in ("temperature", "learning_rate", "max_grad_norm", "beta"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be above 0")
        if not 0 < self.gamma <= 1 or not 0 <= self.lam <= 1:
            raise ConfigError(f"gamma = {self.gamma}, lam = {self.lam}: must be in (0, 1] and [0, 1]")
        if not 0 <= self.decay <= 1 or not 0 <= self.clip_low <= 1:
            raise ConfigError(f"decay = {self.decay}, clip_low = {self.clip_low}: must be in [0, 1]")
        if 0 < self.dual_clip <= 1 or self.dual_clip < 0:  # below 1 it would stop what never left the trust region
            raise ConfigError(f"dual_clip = {self.dual_clip}: must be 0 (without) or above 1")

    def to_json(self) -> dict[str, Any]:
        """As JSON scalars, lists and dicts."""
        return dataclasses.asdict(self) | {"imports": list(self.imports)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Config:
        """The inverse of :meth:`to_json`.

        Raises:
            ConfigError: a field that no config has; the nearest ones are named.
        """
        known = [f.name for f in dataclasses.fields(cls)]
        for name in data:
            if name not in known:
                raise ConfigError(f"no setting {name!r}: {nearest(name, known)}")
        return cls(**{**data, "imports": tuple(data.get("imports", ()))})


TASKS = (
    "gui/click-button-v0",
    "gui/click-icon-v0",
    "gui/set-checkboxes-v0",
    "gui/type-text-v0",
    "gui/scroll-select-v0",
    "gui/login-form-v0",
    "gui/dismiss-popup-v0",
    "sims/reach-v0",
    "sims/touch-color-v0",
    "sims/push-to-zone-v0",
    "sims/put-in-bowl-v0",
    "sims/lift-v0",
    "sims/press-button-v0",
)
"""What the default run learns: some of one decision, some of many, in both worlds."""

GRPO = Config(
    preset="grpo",
    tasks=",".join(TASKS),
    # Chosen by the success of sampled episodes on training seeds: what is nearly always solved from the start teaches
    # little, what is sometimes solved most (docs/log.md).
    task_weights={
        "gui/click-button-v0": 0.3,
        "gui/click-icon-v0": 0.6,
        "gui/set-checkboxes-v0": 1.0,
        "gui/type-text-v0": 1.0,
        "gui/scroll-select-v0": 1.2,
        "gui/login-form-v0": 1.5,
        "gui/dismiss-popup-v0": 1.0,
        "sims/reach-v0": 0.2,
        "sims/touch-color-v0": 0.4,
        "sims/push-to-zone-v0": 0.6,
        "sims/put-in-bowl-v0": 1.4,
        "sims/lift-v0": 1.0,
        "sims/press-button-v0": 0.8,
    },
    steps=40,
    # As many episodes from twice the starts of 16 groups of 8: what a step learns depends less on which starts it drew.
    groups=32,
    group_size=4,
    # The tower is three quarters of an update and has next to none of its signal (docs/log.md).
    train_vision=False,
    # What is learned of screens, and noise, walks over the arm's fine motions: most of all in the head, and then
    # wherever nothing holds the policy (docs/log.md).
    train_embeddings=False,
    kl=0.02,
    learning_rate=6e-4,
    decay=0.5,
    minibatches=4,
)

# The step term tells which turns of a long episode were good, and the discount that time costs: over GRPO alone 5
# points with the arm and 3 on screens, in the mean of three seeds (docs/results.md).
DEFAULT = dataclasses.replace(GRPO, preset="default", algorithm="gigpo", gamma=0.95)

LONE = dataclasses.replace(GRPO, groups=128, group_size=1)
"""For methods that compare no group: as many episodes, all from starts of their own."""
PPO = dataclasses.replace(LONE, preset="ppo", algorithm="ppo", minibatches=2, gamma=0.99, clip_high=0.2)

PREFERENCE = dataclasses.replace(
    GRPO,
    groups=16,
    group_size=8,
    minibatches=1,
    reward={**GRPO.reward, "turn": -0.05},
    tie=0.15,
    kl=0.0,
    train_embeddings=True,
)
"""For methods that learn from comparisons, of which larger groups make more: ``reward`` is then what somebody prefers
by, success first and then the short path, and not what the policy is paid; three turns more make no difference that
matters, and every sub-goal does. Gradients of direct methods are exact for one optimiser step."""
RLHF = dataclasses.replace(
    PREFERENCE,
    preset="rlhf",
    algorithm="rlhf",
    judge_steps=16,
    steps=46,
    minibatches=2,
    gamma=0.99,
    clip_high=0.2,
    kl=0.05,
)

PRESETS: dict[str, Config] = {
    "default": DEFAULT,
    "reinforce": dataclasses.replace(LONE, preset="reinforce", algorithm="reinforce"),
    "grpo": GRPO,
    "dr_grpo": dataclasses.replace(GRPO, preset="dr_grpo", algorithm="dr_grpo", aggregation="constant"),
    "rloo": dataclasses.replace(GRPO, preset="rloo", algorithm="rloo"),
    "reinforce_pp": dataclasses.replace(LONE, preset="reinforce_pp", algorithm="reinforce_pp"),
    "dapo": dataclasses.replace(GRPO, preset="dapo", resample=3),
    "gigpo": dataclasses.replace(DEFAULT, preset="gigpo", kl=0.01),
    "ppo": PPO,
    "ppo_turn": dataclasses.replace(PPO, preset="ppo_turn", algorithm="ppo_turn"),
    "ppo_privileged": dataclasses.replace(PPO, preset="ppo_privileged", algorithm="ppo_privileged"),
    "dpo": dataclasses.replace(PREFERENCE, preset="dpo", algorithm="dpo"),
    "rlhf": RLHF,
    "rlaif": dataclasses.replace(RLHF, preset="rlaif", algorithm="rlaif", tie=0.0),
    "sweet": dataclasses.replace(PREFERENCE, preset="sweet", algorithm="sweet", judge_steps=16, steps=46),
    "clone": dataclasses.replace(LONE, preset="clone", algorithm="clone", train_embeddings=True, kl=0.0),
    "debug": dataclasses.replace(
        GRPO,
        preset="debug",
        tasks="gui/click-button-v0,sims/reach-v0",
        task_weights={},
        steps=2,
        groups=2,
        group_size=2,
        batch=8,
        # All that can be trained, in one optimiser step, and the copy of the start that others keep too.
        train_vision=True,
        train_embeddings=True,
        minibatches=1,
        warmup=1,
        eval_episodes=2,
        episodes_every=1,
    ),
}
"""Presets by name: ``handeye train NAME``. A user's module may add its own."""

SUMMARIES: dict[str, str] = {
    "default": "GRPO and a step term (GiGPO) on the tasks of both worlds, 2 cores, under 15 minutes",
    "reinforce": "the plain return, no baseline, 128 starts",
    "grpo": "default without the step term and the discount",
    "dr_grpo": "no division by deviation or length",
    "rloo": "each return against the mean of the others",
    "reinforce_pp": "returns whitened over the batch, 128 starts",
    "dapo": "as grpo, and groups without variance are played again, up to 3 rounds",
    "gigpo": "default with its paper's KL to the base (.01)",
    "ppo": "PPO with a value head and turn-level advantages, otherwise as grpo",
    "ppo_turn": "as ppo, with advantages of tokens within turns (bi-level)",
    "ppo_privileged": "as ppo, with a critic that sees the world's state",
    "dpo": "preferred against other episodes of a group, directly; no reward is paid",
    "rlhf": "PPO on a reward model that learns what is preferred, 16 steps before the policy, minus KL",
    "rlaif": "as rlhf, and a learned goal verifier says what is preferred",
    "sweet": "turns preferred by a critic that sees the world's state and learns 16 steps before the policy, directly",
    "clone": "supervised steps on expert episodes, free of the base: the control",
    "debug": "two tiny steps, to see that everything runs (seconds)",
}


def preset(name: str) -> Config:
    """A preset by name.

    Raises:
        ConfigError: there is none of that name; the nearest ones are named.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}: {nearest(name, PRESETS)}")
    return PRESETS[name]


def dumps(config: Config) -> str:
    return json.dumps(config.to_json(), indent=2) + "\n"
