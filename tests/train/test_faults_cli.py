"""`tooltune train` as a scheduler meets it: signals, exit codes, dead and hung workers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.train.tiny_run import metrics, save_tiny_model, tiny_config, write_traces
from tooltune.train.checkpoints.store import verify

ENDLESS = {"num_epochs": 10_000, "global_batch_size": 2, "ckpt_every_steps": 5}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, builtin_tokenizer: Any) -> Path:
    directory = tmp_path_factory.mktemp("signalled")
    save_tiny_model(directory / "model", builtin_tokenizer)
    write_traces(directory / "traces.jsonl", 8)
    return directory


def heed_interrupts() -> None:
    """In the child: a shell's background job, as these tests may be, would ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Command:
    """`tooltune train` of a run that takes too long to end by itself."""

    def __init__(self, place: Path, out: Path, processes: int, **sections: Any) -> None:
        config = tiny_config(
            place / "model",
            place / "traces.jsonl",
            out,
            **{
                "step_scheduler": {**ENDLESS, "val_every_steps": 10**6},
                "tool_call_eval": {"enabled": False},
                **sections,
            },
        )
        path = out.with_suffix(".yaml")
        path.write_text(yaml.safe_dump(config.resolved()))
        self.run = out
        self.words = [sys.executable, "-m", "tooltune", "train", str(path)]
        self.words += [f"--nproc-per-node={processes}"] if processes > 1 else []
        self.processes = processes
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        before = self.steps()
        self.process = subprocess.Popen(
            self.words,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=heed_interrupts,
        )
        deadline = time.monotonic() + 300
        while len(self.steps()) < len(before) + 7:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "it does not train"
            time.sleep(0.05)

    def steps(self) -> list[int]:
        """Steps that metrics.jsonl has, its last line perhaps half written."""
        path = self.run / "metrics.jsonl"
        text = path.read_text() if path.exists() else ""
        return [int(found) for found in re.findall(r'"step": (\d+), [^\n]*"train"', text)]

    def workers(self) -> list[psutil.Process]:
        assert self.process is not None
        return sorted(psutil.Process(self.process.pid).children(), key=lambda p: p.pid)

    def ended(self, timeout: float = 120) -> tuple[int, str]:
        assert self.process is not None
        said, _ = self.process.communicate(timeout=timeout)
        return self.process.returncode, said

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            for process in [*self.workers(), self.process]:
                process.kill()


@pytest.fixture
def commands() -> Iterator[list[Command]]:
    started: list[Command] = []
    yield started
    for command in started:
        command.kill()


@pytest.mark.parametrize(
    "processes", [1, pytest.param(2, marks=pytest.mark.slow)], ids=["1 process", "2 processes"]
)
def test_a_run_asked_to_leave_saves_and_says_by_its_exit_code_that_it_may_be_started_again(
    place: Path, tmp_path: Path, commands: list[Command], processes: int
) -> None:
    command = Command(place, tmp_path / "run", processes)
    commands.append(command)
    for number, code in ((signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)):
        command.start()
        assert command.process is not None
        command.process.send_signal(number)
        found, said = command.ended()
        assert found == code, said
        assert "Traceback" not in said
        assert said.count(f"{number.name}: this run saves and ends after its step") == 1
        latest = tmp_path / "run/checkpoints/LATEST"
        assert verify(latest.resolve()) == []
        steps = [line["step"] for line in metrics(tmp_path / "run") if line["kind"] == "train"]
        assert steps == [*range(1, len(steps) + 1)]
        assert os.readlink(latest).endswith(f"_step_{len(steps)}"), "nothing is lost"


@pytest.mark.slow
def test_a_killed_worker_ends_the_run_and_is_named(
    place: Path, tmp_path: Path, commands: list[Command]
) -> None:
    command = Command(place, tmp_path / "run", 2)
    commands.append(command)
    command.start()
    command.workers()[1].kill()
    code, said = command.ended(60)
    assert code == 1
    assert "rank 1 was ended by SIGKILL" in said
    assert verify((tmp_path / "run/checkpoints/LATEST").resolve()) == []
    command.start()  # it goes on


@pytest.mark.slow
def test_a_stopped_worker_ends_the_run_within_the_limit_and_is_named(
    place: Path, tmp_path: Path, commands: list[Command]
) -> None:
    command = Command(place, tmp_path / "run", 2, distributed={"timeout_seconds": 5})
    commands.append(command)
    command.start()
    command.workers()[1].suspend()
    code, said = command.ended(60)
    assert code == 1
    assert "rank 1 gives no sign of life" in said


@pytest.mark.slow
def test_workers_do_not_outlive_their_launcher(
    place: Path, tmp_path: Path, commands: list[Command]
) -> None:
    command = Command(place, tmp_path / "run", 2, distributed={"timeout_seconds": 5})
    commands.append(command)
    command.start()
    workers = command.workers()
    assert command.process is not None
    command.process.kill()
    _, alive = psutil.wait_procs(workers, timeout=30)
    for process in alive:
        process.kill()
    assert alive == []
