from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.assets import REPOSITORY
from tests.train.trackers.service import Service
from tooltune.config.load import load_config
from tooltune.config.schema import Config, Log
from tooltune.errors import UserError
from tooltune.train.log import RunLog
from tooltune.train.trackers import open as opening
from tooltune.train.trackers.open import SERVICES, open_trackers, require_trackers
from tooltune.train.trackers.protocol import RunFacts, Started


def config(tmp_path: Path, *trackers: str, **log: Any) -> Config:
    base: Mapping[str, Any] = {
        "model": "some/model",
        "dataset": {"path": str(tmp_path / "data.jsonl")},
        "validation_dataset": {"fraction": 0.25},
        "output_dir": str(tmp_path / "my-run"),
        "log": {"trackers": list(trackers), **log},
    }
    return load_config(None, base=base)


def put_in_place_of(name: str, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        SERVICES, name, replace(SERVICES[name], make=lambda: service, module="json")
    )


def test_every_tracker_of_the_config_has_a_service_and_no_other() -> None:
    annotation = Log.model_fields["trackers"].annotation
    assert set(get_args(get_args(annotation)[0])) == set(SERVICES)


def test_every_tracker_is_in_the_table_of_the_documentation() -> None:
    page = (REPOSITORY / "docs" / "training.md").read_text(encoding="utf-8")
    table = page.split("## Trackers")[1].split("## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(SERVICES)


def test_what_is_missing_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(SERVICES, name, replace(SERVICES[name], module=f"no_{name}_here"))
    with pytest.raises(UserError) as raised:
        require_trackers(["wandb", "mlflow", "wandb"])
    assert "wandb, mlflow cannot be used" in raised.value.message
    assert "pip install wandb mlflow-skinny" in str(raised.value.fix)


def test_a_folder_that_a_tracker_left_behind_is_not_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb_left_this").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.setitem(SERVICES, "wandb", replace(SERVICES["wandb"], module="wandb_left_this"))
    with pytest.raises(UserError, match="not installed"):
        require_trackers(["wandb"])


def test_asking_what_is_installed_imports_nothing() -> None:
    before = set(sys.modules)
    for name in SERVICES:
        try:
            require_trackers([name])
        except UserError:
            continue
    assert not {"wandb", "mlflow", "trackio", "tensorboard"} & (set(sys.modules) - before)


def test_without_trackers_nothing_is_opened_or_written(tmp_path: Path) -> None:
    trackers = open_trackers(config(tmp_path), tmp_path, None)
    trackers.metrics({"step": 1, "kind": "train", "loss": 1.0})
    trackers.finish("finished")
    assert trackers.take_messages() == ([], [])
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_is_told_of_the_run_without_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "very-secret-value")
    service = Service()
    put_in_place_of("wandb", service, monkeypatch)
    chosen = config(tmp_path, "wandb", project="p very-secret-value")
    chosen = chosen.model_copy(
        update={
            "model": chosen.model.model_copy(
                update={"chat_template_kwargs": {"token": "abc", "url": "https://u:pw@h/x"}}
            )
        }
    )
    open_trackers(chosen, tmp_path / "my-run", 4).finish("finished")
    (run,) = service.starts
    assert (run.project, run.name, run.resumed_from_step) == ("p ***", "my-run", 4)
    assert run.directory == tmp_path / "my-run/trackers/wandb"
    assert run.config["model"]["chat_template_kwargs"] == {"token": "***", "url": "https://***@h/x"}
    assert run.config["optimizer"]["lr"] == 1e-5
    assert "very-secret" not in repr(run)


def test_the_name_of_the_run_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()
    put_in_place_of("mlflow", service, monkeypatch)
    open_trackers(config(tmp_path, "mlflow", run_name="x y"), tmp_path, None).finish("finished")
    assert service.starts[0].name == "x y"


class Refusing(Service):
    def start(self, run: RunFacts) -> Started:
        raise ConnectionError("https://user:pw@host refused")


def test_a_fresh_run_that_cannot_start_a_tracker_ends_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Service()
    put_in_place_of("mlflow", first, monkeypatch)
    put_in_place_of("wandb", Refusing(), monkeypatch)
    with pytest.raises(UserError) as raised:
        open_trackers(config(tmp_path, "mlflow", "wandb"), tmp_path / "run", None)
    assert "wandb cannot be started: ConnectionError: https://***@host" in raised.value.message
    assert "WANDB_MODE=offline" in str(raised.value.fix)
    assert first.endings == ["failed"]


def test_a_resumed_run_goes_on_without_a_tracker_that_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Service()
    put_in_place_of("wandb", Refusing(), monkeypatch)
    put_in_place_of("mlflow", other, monkeypatch)
    trackers = open_trackers(config(tmp_path, "wandb", "mlflow"), tmp_path / "run", 3)
    trackers.metrics({"step": 4, "kind": "train", "loss": 1.0})
    trackers.finish("finished")
    notes, warnings = trackers.take_messages()
    assert notes == ["mlflow: in memory"]
    assert len(warnings) == 1
    assert "left out until the run is resumed again" in warnings[0]
    assert len(other.taken) == 1


def test_a_tracker_named_twice_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service()
    put_in_place_of("wandb", service, monkeypatch)
    open_trackers(config(tmp_path, "wandb", "wandb"), tmp_path, None).finish("finished")
    assert len(service.starts) == 1


# --- with the log of the run


def logged(
    directory: Path, service: Service, monkeypatch: pytest.MonkeyPatch, resumed: int | None = None
) -> RunLog:
    put_in_place_of("wandb", service, monkeypatch)
    return RunLog(directory, trackers=open_trackers(config(directory, "wandb"), directory, resumed))


def test_the_log_passes_every_line_on_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service()
    with logged(tmp_path, service, monkeypatch) as log:
        log.metrics({"step": 1, "kind": "train", "loss": float("nan"), "lr": 0.5})
    assert service.taken == [(1, {"train/lr": 0.5, "train/non_finite": 1.0})]
    assert "INFO wandb: in memory" in (tmp_path / "train.log").read_text()


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, "finished"), (ValueError(), "failed"), (KeyboardInterrupt(), "interrupted")],
)
def test_the_trackers_end_as_the_run_ends(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException | None,
    status: str,
) -> None:
    service = Service()
    try:
        with logged(tmp_path, service, monkeypatch):
            if error is not None:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert service.endings == [status]


def test_a_failing_tracker_is_a_warning_in_the_log_and_the_file_has_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(call: int) -> None:
        raise ConnectionError("HF_TOKEN=hf_" + "a" * 30)

    with logged(tmp_path, Service(before=fail), monkeypatch) as log:
        for step in range(3):
            log.metrics({"step": step, "kind": "train", "loss": 1.0})
    text = (tmp_path / "train.log").read_text()
    assert text.count("did not take the metrics of step 0") == 1
    assert text.count("given up for this run") == 1
    assert "hf_aaa" not in text
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_tracker_that_joins_a_resumed_run_gets_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunLog(tmp_path) as log:
        for step in range(4):
            log.metrics({"step": step, "kind": "train", "loss": 1.0})
    service = Service()
    with logged(tmp_path, service, monkeypatch, resumed=3) as log:
        log.metrics({"step": 4, "kind": "train", "loss": 1.0})
    assert [step for step, _ in service.taken] == [0, 1, 2, 3, 4]


def test_all_trackers_share_the_time_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert opening._FINISH_SECONDS <= 30  # what a scheduler grants after SIGTERM
