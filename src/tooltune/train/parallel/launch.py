"""`--nproc-per-node N`: torchrun's agent in this process, and what the end of its workers means.

The agent's API is used instead of its command line, because that one ends with 1 however the
workers ended, and gives them 30 seconds after a signal, which a save may well take longer than.
https://docs.pytorch.org/docs/stable/elastic/agent.html
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

import psutil
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tooltune.exits import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_PREEMPTED, EXIT_USER_ERROR

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
_AGENTS_OWN = "SIGQUIT"  # the agent must handle one; its handler does not wait for a save
_PATIENCE = 3  # interrupts after which the workers are no longer asked, but ended


def launch(
    processes: int,
    arguments: Sequence[str],
    *,
    say: Callable[[str], None] | None = None,
    module: str = "tooltune",
) -> int:
    """Run `python -m tooltune ARGUMENTS` in `processes` workers here; return the exit code.

    Workers know each other by the variables that torchrun sets. SIGTERM, SIGINT, SIGUSR1 and
    SIGHUP are handed on to them, and they have all the time they need to save. When one ends with
    an error the others are asked to end, and after 30 seconds made to.

    Exit code: 0; 75 where they saved and left because a signal asked them to; 2 for a
    `UserError`; 130 after Ctrl-C; 1 for all else. `say` is told which rank was killed.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (cores or 1) // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",  # a host name need not resolve in a container
        max_restarts=0,
        signals_to_handle=_AGENTS_OWN,
    )
    # -P: a file in the current folder must not take a module's place.
    command = ["-P", "-u", "-m", module, *arguments]
    with _quiet_agent(), _forwarding() as forwarded:
        try:
            elastic_launch(config, sys.executable)(*command)
        except ChildFailedError as error:
            code = exit_code([f.exitcode for f in error.failures.values()], forwarded)
            if say is not None and code == EXIT_FAILED:
                for remark in _killed(error.failures):
                    say(remark)
            return code
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
    return 0


def exit_code(codes: Sequence[int], forwarded: Sequence[int] = ()) -> int:
    """What the exit codes of the failed ranks mean together; the first is of the first to fail.

    The others may have been ended by the agent because of it, before or after they understood.
    `forwarded`: the signals that were handed on to all of them.
    """
    if forwarded:
        for answer in (EXIT_PREEMPTED, EXIT_INTERRUPTED):
            if answer in codes:
                return answer
        if {-code for code in codes} <= {*forwarded, signal.SIGTERM}:  # too young to understand
            return EXIT_INTERRUPTED if signal.SIGINT in forwarded else EXIT_PREEMPTED
    deliberate = (EXIT_PREEMPTED, EXIT_INTERRUPTED, EXIT_USER_ERROR)
    return codes[0] if codes[0] in deliberate else EXIT_FAILED


def _killed(failures: Mapping[int, ProcessFailure]) -> list[str]:
    """A remark for each rank that ended by a signal other than the agent's own SIGTERM."""
    return [
        f"rank {rank} was ended by {failure.signal_name()}"
        + (" (out of memory?)" if failure.exitcode == -signal.SIGKILL else "")
        for rank, failure in sorted(failures.items())
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM
    ]


@contextmanager
def _forwarding() -> Iterator[list[int]]:
    """Hand signals on to the workers; yields those handed on so far.

    Each worker leads a process group of its own (a session), so a terminal's Ctrl-C does not
    reach it by itself.
    """
    forwarded: list[int] = []

    def forward(number: int, _: FrameType | None) -> None:
        forwarded.append(number)
        workers = psutil.Process().children()
        if forwarded.count(signal.SIGINT) >= _PATIENCE or not workers:
            raise KeyboardInterrupt
        for worker in workers:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(worker.pid, number)

    heeded = [n for n in _FORWARDED if signal.getsignal(n) is not signal.SIG_IGN]  # nohup
    before = {number: signal.signal(number, forward) for number in heeded}
    try:
        yield forwarded
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _quiet_agent() -> Iterator[None]:
    """The agent logs each worker's end; the workers themselves have said why."""
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
