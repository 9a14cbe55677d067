"""Whoever a command is told to let play: a model from a folder, or one of the scripted agents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from episode import HandeyeError, nearest
from policy.codecs import codec_named
from training.slides import Pieces

if TYPE_CHECKING:
    from policy.agent import Agent

POLICIES = {
    "base": "the model that comes with handeye",
    "expert": "each world's scripted expert, through a codec",
    "random": "uniform native actions",
    "noop": "does nothing",
}
"""Names that stand for a policy; anything else is a folder."""


class UnknownPolicy(HandeyeError):
    """A policy was named that is neither a folder nor one of :data:`POLICIES`."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a model plays: what a run's own config says, or the default of a bare model folder."""

    codec: str = "compact"
    frames: int = 1
    last_actions: int = 1
    conversation: bool = False
    temperature: float = 1.0
    """Of its replies, as the run evaluates them; 0 takes the likeliest."""
    bf16: bool = True
    """Whether it computes in bfloat16 where the machine is quick at that."""
    seed: int = 0
    """Of the run, by which its own evaluation draws."""


def check_policy(policy: str, codec: str = "") -> None:
    """Say what is wrong with a choice before anything heavy is loaded.

    Raises:
        UnknownPolicy: no such folder.
        CodecError: no such codec.
    """
    if codec:
        codec_named(codec)
    if policy not in POLICIES and not Path(policy).is_dir():
        raise UnknownPolicy(
            f"--policy {policy!r} is no folder and no name: {nearest(policy, POLICIES)}; "
            "or give a run folder, a checkpoint, or a model folder"
        )


def player(policy: str, codec: str = "", temperature: float | None = None) -> tuple[Agent, Pieces | None]:
    """The agent, and for a model the spelling of its tokens.

    Args:
        policy: a folder or one of :data:`POLICIES`.
        codec: overrides what a run knows of itself.
        temperature: likewise, of a model's replies; 0 takes the likeliest.
    """
    from policy import agent

    if policy == "random":
        return agent.RandomAgent(), None
    if policy == "noop":
        return agent.NoopAgent(), None
    if policy == "expert":
        return agent.ExpertAgent(codec_named(codec or "compact"), thought="words"), None
    return _model(policy, codec, temperature)


def _model(policy: str, codec: str, temperature: float | None) -> tuple[Agent, Pieces | None]:
    from policy.agent import VLMAgent, context_of
    from policy.engine import Sampling
    from policy.vlm import BASE, VLM
    from training.distributed import device
    from training.report import pieces_of

    folder, manner = found(policy)
    chosen = codec_named(codec or manner.codec)
    vlm = VLM.load(folder, device=device(), bf16=manner.bf16)
    vlm.eval()
    context = context_of(vlm, chosen, manner.frames, manner.last_actions, manner.conversation)
    sampling = Sampling(manner.temperature if temperature is None else temperature, chosen.max_tokens)
    return VLMAgent(vlm, chosen, context, sampling), pieces_of(BASE if folder == "base" else Path(folder))


def seed_of(policy: str) -> int:
    """What an evaluation draws by, so that of a run it is its own again."""
    return 0 if policy in POLICIES else found(policy)[1].seed


def found(policy: str) -> tuple[str, Manner]:
    """The model's folder and its manner, for ``base``, a run, a checkpoint or a bare model folder."""
    from training import checkpoint

    if policy == "base":
        return policy, Manner()
    folder = checkpoint.model_folder(Path(policy))
    if not (folder.parent / checkpoint.STATE).is_file():
        return str(folder), Manner()
    c = checkpoint.load_config(folder.parent)
    manner = Manner(c.codec, c.frames, c.last_actions, c.conversation, c.eval_temperature, c.bf16, c.seed)
    return str(folder), manner
