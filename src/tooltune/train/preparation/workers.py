"""The same work in one process or in several, its results always in the order of its tasks."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.reduction import ForkingPickler
from typing import Any

from tooltune.errors import UserError
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer
from tooltune.train.preparation.chunks import Chunk, Task, work

MOST_WORKERS = 4  # by default: each takes about 200 MB, and one process reads for all of them
PATIENCE = 5.0  # seconds of work in this process before others are started, which takes seconds

_renderer: Renderer | None = None  # of a worker process


def usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def run_tasks(
    tasks: Iterable[Task],
    renderer: Renderer,
    *,
    workers: int | None = None,
    patience: float = PATIENCE,
) -> Iterator[Chunk]:
    """`work(renderer, task)` of each task, in their order.

    `workers`: processes beside this one; None: as many as there are cores, `MOST_WORKERS` at
    most; 0 or 1: none. They are started when `patience` seconds of work were not enough, and not
    at all for a tokenizer that cannot be sent to them.

    Raises: UserError when a worker process dies.
    """
    count = min(usable_cores(), MOST_WORKERS) if workers is None else workers
    tasks = iter(tasks)
    started = time.monotonic()
    while count > 1:
        if time.monotonic() - started >= patience:
            if _can_be_sent(renderer):
                yield from _in_processes(tasks, renderer, count)
                return
            break
        task = next(tasks, None)
        if task is None:
            return
        yield work(renderer, task)
    for task in tasks:
        yield work(renderer, task)


def _can_be_sent(renderer: Renderer) -> bool:
    """Whether another process can be given what it makes its renderer of."""
    try:
        ForkingPickler.dumps((renderer.tokenizer, renderer.spec))
    except Exception:  # whatever a foreign tokenizer holds on to
        return False
    return True


def _in_processes(tasks: Iterator[Task], renderer: Renderer, count: int) -> Iterator[Chunk]:
    # Spawned, not forked: tokenizers and torch have threads, whose locks a fork would copy held.
    given = (renderer.tokenizer, renderer.spec)
    pool = ProcessPoolExecutor(count, get_context("spawn"), _start_worker, given)
    waiting: deque[Future[Chunk]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(_work_here, task))
            if len(waiting) > count + 1:  # one ready for whoever is done first; no more in memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise UserError(
            "a process that was preparing data died, most likely for want of memory",
            fix="set dataset.num_workers to 1, or to fewer than the machine has cores",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(tokenizer: Any, spec: RenderSpec) -> None:
    global _renderer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and ends its workers
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one process is one core's worth of work
    _renderer = Renderer(tokenizer, spec)


def _work_here(task: Task) -> Chunk:
    assert _renderer is not None
    return work(_renderer, task)
