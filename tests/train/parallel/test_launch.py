"""`--nproc-per-node`: signals reach the workers, and their exit codes come back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tooltune.train.parallel.launch import exit_code

# Workers that import nothing heavy: each does what its argument (one a rank) says.
WORKER = """
import os, signal, sys, time
rank, folder = int(os.environ["RANK"]), sys.argv[1]
word, _, seconds = sys.argv[2 + rank].partition(":")
def leave(number, _):
    open(f"{folder}/signal.{rank}", "a").write(signal.Signals(number).name + " ")
    if word == "save":
        time.sleep(float(seconds))
        sys.exit(75)
    if number == signal.SIGINT and word == "stubborn":
        return
    sys.exit(130 if number == signal.SIGINT else 75)
for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
    signal.signal(number, leave)
open(f"{folder}/started.{rank}", "w").write(str(os.getpid()))
if word == "exit":
    sys.exit(int(seconds))
while True:
    time.sleep(0.05)
"""
LAUNCHER = """
import sys
from tooltune.train.parallel.launch import launch
sys.exit(launch(2, sys.argv[1:], say=print, module="worker"))
"""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
    for path in tmp_path.glob("started.*"):
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(path.read_text()), signal.SIGKILL)


def launched(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    (tmp_path / "worker.py").write_text(WORKER)
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path), *words],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background job, as these tests may be, would ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for_workers(process: subprocess.Popen[str], tmp_path: Path) -> None:
    deadline = time.monotonic() + 120
    while not all((tmp_path / f"started.{rank}").exists() for rank in range(2)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.2)


@pytest.mark.parametrize("code", [0, 1, 2, 75])
def test_the_workers_exit_code_comes_back(
    tmp_path: Path, started: list[subprocess.Popen[str]], code: int
) -> None:
    started.append(process := launched(tmp_path, f"exit:{code}", f"exit:{code}"))
    said, _ = process.communicate(timeout=120)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert "elastic" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_reaches_all_workers_which_may_take_their_time(
    tmp_path: Path, started: list[subprocess.Popen[str]], number: signal.Signals
) -> None:
    started.append(process := launched(tmp_path, "save:2", "save:2"))
    wait_for_workers(process, tmp_path)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "Traceback" not in said
    for rank in range(2):
        assert (tmp_path / f"signal.{rank}").read_text().startswith(number.name)


def test_a_rank_that_is_killed_is_named_and_the_other_ended(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    started.append(process := launched(tmp_path, "wait", "wait"))
    wait_for_workers(process, tmp_path)
    os.kill(int((tmp_path / "started.1").read_text()), signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, "75 would start a run that dies of memory again and again"
    assert "rank 1 was ended by SIGKILL" in said
    assert (tmp_path / "signal.0").read_text().strip() == "SIGTERM"


def test_ctrl_c_is_handed_on_and_the_third_does_not_ask(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    started.append(process := launched(tmp_path, "stubborn", "stubborn"))
    wait_for_workers(process, tmp_path)
    for _ in range(3):
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert (tmp_path / "signal.1").read_text().split()[:2] == ["SIGINT", "SIGINT"]


@pytest.mark.parametrize(
    ("codes", "forwarded", "together"),
    [
        ((75, 75), [signal.SIGTERM], 75),
        ((75, -signal.SIGTERM), [signal.SIGUSR1], 75),  # the agent was quicker than the rank
        ((1, 75), [signal.SIGTERM], 75),  # it lost the connection to the rank that left
        ((75, 75), [], 75),  # the scheduler told the workers itself
        ((-signal.SIGUSR1, -signal.SIGUSR1), [signal.SIGUSR1], 75),  # while they still imported
        ((130, -signal.SIGTERM), [signal.SIGINT], 130),
        ((-signal.SIGINT, -signal.SIGINT), [signal.SIGINT], 130),
        ((2, 2), [], 2),
        ((2, -signal.SIGTERM), [], 2),
        ((1, 1), [], 1),
        ((1, 1), [signal.SIGTERM], 1),
        ((1, 75), [], 1),  # the agent ended the second, which took it for a scheduler
        ((-signal.SIGKILL, 75), [], 1),
        ((1, -signal.SIGKILL), [], 1),
        ((-signal.SIGTERM, -signal.SIGTERM), [], 1),
    ],
)
def test_exit_codes_of_ranks_are_one_together(
    codes: tuple[int, ...], forwarded: list[int], together: int
) -> None:
    assert exit_code(codes, forwarded) == together
