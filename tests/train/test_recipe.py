"""The recipe as a whole: files of a run, invariants 6 to 8, and what a crash leaves behind."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.train.tiny_run import metrics, save_tiny_model, tiny_config, without_times, write_traces
from tooltune.errors import UserError
from tooltune.models.load import load_tokenizer
from tooltune.train import recipe
from tooltune.train.batches import CPU_COST, CostModel, pack
from tooltune.train.checkpoints.store import verify
from tooltune.train.data import RunData, prepare_data
from tooltune.train.folder.rundir import open_run_directory, run_date
from tooltune.train.measure import Measuring
from tooltune.train.optim import NonFiniteError
from tooltune.train.preparation.view import PreparedTraces
from tooltune.train.recipe import train
from tooltune.train.trainee import build_trainee
from tooltune.train.validate import validation_loss

LORA = {"peft": {"dim": 4, "dropout": 0.2}}


def training_state(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Masters and moments, of a run in one process."""
    (file,) = (checkpoint / "optim").glob("*.safetensors")
    tensors: dict[str, torch.Tensor] = load_file(file)
    assert {name.split("/")[0] for name in tensors} == {"master", "optimizer"}
    return tensors


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, builtin_tokenizer: Any) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"), builtin_tokenizer)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_traces(tmp_path_factory.mktemp("data") / "traces.jsonl", 8)


@pytest.fixture(scope="module")
def finished(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA run with dropout, to the end, never interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return train(tiny_config(model, data, out, **LORA)).directory


def test_a_run_writes_the_files_of_the_contract(finished: Path) -> None:
    for name in (
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "ledger.jsonl",
        "split.json",
        "train.log",
        "comparison.json",
        "eval/step_0/metrics.json",
        "eval/step_0/samples.jsonl",
        "eval/final/metrics.json",
        "checkpoints/LATEST/model/consolidated/model.safetensors",
        "checkpoints/LATEST/model/consolidated/tokenizer.json",
        "checkpoints/LATEST/model/adapter/adapter_model.safetensors",
        "checkpoints/LATEST/state.json",
        "checkpoints/LATEST/manifest.json",
        "checkpoints/LOWEST_VAL/model/consolidated/config.json",
        "checkpoints/BEST_TOOL_CALL/model/consolidated/config.json",
    ):
        assert (finished / name).is_file(), name
    assert verify(finished / "checkpoints" / "LATEST") == []
    split = json.loads((finished / "split.json").read_text())
    assert (split["n_train"], split["n_held_out"], len(split["held_out"])) == (6, 2, 2)


def test_metrics_start_before_step_0_and_hold_every_step(finished: Path) -> None:
    lines = metrics(finished)
    assert [(line["kind"], line["step"]) for line in lines[:2]] == [("val", 0), ("tool_call", 0)]
    steps = [line for line in lines if line["kind"] == "train"]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    for key in ("loss", "lr", "grad_norm", "tokens", "trained_tokens", "seconds"):
        assert all(key in line for line in steps)
    assert [line["step"] for line in lines if line["kind"] == "val"] == [0, 3, 6]
    assert "tool_call/accuracy" in lines[-1]
    assert lines[-1]["kind"] == "tool_call"


def test_samples_say_which_of_their_tools_were_trained_on(finished: Path) -> None:
    lines = (finished / "eval/final/samples.jsonl").read_text().splitlines()
    for record in map(json.loads, lines):
        assert set(record["seen_tools"]) <= {tool["function"]["name"] for tool in record["tools"]}
    scored = json.loads((finished / "eval/final/metrics.json").read_text())
    assert scored["breakdown"]["by_seen_tools"]


def test_training_lowers_the_loss(finished: Path) -> None:
    losses = [line["loss"] for line in metrics(finished) if line["kind"] == "val"]
    assert losses[-1] < losses[0]


def test_the_saved_generation_config_stops_where_the_model_was_taught_to(finished: Path) -> None:
    saved = finished / "checkpoints/LATEST/model/consolidated"
    generation = json.loads((saved / "generation_config.json").read_text())
    stops = generation["eos_token_id"]
    assert 2 in (stops if isinstance(stops, list) else [stops])
    tokenizer = load_tokenizer(saved)
    assert tokenizer.eos_token == "<|im_end|>"
    assert "<tools>" in str(tokenizer.chat_template)


class Interrupted(Exception):
    pass


def interrupt_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    original = recipe.Run.train_step

    def train_step(self: recipe.Run) -> None:
        if self.done.step == step:
            raise Interrupted
        original(self)

    monkeypatch.setattr(recipe.Run, "train_step", train_step)


@pytest.mark.parametrize("peft", [LORA, {}], ids=["lora with dropout", "full"])
def test_a_resumed_run_equals_one_never_interrupted_bit_for_bit(
    model: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    peft: dict[str, Any],
) -> None:
    """Invariant 8, mid-epoch, over three and more later steps (trap 24)."""
    saves = {"step_scheduler": {"ckpt_every_steps": 2, "global_batch_size": 2, "num_epochs": 3}}
    train(tiny_config(model, data, tmp_path / "whole", dtype="bfloat16", **saves, **peft))
    config = tiny_config(model, data, tmp_path / "resumed", dtype="bfloat16", **saves, **peft)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)  # the last checkpoint is of step 4, or 3 where a best was saved
        with pytest.raises(Interrupted):
            train(config)
    torch.manual_seed(12345)
    train(config)
    assert without_times(metrics(tmp_path / "resumed")) == without_times(
        metrics(tmp_path / "whole")
    )
    one, two = (
        training_state(tmp_path / run / "checkpoints/LATEST") for run in ("whole", "resumed")
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_finished_run_is_left_as_it_is(finished: Path, model: Path, data: Path) -> None:
    before = (finished / "metrics.jsonl").read_bytes()
    result = train(tiny_config(model, data, finished, **LORA))
    assert result.comparison is not None
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_a_best_model_found_at_the_very_end_stays_the_best_when_started_again(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Measuring.tool_calls_of_saved

    def better(self: Measuring, saved: Path) -> dict[str, Any]:
        return original(self, saved) | {"tool_call/balanced_accuracy": 1.0}

    monkeypatch.setattr(Measuring, "tool_calls_of_saved", better)
    schedule = {"max_steps": 2, "val_every_steps": 1}
    config = tiny_config(model, data, tmp_path / "run", step_scheduler=schedule)
    for _ in range(2):
        train(config)
        assert os.readlink(tmp_path / "run/checkpoints/BEST_TOOL_CALL") == "epoch_0_step_2"


def test_an_evaluation_whose_main_set_has_no_turns_still_scores_the_others(
    model: Path, data: Path, tmp_path: Path
) -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    (tmp_path / "talk.jsonl").write_text(json.dumps({"messages": talk}) + "\n")
    other = write_traces(tmp_path / "other.jsonl", 2, split="unseen_tools")
    evaluation = {
        "path": str(tmp_path / "talk.jsonl"),
        "extra_datasets": {"unseen": {"path": str(other)}},
        "every_steps": 1,
    }
    config = tiny_config(
        model, data, tmp_path / "run", tool_call_eval=evaluation, step_scheduler={"max_steps": 2}
    )
    comparison = train(config).comparison
    assert comparison is not None
    assert comparison["main_set"] == "all"
    assert comparison["n_samples"] == comparison["datasets"]["unseen"]["n_samples"] > 0


@pytest.mark.parametrize(
    "sections",
    [
        {"validation_dataset": None, "tool_call_eval": {"enabled": False}},
        {"tool_call_eval": {"enabled": False}},
        {"checkpoint": {"enabled": False}},
    ],
    ids=["nothing held out", "no generation", "no checkpoints"],
)
def test_a_run_can_do_without_its_optional_parts(
    model: Path, data: Path, tmp_path: Path, sections: dict[str, Any]
) -> None:
    config = tiny_config(
        model,
        data,
        tmp_path / "run",
        step_scheduler={"max_steps": 2, "val_every_steps": 3},
        **sections,
    )
    for _ in range(2):  # and started again
        result = train(config)
    generates = config.tool_call_eval.enabled
    assert (result.comparison is not None) == generates
    steps = [(line["kind"], line["step"]) for line in metrics(tmp_path / "run")]
    assert [step for kind, step in steps if kind == "train"] == [1, 2]
    held_out = config.validation_dataset is not None
    assert [step for kind, step in steps if kind == "val"] == ([0, 2] if held_out else [])
    saved = (tmp_path / "run/checkpoints/LATEST").is_symlink()
    assert saved == config.checkpoint.enabled


def test_an_unfinished_run_is_not_resumed_on_data_that_changed(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "traces.jsonl"
    rows.write_bytes(data.read_bytes())
    config = tiny_config(model, rows, tmp_path / "run")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(Interrupted):
            train(config)
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match="the data changed"):
        train(config)


def test_a_resumed_run_tells_templates_the_date_of_its_first_start(
    model: Path, data: Path, tmp_path: Path
) -> None:
    config = tiny_config(model, data, tmp_path / "run")
    (tmp_path / "run").mkdir()
    today = run_date(config)
    assert today == datetime.date.today().isoformat()
    facts = {"render": {"date": "2024-02-29"}}
    (tmp_path / "run/environment.json").write_text(json.dumps(facts))
    assert run_date(config) == "2024-02-29"
    assert (
        prepare_data(config, load_tokenizer(model), date=run_date(config)).renderer.spec.date
        == "2024-02-29"
    )


def test_a_kill_while_the_folder_is_made_does_not_block_the_next_start(
    model: Path, data: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / ".config.yaml.part").write_text("model:")
    config = tiny_config(model, data, directory)
    assert open_run_directory(config) == directory
    assert (directory / "config.yaml").is_file()


def test_a_template_given_as_a_path_is_the_one_that_renders_and_is_saved(
    model: Path, data: Path, tmp_path: Path
) -> None:
    own = str(load_tokenizer(model).chat_template)
    (tmp_path / "mine.jinja").write_text("Mine.\n" + own)
    off = {"enabled": False}
    config = tiny_config(
        model, data, tmp_path / "run", step_scheduler={"max_steps": 1}, tool_call_eval=off
    )
    given = config.model.model_copy(update={"chat_template": str(tmp_path / "mine.jinja")})
    config = config.model_copy(update={"model": given})
    train(config)
    saved = load_tokenizer(tmp_path / "run/checkpoints/LATEST/model/consolidated")
    assert saved.chat_template == "Mine.\n" + own


def test_another_configuration_in_the_same_folder_is_refused_with_the_difference(
    finished: Path, model: Path, data: Path
) -> None:
    config = tiny_config(model, data, finished, **LORA, seed=7)
    with pytest.raises(UserError, match=r"seed.*0.*7"):
        train(config)


def test_a_folder_of_something_else_is_refused(model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(UserError, match="holds no run"):
        train(tiny_config(model, data, tmp_path))


def test_how_a_step_is_cut_changes_neither_its_loss_nor_its_gradient(
    model: Path, data: Path, tmp_path: Path
) -> None:
    """Invariant 6: packing, micro-batching, sharing and the flat fallback agree (fp32)."""
    config = tiny_config(model, data, tmp_path)
    prepared = prepare_data(config, load_tokenizer(model))
    rows = prepared.train[:4]
    outcomes = []
    for cost, flat in (
        (CostModel(1e9, 10**6, 0.0, 10**6), None),  # everything in one forest
        (CostModel(0.0, 1, 1e3, 10**6), None),  # every trace alone
        (CostModel(0.0, 1, 1e3, 10**6), "asked for"),
    ):
        trainee = replace(build_trainee(config, load_tokenizer(model)), flat_reason=flat)
        batches = pack(rows, cost)
        total = sum(batch.forest.total_weight for batch in batches)
        loss = 0.0
        for batch in batches:
            share = trainee.nll(batch) / total
            share.backward()
            loss += float(share.detach())
        gradient = torch.cat(
            [p.grad.flatten() for p in trainee.masters.parameters().values() if p.grad is not None]
        )
        outcomes.append((len(batches), loss, gradient))
    (n1, loss1, g1), (n4, loss4, g4), (_, loss_flat, g_flat) = outcomes
    assert (n1, n4) == (1, 4)
    for loss, gradient in ((loss4, g4), (loss_flat, g_flat)):
        assert loss == pytest.approx(loss1, rel=1e-5)
        assert torch.allclose(gradient, g1, rtol=1e-3, atol=1e-7)


def test_merged_copies_of_adapters_stay_only_where_a_link_points(
    model: Path, data: Path, tmp_path: Path
) -> None:
    config = tiny_config(
        model,
        data,
        tmp_path / "run",
        step_scheduler={"ckpt_every_steps": 1, "max_steps": 3},
        validation_dataset=None,
        tool_call_eval={"enabled": False},
        **LORA,
    )
    train(config)
    folders = sorted((tmp_path / "run/checkpoints").glob("epoch_*"))
    merged = {path.name: (path / "model/consolidated").is_dir() for path in folders}
    assert merged == {"epoch_0_step_2": False, "epoch_0_step_3": True}
    assert all(verify(path) == [] for path in folders)


def test_validation_runs_without_dropout_and_leaves_the_model_training(
    model: Path, data: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(model)
    config = tiny_config(model, data, tmp_path, **LORA)
    trainee = build_trainee(config, tokenizer)
    for parameter in trainee.masters.parameters().values():
        torch.nn.init.normal_(parameter, std=0.1)  # a fresh adapter adds nothing, dropout or not
    trainee.masters.write_back()
    batches = pack(prepare_data(config, tokenizer).held_out, CPU_COST)
    first = validation_loss(trainee, batches)
    assert first == validation_loss(trainee, batches)
    assert trainee.model.training
    with torch.no_grad():
        assert float(trainee.nll(batches[0])) != float(trainee.nll(batches[0]))


class _FirstBlank(PreparedTraces):
    """Three traces, the first without a target."""

    def __init__(self, traces: PreparedTraces) -> None:
        super().__init__(traces._store, traces._rows[:3], traces.keys[:3])

    def __getitem__(self, index: Any) -> Any:
        row = super().__getitem__(index)
        if index != 0:
            return row
        blank = tuple(replace(turn, weights=(0.0,) * len(turn.weights)) for turn in row.turns)
        return replace(row, turns=blank)


def test_a_step_without_targets_is_skipped_and_counted(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_one(*args: Any, **kwargs: Any) -> RunData:
        found = prepare_data(*args, **kwargs)
        return replace(found, train=_FirstBlank(found.train))

    monkeypatch.setattr(recipe, "prepare_data", without_one)
    config = tiny_config(
        model,
        data,
        tmp_path / "run",
        step_scheduler={"global_batch_size": 1, "num_epochs": 1},
        tool_call_eval={"enabled": False},
    )
    train(config)
    state = json.loads((tmp_path / "run/checkpoints/LATEST/state.json").read_text())
    assert (state["done"]["step"], state["done"]["skipped_steps"]) == (3, 1)
    assert sum(line["kind"] == "train" for line in metrics(tmp_path / "run")) == 2


def test_micro_batches_add_up_to_the_step(model: Path, data: Path, tmp_path: Path) -> None:
    """Invariant 6 in the loop itself: loss, gradient norm and update, whatever the packing."""
    records = []
    for size in (None, 1):
        config = tiny_config(
            model,
            data,
            tmp_path / f"{size}",
            step_scheduler={"global_batch_size": 3, "local_batch_size": size, "max_steps": 3},
            tool_call_eval={"enabled": False},
        )
        train(config)
        lines = metrics(tmp_path / f"{size}")
        records.append([line for line in lines if line["kind"] == "train"])
    together, apart = records
    assert [line["micro_batches"] for line in apart] == [3, 3, 3]
    for key in ("loss", "grad_norm"):
        for one, other in zip(together, apart, strict=True):
            assert other[key] == pytest.approx(one[key], rel=1e-3)


@pytest.mark.parametrize(
    "brake",
    [
        {"optimizer": {"max_grad_norm": 1e-14, "weight_decay": 0.0}},  # far below Adam's eps
        {"lr_scheduler": {"lr_warmup_steps": 10**9}},
    ],
    ids=["clipping", "schedule"],
)
def test_clipping_and_schedule_govern_the_update(
    model: Path, data: Path, tmp_path: Path, brake: dict[str, Any]
) -> None:
    off = {"tool_call_eval": {"enabled": False}, "step_scheduler": {"max_steps": 2}}
    for name, sections in (("free", {}), ("braked", brake)):
        train(tiny_config(model, data, tmp_path / name, **off, **sections))
    moved = {}
    for name in ("free", "braked"):
        losses = [line["loss"] for line in metrics(tmp_path / name) if line["kind"] == "val"]
        moved[name] = abs(losses[-1] - losses[0])
    assert moved["braked"] < 1e-4 < 1e-2 < moved["free"]


def test_a_loss_that_is_not_finite_stops_before_the_update(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(
        model, data, tmp_path / "run", step_scheduler={"ckpt_every_steps": 1, "max_steps": 4}
    )
    original = recipe.Trainee.nll
    calls = {"training": 0}

    def nll(self: Any, batch: Any) -> torch.Tensor:
        value = original(self, batch)
        calls["training"] += torch.is_grad_enabled()
        return value * float("nan") if calls["training"] > 3 else value

    monkeypatch.setattr(recipe.Trainee, "nll", nll)
    with pytest.raises(NonFiniteError, match="not finite"):
        train(config)
    latest = tmp_path / "run/checkpoints/LATEST"
    assert verify(latest) == []
    weights = training_state(latest)
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    assert "not finite" in (tmp_path / "run/train.log").read_text()


def test_secrets_do_not_reach_the_files_of_a_run(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnopqrstuvwxyz")
    train(tiny_config(model, data, tmp_path / "run", step_scheduler={"max_steps": 1}))
    for path in (tmp_path / "run").rglob("*"):
        if path.suffix in (".json", ".jsonl", ".yaml", ".log"):
            assert "hf_abcdefghijklmnopqrstuvwxyz" not in path.read_text()


@pytest.mark.slow
def test_killed_at_seeded_moments_a_run_resumes_and_finishes(
    model: Path, data: Path, tmp_path: Path
) -> None:
    """`tooltune train` under SIGKILL at five moments, started again each time."""
    import random
    import signal
    import time

    config = tiny_config(
        model,
        data,
        tmp_path / "run",
        step_scheduler={"ckpt_every_steps": 1, "num_epochs": 6},
        **LORA,
    )
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config.resolved()))
    command = [sys.executable, "-m", "tooltune.cli.main", "train", str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    moments = random.Random(0)
    latest = tmp_path / "run/checkpoints/LATEST"
    for kill in range(5):
        seen = os.readlink(latest) if latest.is_symlink() else None
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:  # until it made a checkpoint of its own
            if latest.is_symlink() and os.readlink(latest) != seen:
                break
            assert process.poll() is None, f"ended by itself before kill {kill}"
            time.sleep(0.01)
        time.sleep(moments.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        if latest.is_symlink():
            assert verify(latest) == []
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resumed from" in done.stdout
    steps = [line["step"] for line in metrics(tmp_path / "run") if line["kind"] == "train"]
    assert steps == list(range(1, 19))
    assert (tmp_path / "run/comparison.json").is_file()
