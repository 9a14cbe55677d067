"""One program on many ranks: ``torch.distributed`` with gloo on CPUs and nccl on GPUs.

Every function works with a single rank too, where it does nothing, so that callers never ask how many there are.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from episode import HandeyeError
from training.host import FEW_THREADS

TIMEOUT = timedelta(hours=2)
"""How long a rank waits for the others: longer than any rollout."""
ASKING = (signal.SIGINT, signal.SIGTERM)
"""Signals that ask a run to stop: Ctrl-C, and what ``kill``, ``timeout`` and schedulers send."""
_asked: Path | None = None
"""In a rank that launch() started: the file by whose being there the parent says: finish the step, save, and end."""


class RankFailed(HandeyeError):
    """A rank died without saying why."""


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def is_first_process() -> bool:
    """Whether this process is the first, or the only one, already before ranks have found each other."""
    return os.environ.get("RANK", "0") == "0"


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def device() -> torch.device:
    """This rank's device: a GPU a rank where there are any, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank())) % torch.cuda.device_count())
    return torch.device("cpu")


def share(count: int) -> range:
    """Which of ``count`` logical items are this rank's: every world_size-th one, so that kinds spread evenly."""
    return range(rank(), count, world_size())


# --- collectives


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def gather_objects(value: Any) -> list[Any]:
    """``value`` of every rank, in rank order, on every rank. For small things."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def all_reduce_sum(values: Sequence[float]) -> list[float]:
    """Element-wise sums over the ranks, in float64."""
    total = torch.tensor(values, dtype=torch.float64, device=_transport())
    if dist.is_initialized():
        dist.all_reduce(total)
    return [float(x) for x in total.tolist()]


def any_rank(flag: bool) -> bool:
    """Whether the flag is up on some rank."""
    return all_reduce_sum([float(flag)])[0] > 0


def all_reduce_gradients(module: nn.Module) -> None:
    """Sum the gradients of all trained parameters over the ranks, in one flat message.

    A sum, not a mean: each rank's loss is already divided by the *global* token count. A rank without rows
    contributes zeros.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    all_reduce_tensors([p.grad for p in parameters if p.grad is not None])


def all_reduce_tensors(tensors: Sequence[torch.Tensor]) -> None:
    """Sum tensors over the ranks, in place, in one flat message."""
    if not dist.is_initialized():
        return
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    for tensor, summed in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
        tensor.copy_(summed.view_as(tensor))


def broadcast_module(module: nn.Module) -> None:
    """Give every rank the parameters and buffers of rank 0."""
    if dist.is_initialized():
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


def _transport() -> torch.device:
    return device() if dist.is_initialized() and dist.get_backend() == "nccl" else torch.device("cpu")


# --- starting ranks


def default_ranks() -> int:
    """A rank a GPU, or else a rank a core."""
    if torch.cuda.is_available():
        return torch.cuda.device_count()
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else (os.cpu_count() or 1)


def processes(asked: int) -> int:
    """Of a training run: as many as were asked for, or with 0 one a GPU; without any two, on every machine.

    More cores would be another run: what a step learns depends a little on how many share it.
    """
    return asked or torch.cuda.device_count() or 2


def launch(fn: Callable[..., Any], args: tuple[Any, ...], ranks: int = 0, *, patient: bool = False) -> Any:
    """Run ``fn(*args)`` on every rank and return what rank 0 returned.

    Under torchrun (``RANK`` and ``WORLD_SIZE`` are set) the ranks are already there and ``ranks`` is not used. One rank
    runs in this process. Ctrl-C ends the ranks.

    Args:
        fn: importable by name, as the ranks are new processes.
        args: what can be pickled.
        ranks: how many; 0 chooses a rank a GPU or a rank a core. Never more than there are GPUs, if there are any.
        patient: the first Ctrl-C only asks all ranks to finish their step (``fn`` looks at a :class:`StopRequest`).

    Raises:
        HandeyeError: whatever a rank raised of ours.
        RankFailed: a rank died.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        _join_group(None, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
        try:
            return fn(*args)
        finally:
            dist.destroy_process_group()
    ranks = ranks or default_ranks()
    if torch.cuda.is_available():
        ranks = min(ranks, torch.cuda.device_count())
    if ranks == 1:
        with few_threads():
            return fn(*args)
    return _spawn(fn, args, ranks, patient)


@contextmanager
def few_threads() -> Iterator[None]:
    """One thread a rank on CPUs: two threads under load are slower, and thread counts change the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _spawn(fn: Callable[..., Any], args: tuple[Any, ...], ranks: int, patient: bool) -> Any:
    # Spawn, not fork: a fork after the parent opened GL hangs.
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="handeye-ranks-") as folder:
        asked = Path(folder) / "stop"
        workers = [
            context.Process(target=_worker, args=(index, ranks, folder, asked, fn, args), daemon=False)
            for index in range(ranks)
        ]
        with _Interrupts(workers, asked, patient):
            _start(workers)
            _wait(workers)
        return _outcome(Path(folder), workers)


def _start(workers: Sequence[Any]) -> None:
    """Start ranks that are deaf to what asks a run to stop: the parent alone acts on it.

    Ctrl-C, ``timeout`` and schedulers signal the whole process group.
    """
    own: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in ASKING:
            own[number] = signal.signal(number, signal.SIG_IGN)  # ranks inherit that from their first moment on
    try:
        with environment(FEW_THREADS):
            for worker in workers:
                worker.start()
    finally:
        for number, handler in own.items():
            signal.signal(number, handler)


def _wait(workers: Sequence[Any]) -> None:
    """Until all have ended, or one has failed: then the others, who wait for it, are ended too."""
    while any(w.is_alive() for w in workers):
        for worker in workers:
            worker.join(timeout=0.1)
        if any(w.exitcode not in (None, 0) for w in workers):
            for worker in workers:
                worker.join(timeout=5)
                if worker.is_alive():
                    worker.kill()
                worker.join()


def _outcome(folder: Path, workers: Sequence[Any]) -> Any:
    """What rank 0 returned; or the first of our own errors; or word of the rank that died."""
    said = _said(folder)
    for value in said:
        if isinstance(value, HandeyeError | KeyboardInterrupt):
            raise value
    dead = [(i, w.exitcode) for i, w in enumerate(workers) if w.exitcode != 0]
    if dead:
        listed = ", ".join(f"rank {i} (exit code {code})" for i, code in dead)
        raise RankFailed(f"{listed} died; its error stands above. Exit code -9 is most often too little memory.")
    return said[0]


def _worker(index: int, ranks: int, folder: str, asked: Path, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
    global _asked
    _asked = asked
    for number in ASKING:
        signal.signal(number, signal.SIG_IGN)
    os.environ["LOCAL_RANK"] = str(index)
    # Loopback by name: the host's own name may not resolve.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    torch.set_num_threads(1)
    outcome: Any
    try:
        # Joining too: another rank may have joined, and given up, before this one is through.
        _join_group(f"file://{folder}/rendezvous", index, ranks)
        outcome = fn(*args)
    except (HandeyeError, KeyboardInterrupt) as error:
        outcome = error
    except Exception:
        # A rank that lost the others because one of them gave up has nothing to add to what that one said.
        if not any(isinstance(said, HandeyeError) for said in _said(Path(folder))):
            traceback.print_exc()
        os._exit(1)
    temporary = Path(folder) / f".outcome-{index}"
    temporary.write_bytes(pickle.dumps(outcome))
    temporary.rename(Path(folder) / f"outcome-{index}")
    if isinstance(outcome, BaseException):
        # The others may wait for this rank in a collective: a plain exit would wait for them.
        os._exit(1)
    dist.destroy_process_group()


def _said(folder: Path) -> list[Any]:
    """What the ranks have returned or raised so far, in rank order."""
    return [pickle.loads(path.read_bytes()) for path in sorted(folder.glob("outcome-*"))]


def _join_group(rendezvous: str | None, index: int, ranks: int) -> None:
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
    else:
        torch.set_num_threads(1)
    dist.init_process_group(backend, init_method=rendezvous, rank=index, world_size=ranks, timeout=TIMEOUT)
    assert world_size() == ranks, f"{world_size()} ranks joined, {ranks} were started"


@contextmanager
def environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """These variables in the environment; what stood there before comes back."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# --- interrupts


class _Interrupts:
    """In the parent: Ctrl-C ends the ranks; a patient one first asks them to stop after their step."""

    def __init__(self, workers: Sequence[Any], asked: Path, patient: bool) -> None:
        self.workers = workers
        self.asked = asked
        self.patient = patient
        self.before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in ASKING:
                self.before[number] = signal.signal(number, self._handle)

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked.exists() or not self.patient:
            for worker in self.workers:
                if worker.is_alive():
                    worker.kill()
            raise KeyboardInterrupt
        self.asked.touch()
        _announce()


class StopRequest:
    """In a rank: whether somebody asked to stop. ``with StopRequest() as stop: ... if stop.requested: ...``.

    Where the rank is the process that was started (one rank, or torchrun), the first Ctrl-C or SIGTERM raises the flag
    and the second raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._signalled = False
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        if _asked is None:
            return self._signalled
        parent = multiprocessing.parent_process()
        # A rank whose parent was killed would train on unseen.
        return _asked.exists() or (parent is not None and not parent.is_alive())

    def __enter__(self) -> StopRequest:
        if _asked is None and threading.current_thread() is threading.main_thread():
            for number in ASKING:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._signalled:
            raise KeyboardInterrupt
        self._signalled = True
        if rank() == 0:
            _announce()


def _announce() -> None:
    print("\nstopping after this step or evaluation; press Ctrl-C again to stop at once", file=sys.stderr, flush=True)
