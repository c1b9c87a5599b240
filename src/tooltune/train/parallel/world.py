"""The processes of a run, and the few things that they say to each other.

A process is started by torchrun, or whatever sets the variables that torchrun sets (`RANK`,
`WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR`, `MASTER_PORT`); without them it is alone, and every
method is trivial. What ranks exchange is small and goes over CPU tensors (gloo), so that it does
not wait for what a GPU is doing.
https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from tooltune.errors import UserError

_T = TypeVar("_T")
_POLL_SECONDS = 0.2
_CALLS = itertools.count()  # ranks make the same calls in the same order
_LONGEST_SAVE = timedelta(hours=2)  # of one rank, while the others wait for it


class RankFailure(RuntimeError):
    """Another rank failed; the message says which, doing what, and how."""


@dataclass(frozen=True, slots=True)
class World:
    """`rank` of `size` processes, `local_rank` on its machine, computing on `device`.

    Every method is a meeting of all ranks: each of them must call it, in the same order. `group`
    is torch's process group for it, None for the default one.
    """

    rank: int
    size: int
    local_rank: int
    device: torch.device
    group: Any = None

    @classmethod
    def alone(cls, device: torch.device | None = None) -> World:
        """A single process, on the first CUDA device where there is one."""
        return cls(0, 1, 0, device or _device(0))

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and speaks to people."""
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Each value added over all ranks, in float64."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def max(self, *values: float) -> list[float]:
        """The largest of each value over all ranks."""
        return self._reduce(values, dist.ReduceOp.MAX)

    def _reduce(self, values: tuple[float, ...], operation: Any) -> list[float]:
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, op=operation, group=self.group)
        reduced: list[float] = tensor.tolist()
        return reduced

    def gather(self, item: _T) -> list[_T] | None:
        """On rank 0 one `item` per rank, in their order; None elsewhere."""
        if self.size == 1:
            return [item]
        items: list[Any] | None = [None] * self.size if self.is_main else None
        dist.gather_object(item, items, group=self.group)
        return items

    def broadcast(self, item: _T) -> _T:
        """Rank 0's `item`, on every rank."""
        if self.size == 1:
            return item
        items = [item]
        dist.broadcast_object_list(items, group=self.group)
        return items[0]

    def apart(self) -> World:
        """The same ranks meeting over a group of their own: for another thread than this one."""
        if self.size == 1:
            return self
        return replace(self, group=dist.new_group(backend="gloo", timeout=_LONGEST_SAVE))

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.sum(0.0)

    def agree(self, error: BaseException | None, doing: str) -> None:
        """Go on if no rank has an `error`; else raise, on every rank.

        The rank at fault raises its own error, the others that of the first at fault: a
        `UserError` as it is, anything else as `RankFailure`. A failure that only one rank can see
        (a full disk, a NaN) then ends the run instead of leaving the others to wait.
        """
        if self.size > 1:
            failures: list[Any] = [None] * self.size
            dist.all_gather_object(failures, _told(error), group=self.group)
        else:
            failures = [_told(error)]
        if error is not None:
            if isinstance(error, UserError):
                error.told_elsewhere = not self.is_main
            raise error
        for rank, failure in enumerate(failures):
            if failure is not None:
                kind, message, fix = failure
                if kind != UserError.__name__:
                    raise RankFailure(f"rank {rank} failed {doing}: {kind}: {message}")
                theirs = UserError(f"{message} (rank {rank})" if rank else message, fix=fix)
                theirs.told_elsewhere = not self.is_main
                raise theirs

    def together(self, do: Callable[[], _T], doing: str) -> _T:
        """`do()` on every rank; raises on all what it raised on one.

        Only for what meets no other rank within: who fails half-way between meetings must not
        go to another one.
        """
        if self.size == 1:
            return do()
        result, error = _attempt(do)
        self.agree(error, doing)
        assert result is not None
        return result[0]

    def lead(self, do: Callable[[], _T], doing: str) -> _T:
        """`do()` on rank 0 alone; every rank gets what it returned, or raises what it raised."""
        if self.size == 1:
            return do()
        result, error = _attempt(do) if self.is_main else (None, None)
        self.agree(error, doing)
        found: tuple[_T] | None = self.broadcast(result)
        assert found is not None
        return found[0]

    def main_first(self, do: Callable[[], _T]) -> _T:
        """`do()` on rank 0, then on the others: what it leaves on disk is there for them.

        However long rank 0 takes. Raises on every rank what `do` raised on any.
        """
        if self.size == 1:
            return do()
        key = f"tooltune/main_first/{next(_CALLS)}"
        if self.is_main:
            result, error = _attempt(do)
            _store().set(key, b"well" if error is None else b"failed")
        else:
            result = error = None
            if _wait_for(key) == b"well":
                result, error = _attempt(do)
        self.agree(error, "preparing")
        assert result is not None
        return result[0]


@contextmanager
def join_world(timeout_seconds: float = 86400) -> Iterator[World]:
    """The world that this process was started in; its process group ends with the context.

    CUDA devices talk over NCCL, and CPU tensors over gloo. A rank that does not come to a meeting
    within `timeout_seconds` ends the others; a `Watchdog` that has a shorter limit names it.

    Raises: UserError, on every rank, for one without a device of its own, or with another kind of
    device than rank 0's.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World.alone()
        return
    rank, local_rank = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    found, error = _attempt(lambda: _device(local_rank))
    device = found[0] if found else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_seconds))
    world = World(rank, size, local_rank, device)
    try:
        world.agree(error, "looking for its device")  # not before: the others wait for this rank
        _require_one_kind_of_device(world)
    except UserError:  # of all ranks: gloo's threads may abort a process that ends without this
        dist.destroy_process_group()
        raise
    yield world
    # Only in good order: else a thread that still saves would lose the group that it meets over.
    dist.destroy_process_group()


def _require_one_kind_of_device(world: World) -> None:
    """A node whose driver is broken shows no GPU, and nobody can compute with such a rank."""
    kind = world.broadcast(world.device.type)

    def compare() -> None:
        if world.device.type != kind:
            host = os.uname().nodename if hasattr(os, "uname") else "its machine"
            raise UserError(
                f"rank {world.rank} on {host} computes on {world.device.type}, rank 0 on {kind}",
                fix="mend the driver of the machine without CUDA devices, or leave it out",
            )

    world.together(compare, "comparing devices")


def _device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if count == 1 and "SLURM_PROCID" in os.environ:  # Slurm may show each task its own GPU alone
        return torch.device("cuda", 0)
    if local_rank >= count:
        raise UserError(
            f"this machine has {count} CUDA devices, and more than {local_rank} processes were "
            "started on it",
            fix=f"--nproc-per-node {count}",
        )
    return torch.device("cuda", local_rank)


def _store() -> Any:
    from torch.distributed.distributed_c10d import _get_default_store  # pinned by a test

    return _get_default_store()


def _wait_for(key: str) -> bytes:
    """What stands under `key` once something does, however late."""
    store = _store()
    while not store.check([key]):  # `store.wait` would not let a signal through
        time.sleep(_POLL_SECONDS)
    found: bytes = store.get(key)
    return found


def _told(error: BaseException | None) -> tuple[str, str, str | None] | None:
    if error is None:
        return None
    if isinstance(error, UserError):
        return UserError.__name__, error.message, error.fix
    return type(error).__name__, str(error), None


def _attempt(do: Callable[[], _T]) -> tuple[tuple[_T] | None, BaseException | None]:
    """What `do` returned (in a tuple), or what it raised."""
    try:
        return (do(),), None
    except Exception as error:
        return None, error
