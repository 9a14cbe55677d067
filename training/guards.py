"""Guards: signs in a run's figures that it is not going well, what is not finite, and whether anything was learned.

Pure functions; :class:`training.run.Run` calls them after each step and at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist, fmean, variance
from typing import Any

import numpy as np
from torch import nn

from episode import Trajectory
from training.evaluate import wilson
from training.probe import BLIND

WINDOW = 5
"""Steps over which figures are compared; one step is too noisy."""
FLAT = 5
"""Steps without a gradient after which a run says that it is not learning, and stops where it never had one."""
COLLAPSE = 0.1
"""Share of the first steps' entropy under which the policy is said to have stopped trying things."""
WELL_FORMED = 0.5
"""Share of replies that are an action under which it is said."""
MISMATCH = 0.03
"""Nats, of a mean token, by which log-probs of rollout and update may differ. Rounding to bfloat16 stays below: .0002
in the default run, .01 where the shipped base meets pictures that it never saw and is sure of nothing."""
HACKED = 3.0
"""Standard errors by which a reward must have risen, and success fallen, to be taken for reward hacking. It is asked
at every step and of every term: at two, one of 20 runs of 40 steps without any trend was accused with one such term and
one of 13 with two, at three hardly any."""
GAIN = 0.05
"""Rise of a world's held-out success that must be ruled out before a run is called one that learned nothing."""
CHANCE = 0.05
"""One-sided level of "beyond chance", over all worlds and tasks together (Bonferroni)."""


# --- signs in the figures


def signs(lines: Sequence[Mapping[str, Any]], weights: Mapping[str, float]) -> dict[str, str]:
    """What the figures so far warn of, by a short name.

    Args:
        lines: of ``metrics.jsonl``, the newest last; those between the first and the last windows may be missing.
        weights: of the reward terms.
    """
    found: dict[str, str] = {}
    now = lines[-1]
    if _of(now, "sees/change", 1.0) <= BLIND:
        found["blind"] = (
            f"the policy's log-probs no longer change when its images do{_unseen(now)}: the frames do not reach the "
            "model, and what it learns from here on it learns blindly"
        )
    if _of(now, "sees/blank", 0.0) == 1.0:
        found["blank"] = "every frame of the step is of a single colour: look at episodes/, the worlds draw nothing"
    if _of(now, "logp_difference/mean", 0.0) > MISMATCH:
        found["mismatch"] = (
            f"log-probs of rollout and update differ by {now['logp_difference/mean']:.3f} nats a token: they should be "
            "equal but for rounding. Try --bf16 False; it is a bug, please report it"
        )
    recent = lines[-WINDOW:]
    valid = _mean(recent, "valid")
    if len(recent) == WINDOW and valid < WELL_FORMED:
        found["valid"] = (
            f"only {valid:.0%} of the replies are an action: a larger penalty (--reward.invalid -0.3), or a base that "
            "knows the codec"
        )
    if len(lines) >= 2 * WINDOW:
        first, last = _mean(lines[(begun := _begun(lines)) : begun + WINDOW], "entropy"), _mean(recent, "entropy")
        if last < COLLAPSE * first:
            found["entropy"] = (
                f"entropy fell from {first:.3g} to {last:.3g} nats a token: the policy has stopped trying things. "
                "Lower --learning-rate, or --entropy 0.001"
            )
        for term in sorted(weights):
            if text := _hacked(lines[-2 * WINDOW : -WINDOW], recent, term, weights[term]):
                found[f"hacking/{term}"] = text
    return found


def forget(lines: list[Any]) -> None:
    """Drop, in place, what :func:`signs` looks at no more: a run of 50,000 steps held 100 MB of it."""
    first = _begun(lines) + WINDOW
    del lines[first : max(first, len(lines) - 2 * WINDOW)]


def _begun(lines: Sequence[Mapping[str, Any]]) -> int:
    """Steps before the policy first learned: judges may learn before it."""
    return next((number for number, line in enumerate(lines) if "entropy" in line), 0)


def _unseen(line: Mapping[str, Any]) -> str:
    """Which images, where that is told: ``WORLD/K`` is the K-th from the end of the prompt."""
    start = "sees/change/"
    places = [name.removeprefix(start) for name in line if name.startswith(start) and _of(line, name, 1.0) <= BLIND]
    return f" ({', '.join(places)})" if places else ""


def _hacked(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], term: str, weight: float) -> str:
    """Whether what ``term`` pays rose while success fell, each by more than :data:`HACKED` standard errors."""
    if term == "task" or not weight:
        return ""  # paid for success alone
    paid = [[weight * x for x in _means(part, f"reward/{term}/")] for part in (before, after)]
    success = [_means(part, "success/") for part in (before, after)]
    if not (_rose(*paid) and _rose(*success[::-1])):
        return ""
    (a, b), (c, d) = map(fmean, paid), map(fmean, success)
    return (
        f"a sign of reward hacking: over {2 * WINDOW} steps what the term {term!r} pays rose from {a:.3g} to {b:.3g} "
        f"while success fell from {c:.0%} to {d:.0%}. Look at the last episodes, and lower --reward.{term}"
    )


def _rose(before: Sequence[float], after: Sequence[float]) -> bool:
    if len(before) < 2 or len(after) < 2:
        return False
    error = math.sqrt(variance(before) / len(before) + variance(after) / len(after))
    return fmean(after) - fmean(before) > max(HACKED * error, 1e-9)


def _means(lines: Iterable[Mapping[str, Any]], prefix: str) -> list[float]:
    """Of each line the mean over the tasks that were played."""
    rows = (
        [
            float(v)
            for k, v in line.items()
            if k.startswith(prefix) and k.count("/") > prefix.count("/") and v is not None
        ]
        for line in lines
    )
    return [fmean(row) for row in rows if row]


def _mean(lines: Sequence[Mapping[str, Any]], name: str) -> float:
    values = [value for line in lines if not math.isnan(value := _of(line, name, math.nan))]
    return fmean(values) if values else math.nan


def _of(line: Mapping[str, Any], name: str, otherwise: float) -> float:
    value = line.get(name)
    return otherwise if value is None else float(value)


# --- what is not finite


def bad_weight(module: nn.Module) -> str:
    """Name of the first parameter that is not finite; empty where all are."""
    return next((name for name, p in module.named_parameters() if not bool(p.isfinite().all())), "")


def culprit(episodes: Iterable[Trajectory]) -> str:
    """What in the episodes is not finite, and where; empty where everything is.

    Of several things the one that the others come of: a reward spoils the advantages of its whole group.
    """
    found: dict[int, str] = {}
    for trajectory in episodes:
        for index, decision in enumerate(trajectory.decisions):
            terms = [*decision.terms.items(), *(pair for step in decision.steps for pair in step.terms.items())]
            kinds: list[list[tuple[str, Any]]] = [
                [(f"the reward term {name!r}", value) for name, value in terms],
                [("the reward", decision.reward)],
                [("the privileged state", decision.privileged)],
                [("a log-prob of the rollout", g.logps) for g in decision.generations],
                [("a log-prob of the policy at the start", decision.reference_logps)],
                [("the value", decision.token_values)],
                [("the return", decision.ret)],
                [("the advantage", decision.advantages)],
            ]
            for order, kind in enumerate(kinds):
                for name, value in kind:
                    if value is not None and not np.isfinite(value).all():
                        task = trajectory.task
                        where = f"{name} of {task.id}, seed {task.seed}, decision {index} is not finite"
                        found.setdefault(order, where)
    return found[min(found)] if found else ""


# --- at the end


def learned(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]], optimizer_steps: int, steps: int
) -> tuple[bool | None, str]:
    """Whether a run learned anything, and why that is said; None where it cannot be told.

    It did where held-out success rose in some world or some task beyond chance: a one-sided test of two shares, at
    :data:`CHANCE` over all of them together. It learned nothing where a rise of :data:`GAIN` is ruled out in every
    world (Newcombe's interval of a difference of shares, same level), or where no optimiser step was taken in
    :data:`FLAT` steps and more.

    Args:
        before: the evaluation before training: task to ``success`` and ``n``.
        after: the one after it.
        optimizer_steps: that were taken.
        steps: training steps that were taken.
    """
    if not optimizer_steps:
        why = "no optimiser step was taken: in no group of episodes did the returns differ"
        return (False if steps >= FLAT else None), why
    tasks = [t for t in before if t in after and before[t]["n"] and after[t]["n"]]
    if not tasks:
        return None, "held-out success was not measured"
    families = list(dict.fromkeys(t.split("/")[0] for t in tasks))
    groups = {t: [t] for t in tasks} | {f: [t for t in tasks if t.split("/")[0] == f] for f in families}
    bar = NormalDist().inv_cdf(1 - CHANCE / len(groups))
    said = {name: _compared(name, *(_pooled(m, group) for m in (before, after))) for name, group in groups.items()}
    if rose := [text for z, text in said.values() if z > bar]:
        return True, "held-out success rose beyond chance: " + "; ".join(rose)
    worlds = "; ".join(said[f][1] for f in families)
    most = max(_upper(*(_pooled(m, groups[f]) for m in (before, after))) for f in families)
    if most >= GAIN:
        return None, f"too few held-out episodes to tell: a rise of {most:.0%} is within chance ({worlds})"
    return False, f"in no world did held-out success rise, and by {GAIN:.0%} it did not in any ({worlds})"


def _upper(before: tuple[int, int], after: tuple[int, int]) -> float:
    """The largest rise of a share that is not ruled out (Newcombe 1998, method 10)."""
    z = NormalDist().inv_cdf(1 - CHANCE)
    (x, n), (y, m) = before, after
    p, q = x / n, y / m
    return q - p + math.hypot(wilson(y, m, z)[1] - q, p - wilson(x, n, z)[0])


def _pooled(evaluation: Mapping[str, Mapping[str, Any]], tasks: Sequence[str]) -> tuple[int, int]:
    """Successes and episodes of several tasks together."""
    return (
        sum(round(evaluation[t]["success"] * evaluation[t]["n"]) for t in tasks),
        sum(int(evaluation[t]["n"]) for t in tasks),
    )


def _compared(name: str, before: tuple[int, int], after: tuple[int, int]) -> tuple[float, str]:
    """Z of the rise of a share, and the two shares in words."""
    (x, n), (y, m) = before, after
    share = (x + y) / (n + m)
    error = math.sqrt(share * (1 - share) * (1 / n + 1 / m))
    return (y / m - x / n) / error if error else 0.0, f"{name} {x / n:.0%} → {y / m:.0%}"
