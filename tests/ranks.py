"""Several ranks in one test: processes with gloo between them, in the same machine."""

from __future__ import annotations

import multiprocessing
import os
import queue
import socket
import time
import traceback
from collections.abc import Callable
from typing import Any

TIMEOUT = 240.0
_CONTEXT = multiprocessing.get_context("forkserver")
# Children are forked from a server that has the slow imports behind it, and nothing else.
_CONTEXT.set_forkserver_preload(["tests.rank_imports"])


def run_ranks(
    job: Callable[..., Any], size: int, *arguments: Any, timeout: float = TIMEOUT, limit: float = 60
) -> list[Any]:
    """`job(world, *arguments)` on `size` ranks; what each returned, or the error that it raised.

    `job` stands at the top of a module; results and errors are pickled. A rank that died without
    a word, or does not end within `timeout` seconds, is an AssertionError that names it. `limit`
    is the time limit of collectives.
    """
    results: Any = _CONTEXT.Queue()
    port = free_port()
    ranks = [
        _CONTEXT.Process(target=_run, args=(job, rank, size, port, limit, results, arguments))
        for rank in range(size)
    ]
    for process in ranks:
        process.start()
    found: dict[int, Any] = {}
    deadline = time.monotonic() + timeout
    try:
        while len(found) < size:
            try:
                rank, result = results.get(timeout=0.2)
                found[rank] = result
            except queue.Empty:
                for rank, process in enumerate(ranks):
                    if rank not in found and process.exitcode not in (None, 0):
                        found[rank] = RuntimeError(f"rank {rank} died: {process.exitcode}")
                assert time.monotonic() < deadline, (
                    f"no answer from ranks {sorted(set(range(size)) - set(found))}"
                )
    finally:
        for process in ranks:
            process.join(timeout=10)
            if process.is_alive():
                process.kill()
    return [found[rank] for rank in range(size)]


def results_of(
    job: Callable[..., Any], size: int, *arguments: Any, timeout: float = TIMEOUT
) -> list[Any]:
    """`run_ranks` where no rank may fail."""
    results = run_ranks(job, size, *arguments, timeout=timeout)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _run(
    job: Callable[..., Any],
    rank: int,
    size: int,
    port: int,
    limit: float,
    results: Any,
    arguments: tuple[Any, ...],
) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    import torch

    from tooltune.train.parallel.world import join_world

    torch.set_num_threads(1)
    try:
        with join_world(limit) as world:
            result: Any = job(world, *arguments)
    except BaseException as error:
        error.add_note("".join(traceback.format_exception(error)))
        result = error
    try:
        results.put((rank, result))
    except Exception:
        results.put((rank, RuntimeError(repr(result))))
