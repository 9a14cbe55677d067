"""How fast we are against others, as ratios of one run. ``make bench-peers``.

make bench-peers                                     # all, some half an hour
make bench-peers ARGS="--only trl-4-turns generate"  # some
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.peers.harness import ROOT, Clock, PeerFailed, Result, Round, Running, Side, result, write
from episode import HandeyeError, nearest

WORK = ROOT / "benchmarks" / "out" / "peers"
MODEL = WORK / "model"
OPENS = ("--model", str(MODEL))
"""Arguments of sides that open the model folder."""


class UnknownComparison(HandeyeError):
    """A comparison was asked for that there is none of."""


@dataclass(frozen=True)
class Comparison:
    """One peer against one or more ways in which ours does the same."""

    unit: str
    peer: Side
    ours: dict[str, Side]
    """By name of the result."""
    rounds: int = 3
    lengths: tuple[str, ...] = ()
    """What ours takes over from the peer's setting, as options: first prompt, growth a turn, reply."""
    clock: Clock = "CPU"
    """By which both sides measure their rounds."""


def peer(environment: str, name: str, module: str, *args: str) -> Side:
    python = ROOT / ".peers" / environment / "bin" / "python"
    return Side(name, python, f"benchmarks.peers.{module}", args)


def ours(module: str, *args: str) -> Side:
    return Side("ours", Path(sys.executable), f"benchmarks.peers.{module}", args)


def turns(count: int, groups: int, rounds: int) -> Comparison:
    """GRPO with ``count`` turns an episode, ours in each of its contexts."""
    size = (*OPENS, "--turns", str(count), "--groups", str(groups))
    contexts = {"trl-1-turn": "all"}
    if count > 1:
        names = {"same-history": "all", "default-context": "default", "shipped-prompt": "shipped"}
        contexts = {f"trl-{count}-turns-{name}": context for name, context in names.items()}
    return Comparison(
        "trained turns",
        peer("trl", "TRL", "trl_grpo", *size),
        {name: ours("ours_grpo", *size, "--context", context) for name, context in contexts.items()},
        rounds,
        ("prompt", "growth", "reply"),
    )


COMPARISONS: dict[str, Comparison] = {
    "trl-1-turn": turns(1, groups=8, rounds=5),
    "trl-4-turns": turns(4, groups=1, rounds=3),
    "trl-8-turns": turns(8, groups=1, rounds=2),
    "generate": Comparison(
        "rollout tokens",
        peer("trl", "generate", "hf_generate", *OPENS),
        {"generate": ours("ours_generate", *OPENS)},
        rounds=5,
    ),
    "miniwob": Comparison(
        "GUI steps",
        peer("miniwob", "MiniWoB++", "miniwob_steps", "--seconds", "5"),
        {"miniwob": ours("ours_gui_steps", "--seconds", "5")},
        clock="wall",
    ),
    "miniwob-playwright": Comparison(
        "GUI steps",
        peer("miniwob", "MiniWoB++", "miniwob_playwright", "--seconds", "5"),
        {"miniwob-playwright": ours("ours_gui_steps", "--seconds", "5")},
        clock="wall",
    ),
    "vllm": Comparison(
        "rollout tokens", peer("vllm", "vLLM", "vllm_generate", *OPENS), {"vllm": ours("ours_generate", *OPENS)}
    ),
    "sb3": Comparison(
        "red buttons learned", peer("sb3", "SB3's PPO", "sb3_ppo"), {"sb3": ours("ours_red_button")}, rounds=1
    ),
}


def compare(name: str, comparison: Comparison, rounds: int) -> Iterator[Result]:
    """All sides of one comparison in turns: what is known after every round, so that little is lost with the run.

    Raises:
        PeerFailed: a side ended before its rounds were done; its log is named.
    """
    with ExitStack() as stack:
        other = stack.enter_context(Running(comparison.peer, WORK / f"{name}-peer.log"))
        lengths = [f"--{key}={other.about['setting'][key]}" for key in comparison.lengths]
        sides = {
            key: stack.enter_context(Running(side, WORK / f"{key}-ours.log", lengths))
            for key, side in comparison.ours.items()
        }
        pairs: dict[str, list[tuple[Round, Round]]] = {key: [] for key in sides}
        for _ in range(rounds):
            theirs = other.round()
            for key, side in sides.items():
                pairs[key].append((side.round(), theirs))
                about = side.about, other.about
                yield result(key, comparison.unit, pairs[key], about, comparison.clock)
                if theirs.steps:
                    yield result(f"{key}-steps", comparison.unit, pairs[key], about, "step")


def chosen(only: tuple[str, ...]) -> list[str]:
    for name in only:
        if name not in COMPARISONS:
            raise UnknownComparison(f"no comparison {name!r}: {nearest(name, COMPARISONS)}")
    return list(only or COMPARISONS)


def show(results: list[Result]) -> None:
    table = Table("what", "unit", "ours", "peer", "ratio", "lowest to highest", box=None)
    for r in results:
        table.add_row(
            r.name,
            f"{r.unit}, a {r.clock}{'' if r.clock == 'step' else ' second'}",
            f"{r.ours:g}",
            f"{r.peer:g}",
            f"{r.ratio:g}",
            f"{r.spread[0]:g} to {r.spread[1]:g}",
        )
    # Wider than the 80 columns of a pipe: figures that wrap cannot be compared.
    Console(width=120).print(table)


def main(only: tuple[str, ...] = (), rounds: int = 0, out: Path = ROOT / "benchmarks" / "results") -> None:
    """Measure against the peers that `scripts/peers.sh` has set up.

    Args:
        only: names of comparisons; all where none is given.
        rounds: of each side; 0 is each comparison's own number.
        out: folder for one JSON file a comparison.
    """
    names, results = chosen(only), dict[str, Result]()
    opened = any(set(OPENS) <= set(COMPARISONS[name].peer.args) for name in names)
    if opened and not (MODEL / "config.json").is_file():
        from benchmarks.peers.model import write as write_model

        write_model(MODEL)
    for name in names:
        comparison = COMPARISONS[name]
        if not comparison.peer.python.is_file():
            print(f"{name} is left out: {comparison.peer.python} is not there (scripts/peers.sh makes it)")
            continue
        try:
            for found in compare(name, comparison, rounds or comparison.rounds):
                results[found.name] = found
                write(out, found)
        except PeerFailed as error:
            print(f"{name} is left out: {error}")
    show(list(results.values()))


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HandeyeError as error:
        sys.exit(f"error: {error}")
