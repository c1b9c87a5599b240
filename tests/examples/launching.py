"""Stand-ins for schedulers, so that the launch examples run as they are on one machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.assets import REPOSITORY
from tests.train.tiny_run import save_tiny_model, write_traces

EXAMPLES = REPOSITORY / "examples" / "launch"
_SRUN = """
# `srun [--option=value ...] COMMAND`: its tasks, signals handed on, the highest exit code.
import os, signal, subprocess, sys
command = sys.argv[1:]
while command[0].startswith("--"):
    command.pop(0)
nodes, each = int(os.environ["SLURM_JOB_NUM_NODES"]), int(os.environ["SLURM_NTASKS_PER_NODE"])
step = {"SLURM_STEP_NUM_TASKS": str(nodes * each), "SLURM_STEP_NODELIST": "localhost"}
tasks = [
    subprocess.Popen(
        command,
        env={
            **os.environ,
            **step,
            "SLURM_PROCID": str(task),
            "SLURM_NODEID": str(task // each),
            "SLURM_LOCALID": str(task % each),
        },
    )
    for task in range(nodes * each)
]
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda number, _: [task.send_signal(number) for task in tasks])
codes = [task.wait() for task in tasks]
sys.exit(max(code if code >= 0 else 128 - code for code in codes))
"""
_SCONTROL = """
# `scontrol show hostnames` and `scontrol requeue JOB`, which is noted down.
import os, sys
if sys.argv[1] == "show":
    print("localhost\\n" * int(os.environ["SLURM_JOB_NUM_NODES"]), end="")
else:
    with open(os.environ["REQUEUED"], "a") as file:
        print(*sys.argv[1:], file=file)
"""
_RCLONE = """
# `rclone copy --links FROM TO` with a folder for a bucket; 3 where there is nothing to copy.
import os, shutil, sys
source, target = (p.replace(":s3:", os.environ["BUCKETS"] + "/") for p in sys.argv[3:5])
assert sys.argv[1:3] == ["copy", "--links"], sys.argv
if not os.path.isdir(source):
    sys.exit(3)
os.makedirs(target, exist_ok=True)
sys.exit(os.spawnlp(os.P_WAIT, "cp", "cp", "-a", source + "/.", target))
"""


def stand_ins(folder: Path) -> dict[str, str]:
    """An environment in which srun, scontrol and rclone are ours, and tooltune and torchrun are
    those of this Python."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("srun", _SRUN), ("scontrol", _SCONTROL), ("rclone", _RCLONE)):
        script = folder / name
        script.write_text(f"#!{sys.executable}\n{text}")
        script.chmod(0o755)
    return {
        **os.environ,
        "PATH": os.pathsep.join(
            [str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]
        ),
        "PYTHONPATH": str(REPOSITORY / "src"),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "REQUEUED": str(folder / "requeued"),
        "BUCKETS": str(folder / "buckets"),
    }


def tiny_yaml(folder: Path, tokenizer: Any, steps: int = 60) -> Path:
    """A config of a run of `steps` quick steps; its paths are absolute, save `output_dir`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model": {
            "pretrained_model_name_or_path": str(save_tiny_model(folder / "model", tokenizer)),
            "dtype": "float32",
        },
        "dataset": {"path": str(write_traces(folder / "traces.jsonl", 16))},
        "validation_dataset": {"fraction": 0.25},
        "tool_call_eval": {"max_eval_samples": 2, "max_new_tokens": 4},
        "step_scheduler": {"global_batch_size": 2, "max_steps": steps, "num_epochs": 1000},
        "optimizer": {"lr": 1e-3},
        "output_dir": "runs/mine",
    }
    path = folder / "my.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def trained_steps(run: Path) -> list[int]:
    """The steps that metrics.jsonl of a run knows to be trained."""
    file = run / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.is_file() else []
    return [record["step"] for record in map(json.loads, lines) if record["kind"] == "train"]


class Launched:
    """A command with all that it starts; it ends with the `with` block."""

    def __init__(
        self, command: Sequence[str | Path], env: Mapping[str, str], cwd: Path, log: Path
    ) -> None:
        self._log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                env=dict(env),
                cwd=cwd,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Launched:
        return self

    def __exit__(self, *_: Any) -> None:
        self.kill_all()

    def until(self, true: Callable[[], bool], timeout: float = 240) -> None:
        deadline = time.monotonic() + timeout
        while not true():
            assert self._process.poll() is None, f"it ended: {self.said()}"
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def signal(self, number: signal.Signals, name: str | None = None) -> None:
        """To the command itself, or to the process `name` that it started."""
        if name is None:
            self._process.send_signal(number)
            return
        for child in psutil.Process(self._process.pid).children():
            if any(Path(word).name == name for word in child.cmdline()):
                child.send_signal(number)

    def code(self, timeout: float = 240) -> int:
        return self._process.wait(timeout)

    def kill_all(self) -> None:
        """As when the machine is taken away."""
        try:
            mine = [psutil.Process(self._process.pid)]
            mine += mine[0].children(recursive=True)
        except psutil.NoSuchProcess:
            return
        for process in mine:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._process.wait(30)

    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")
