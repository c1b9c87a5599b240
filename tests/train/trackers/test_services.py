"""Each real tracker, fed through an interrupted and resumed run, and read back by its own means."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.train.trackers.test_open import config
from tooltune.config.schema import Config
from tooltune.train.log import RunLog
from tooltune.train.trackers.open import open_trackers

SECRET = "very-secret-value"
History = dict[str, list[tuple[int, float]]]


@pytest.fixture(autouse=True)
def local_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every tracker writes below `tmp_path`, and none asks the network."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    if find_spec("trackio") is not None:  # it reads TRACKIO_DIR when it is imported
        for module in ("utils", "sqlite_storage"):
            monkeypatch.setattr(f"trackio.{module}.TRACKIO_DIR", tmp_path / "trackio")
    yield
    end_wandb()


def end_wandb() -> None:
    """Its second process writes on after a run's end, and keeps the settings of the first run."""
    if (wandb := sys.modules.get("wandb")) is not None:
        wandb.teardown()


def train(step: int) -> dict[str, Any]:
    return {"step": step, "epoch": 0.0, "kind": "train", "loss": 1 / (1 + step), "lr": 1e-4}


def calls(step: int) -> dict[str, Any]:
    return {"step": step, "epoch": 0.0, "kind": "tool_call", "tool_call/accuracy": step / 8}


def first_start(chosen: Config, directory: Path) -> None:
    with RunLog(directory) as log:
        log.truncate_after(-1)
        log.track(open_trackers(chosen, directory, None))
        log.metrics(calls(0))
        for step in range(1, 6):
            log.metrics(train(step))
            if step == 4:
                log.metrics(calls(step))
        raise KeyboardInterrupt


def run_twice(tmp_path: Path, tracker: str) -> Path:
    """Steps 1 to 5, killed; from the checkpoint of step 3 again, to 8. Generates at 0, 4 and 8."""
    directory = tmp_path / "my-run"
    chosen = config(tmp_path, tracker, project="proj")
    with pytest.raises(KeyboardInterrupt):
        first_start(chosen, directory)
    time.sleep(1.1)  # event files and W&B's folders are named by the second
    with RunLog(directory) as log:
        log.truncate_after(3)
        log.track(open_trackers(chosen, directory, 3))
        for step in range(4, 9):
            log.metrics(train(step))
            if step % 4 == 0:
                log.metrics(calls(step))
    warnings = [line for line in (directory / "train.log").open() if "WARNING" in line]
    assert warnings == []
    return directory


def from_tensorboard(directory: Path, tmp_path: Path) -> History:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(directory / "trackers/tensorboard"))
    found.Reload()
    return {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def wandb_records(path: Path) -> Iterator[Any]:
    """The file is a LevelDB log behind a header of 7 bytes: blocks of 32 KiB, parts of records."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole = path.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while at + 7 <= len(data):
        left_in_block = 32768 - at % 32768
        if left_in_block < 7:
            at += left_in_block
            continue
        _, length, part = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if part in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


def from_wandb(directory: Path, tmp_path: Path) -> History:
    end_wandb()
    history: History = defaultdict(list)
    numbers, identities = [], set()
    files = sorted((directory / "trackers/wandb/wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    for path in files:
        for record in wandb_records(path):
            if record.HasField("run"):
                identities.add(record.run.run_id)
            if record.HasField("history"):
                row = {
                    (item.key or "/".join(item.nested_key)): json.loads(item.value_json)
                    for item in record.history.item
                }
                numbers.append(row["_step"])
                for name, value in row.items():
                    if not name.startswith("_") and name != "step":
                        history[name].append((row["step"], value))
    assert len(identities) == 1
    assert numbers == list(range(len(numbers)))  # what `wandb sync` needs to join both files
    return history


def from_mlflow(directory: Path, tmp_path: Path) -> History:
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("proj")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "my-run"
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer.lr"] == "1e-05"
    return {
        name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


def from_trackio(directory: Path, tmp_path: Path) -> History:
    from trackio.sqlite_storage import SQLiteStorage

    (name,) = SQLiteStorage.get_runs("proj")
    assert name.startswith("my-run-")
    history: History = defaultdict(list)
    for row in SQLiteStorage.get_logs("proj", name):
        for key, value in row.items():
            if key not in ("step", "timestamp"):
                history[key].append((row["step"], value))
    return history


READ: dict[str, Callable[[Path, Path], History]] = {
    "tensorboard": from_tensorboard,
    "wandb": from_wandb,
    "mlflow": from_mlflow,
    "trackio": from_trackio,
}


@pytest.mark.parametrize("tracker", READ)
def test_a_resumed_run_is_one_run_with_every_step_once(tracker: str, tmp_path: Path) -> None:
    directory = run_twice(tmp_path, tracker)
    history = READ[tracker](directory, tmp_path)
    assert set(history) == {"train/loss", "train/lr", "tool_call/accuracy", "epoch"}
    steps = range(1, 9)
    assert history["train/loss"] == [(s, pytest.approx(1 / (1 + s), rel=1e-6)) for s in steps]
    assert history["train/lr"] == [(s, pytest.approx(1e-4, rel=1e-6)) for s in steps]
    assert history["tool_call/accuracy"] == [(0, 0.0), (4, 0.5), (8, 1.0)]


def test_a_killed_process_leaves_what_it_measured(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from tests.train.trackers.test_services import *\n"
        "where = Path(sys.argv[1])\n"
        "trackers = open_trackers(config(where, 'tensorboard'), where / 'my-run', None)\n"
        "log = RunLog(where / 'my-run', trackers=trackers)\n"
        "log.metrics(train(1)); log.metrics(train(2))\n"
        "noted = where / 'my-run/trackers/tensorboard.json'\n"
        "while '\"train\": 2' not in noted.read_text(): time.sleep(0.01)\n"
        "os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, tmp_path], env=environment, timeout=300)
    assert done.returncode == -signal.SIGKILL
    history = from_tensorboard(tmp_path / "my-run", tmp_path)
    assert [step for step, _ in history["train/loss"]] == [1, 2]


@pytest.mark.parametrize("tracker", READ)
def test_no_file_of_a_tracker_holds_a_secret(
    tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["tooltune", f"--token={SECRET}"])
    directory = tmp_path / "my-run"
    chosen = config(tmp_path, tracker, project="proj", run_name=f"name {SECRET}")
    with RunLog(directory, trackers=open_trackers(chosen, directory, None)) as log:
        log.metrics({**train(1), f"by/{SECRET}": 1.0})
    end_wandb()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 2
    for path in files:
        data = path.read_bytes()
        assert SECRET.encode() not in data, path
        assert os.environ["WANDB_API_KEY"].encode() not in data, path


def test_mlflow_starts_anew_with_the_whole_history_where_its_run_was_deleted(
    tmp_path: Path,
) -> None:
    import mlflow

    directory = tmp_path / "my-run"
    chosen = config(tmp_path, "mlflow", project="proj")
    with RunLog(directory, trackers=open_trackers(chosen, directory, None)) as log:
        log.metrics(train(1))
    client = mlflow.MlflowClient()
    identity = json.loads((directory / "trackers/mlflow.json").read_text())["state"]["run_id"]
    client.delete_run(identity)
    with RunLog(directory, trackers=open_trackers(chosen, directory, 1)) as log:
        log.metrics(train(2))
    assert [step for step, _ in from_mlflow(directory, tmp_path)["train/loss"]] == [1, 2]


def test_a_server_that_nobody_runs_is_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:pass-word@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ValueError, match="mlflow cannot be started") as raised:
        open_trackers(config(tmp_path, "mlflow"), tmp_path / "my-run", None)
    assert "MLFLOW_TRACKING_URI" in str(raised.value)
    assert "pass-word" not in str(raised.value)


def test_wandb_without_a_login_is_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(ValueError, match="wandb cannot be started") as raised:
        open_trackers(config(tmp_path, "wandb"), tmp_path / "my-run", None)
    assert "wandb login" in str(raised.value)
