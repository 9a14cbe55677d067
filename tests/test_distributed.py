"""Ranks are started here as a run starts them; what they compute is checked against one process."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from episode import HandeyeError
from training import distributed
from training.distributed import (
    RankFailed,
    all_reduce_gradients,
    all_reduce_sum,
    any_rank,
    broadcast_module,
    gather_objects,
    launch,
    rank,
    share,
    world_size,
)


class Foreseen(HandeyeError):
    pass


def together(factor: float) -> dict[str, object]:
    torch.manual_seed(rank())
    layer, idle = nn.Linear(3, 1), nn.Linear(1, 1)
    module = nn.ModuleList([layer, idle])
    broadcast_module(module)
    if rank() == 0:  # the other has no rows
        (factor * layer(torch.ones(2, 3)).sum()).backward()
    all_reduce_gradients(module)
    grads = [None if p.grad is None else p.grad.flatten().tolist() for p in module.parameters()]
    return {
        "ranks": gather_objects((rank(), world_size())),
        "shares": gather_objects(list(share(5))),
        "sum": all_reduce_sum([1.0, float(rank())]),
        "any": (any_rank(rank() == 1), any_rank(False)),
        "grads": gather_objects(grads),
        "weights": len(set(gather_objects(layer.weight.flatten().tolist().__repr__()))),
        "threads": gather_objects(torch.get_num_threads()),
    }


def fails(how: str) -> None:
    if rank() == 1:
        if how == "foreseen":
            raise Foreseen("the mend is this")
        os._exit(9)
    gather_objects(0)  # waits for the rank that is gone


def test_two_ranks() -> None:
    said = launch(together, (2.0,), 2)
    assert said["ranks"] == [(0, 2), (1, 2)]
    assert said["shares"] == [[0, 2, 4], [1, 3]]
    assert said["sum"] == [2.0, 1.0] and said["any"] == (True, False)
    # d/dw of 2 · Σ over two rows of ones is 4, d/db 4; the idle layer gets zeros on both.
    assert said["grads"] == [[[4.0, 4.0, 4.0], [4.0], [0.0], [0.0]]] * 2
    assert said["weights"] == 1 and said["threads"] == [1, 1]


def test_one_rank_runs_here_and_gives_its_threads_back() -> None:
    before = torch.get_num_threads()
    said = launch(together, (2.0,), 1)
    assert said["ranks"] == [(0, 1)] and said["shares"] == [[0, 1, 2, 3, 4]] and said["threads"] == [1]
    assert torch.get_num_threads() == before and not torch.distributed.is_initialized()


def test_our_own_errors_come_through_and_nobody_is_left_waiting(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Foreseen, match="the mend is this"):
        launch(fails, ("foreseen",), 2)
    assert "Traceback" not in capfd.readouterr().err  # of the rank that lost the other
    with pytest.raises(RankFailed, match=r"rank 1 \(exit code 9\) died"):
        launch(fails, ("dies",), 2)


class GivesUpEarly:
    """Rank 1 has given up before rank 0 has joined, which fails with what gloo raises then."""

    def __init__(self) -> None:
        self.says = "the mend is this"

    def __setstate__(self, state: dict[str, str]) -> None:  # in each rank, before it joins
        self.__dict__.update(state)

        def join(rendezvous: str, index: int, ranks: int) -> None:
            if index == 0:
                outcome = Path(rendezvous.removeprefix("file://")).parent / "outcome-1"
                while not outcome.exists():
                    time.sleep(0.01)
                raise RuntimeError("Connection closed by peer")

        distributed._join_group = join  # type: ignore[assignment]

    def __call__(self) -> None:
        raise Foreseen(self.says)


def test_a_rank_that_loses_another_while_joining_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Foreseen, match="the mend is this"):
        launch(GivesUpEarly(), (), 2)
    assert "Traceback" not in capfd.readouterr().err


def test_a_training_run_takes_a_process_a_gpu_or_two(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpus, asked, taken in ((0, 0, 2), (0, 3, 3), (1, 0, 1), (8, 0, 8), (8, 4, 4)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        assert distributed.processes(asked) == taken


def test_a_core_a_rank() -> None:
    if not torch.cuda.is_available():
        assert 1 <= distributed.default_ranks() <= (os.cpu_count() or 1)
