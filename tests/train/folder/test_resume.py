"""What may differ when a run is continued: keys, data, template, machine; and finished runs."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.train.tiny_run import tiny_config
from tooltune.config.dump import Change, config_changes
from tooltune.config.schema import Config, EarlyStopping, Peft
from tooltune.errors import UserError
from tooltune.train.folder import resume
from tooltune.train.folder.environment import hash_model
from tooltune.train.folder.inputs import input_differences, machine_remarks
from tooltune.train.folder.resume import HISTORY, forbidden, read_history, read_last_config, remarks
from tooltune.train.folder.rundir import note_changes, open_run_directory


def config(tmp_path: Path, **sections: Any) -> Config:
    data = tmp_path / "rows.jsonl"
    data.touch()
    model = sections.pop("model", {})
    made = tiny_config(tmp_path / "model", data, tmp_path / "run", **sections)
    return made.model_copy(update={"model": made.model.model_copy(update=model)})


def begun(tmp_path: Path, step: int = 4, **sections: Any) -> Config:
    """A run that has measured something and has a checkpoint of `step`."""
    started = config(tmp_path, **sections)
    directory = open_run_directory(started)
    (directory / "metrics.jsonl").write_text('{"step": 1, "kind": "train"}\n')
    (directory / f"checkpoints/epoch_0_step_{step}").mkdir(parents=True)
    os.symlink(f"epoch_0_step_{step}", directory / "checkpoints/LATEST")
    return started


def finished(tmp_path: Path, step: int = 6, **sections: Any) -> Config:
    ended = begun(tmp_path, step, **sections)
    directory = Path(ended.output_dir)
    (directory / "eval/final").mkdir(parents=True)
    (directory / "comparison.json").write_text("{}")
    return ended


# --- keys ---------------------------------------------------------------------------------------


def keys_of(model: type[BaseModel], above: str = "") -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        key = f"{above}{name}"
        found.add(key)
        kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
        kind = next(filter(is_model, kinds), None)
        if kind is not None:
            found |= keys_of(kind, f"{key}.")
    return found


def is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def test_every_key_that_may_change_exists() -> None:
    """A misspelt one would silently forbid what should be allowed."""
    named = {*resume._FREE, *resume._REMARKED}
    assert named <= keys_of(Config)


@pytest.mark.parametrize(
    "key",
    [
        *("model.pretrained_model_name_or_path", "model.dtype", "model.chat_template"),
        *("dataset.path", "dataset.shuffle", "dataset.loss_weights.text", "seed", "peft.dim"),
        *("validation_dataset.fraction", "tool_call_eval.max_eval_samples", "optimizer.lr"),
        *("optimizer.betas", "lr_scheduler.min_lr", "step_scheduler.global_batch_size", "logs"),
    ],
)
def test_what_decides_the_numbers_must_not_change(key: str) -> None:
    change = Change(key, 1, 2, "1 -> 2")
    assert forbidden([change]) == [change]


@pytest.mark.parametrize(
    "sections",
    [
        {"log": {"every_steps": 5, "trackers": ["tensorboard"]}},
        {"step_scheduler": {"val_every_steps": 1, "ckpt_every_steps": 1}},
        {"checkpoint": {"keep_last": 7, "async_save": True, "save_consolidated": "all"}},
        {"tool_call_eval": {"every_steps": 3, "run_on_fsdp2": False}},
        {"distributed": {"strategy": "ddp", "timeout_seconds": 5}},
        {"dataset": {"num_workers": 2}},
        {"early_stopping": {"metric": "val_loss", "patience": 2}},
        {"step_scheduler": {"num_epochs": 5, "max_steps": 9, "local_batch_size": 1}},
        {"model": {"activation_checkpointing": "full", "compile": True}},
    ],
    ids=str,
)
def test_what_only_says_when_and_how_may_change_and_is_noted(
    tmp_path: Path, sections: dict[str, Any]
) -> None:
    begun(tmp_path)
    other = config(tmp_path, **copy.deepcopy(sections))
    directory = open_run_directory(other)
    first = (directory / "config.yaml").read_text()
    said = note_changes(other, 100)
    assert len(said) == sum(len(section) for section in sections.values()) or (
        "early_stopping" in sections and len(said) == 1
    )
    assert (directory / "config.yaml").read_text() == first
    assert read_last_config(directory) == other.resolved()
    assert note_changes(other, 100) == [], "noted once"
    assert [entry["after_step"] for entry in read_history(directory)] == [4]


def test_an_unchanged_start_notes_nothing(tmp_path: Path) -> None:
    same = begun(tmp_path)
    directory = open_run_directory(same)
    assert note_changes(same, 6) == []
    assert not (directory / HISTORY).exists()


def test_a_change_and_its_reversal_are_both_noted(tmp_path: Path) -> None:
    original = begun(tmp_path)
    changed = config(tmp_path, log={"every_steps": 5})
    for start in (changed, original):
        assert len(note_changes(start, 6)) == 1
    directory = Path(original.output_dir)
    entries = yaml.safe_load((directory / HISTORY).read_text())
    key = "log.every_steps"
    assert [entry["changed"][key] for entry in entries] == [
        {"from": 1, "to": 5},
        {"from": 5, "to": 1},
    ]
    assert read_last_config(directory) == original.resolved()


def test_more_steps_say_what_becomes_of_the_schedule(tmp_path: Path) -> None:
    begun(tmp_path)
    (said,) = note_changes(config(tmp_path, step_scheduler={"num_epochs": 9}), 100)
    assert said.startswith("step_scheduler.num_epochs: 2 -> 9")
    assert "learning rate" in said


def test_a_refusal_shows_the_difference_and_the_way_back(tmp_path: Path) -> None:
    begun(tmp_path, seed=3)
    other = config(tmp_path, seed=7, optimizer={"lr": 0.5}, log={"every_steps": 4})
    with pytest.raises(UserError) as caught:
        open_run_directory(other)
    assert "seed: 3 -> 7" in caught.value.message
    assert "optimizer.lr: 0.01 -> 0.5" in caught.value.message
    assert "log.every_steps" not in caught.value.message, "that may change"
    assert caught.value.fix is not None
    assert "--optimizer.lr=0.01 --seed=3" in caught.value.fix


def test_a_refused_start_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    begun(tmp_path)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(UserError):
        open_run_directory(config(tmp_path, seed=7))
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_a_folder_that_was_moved_is_continued(tmp_path: Path) -> None:
    begun(tmp_path)
    (tmp_path / "run").rename(tmp_path / "moved")
    there = config(tmp_path).model_copy(update={"output_dir": str(tmp_path / "moved")})
    assert open_run_directory(there) == tmp_path / "moved"


def test_a_key_younger_than_the_run_counts_as_its_default(tmp_path: Path) -> None:
    same = begun(tmp_path)
    path = Path(same.output_dir) / "config.yaml"
    values = yaml.safe_load(path.read_text())
    del values["deterministic"], values["early_stopping"], values["optimizer"]["eps"]
    path.write_text(yaml.safe_dump(values))
    open_run_directory(same)
    assert note_changes(same, 6) == []


def test_code_in_the_files_of_a_run_does_not_run(tmp_path: Path) -> None:
    same = begun(tmp_path)
    canary = tmp_path / "canary"
    payload = f"!!python/object/apply:os.system ['touch {canary}']\n"
    for name in ("config.yaml", HISTORY):
        path = Path(same.output_dir) / name
        before = path.read_text() if path.exists() else None
        path.write_text(payload)
        reads = open_run_directory if name == "config.yaml" else lambda c: note_changes(c, 6)
        with pytest.raises(UserError, match="cannot be read"):
            reads(same)
        path.unlink() if before is None else path.write_text(before)
    assert not canary.exists()


VALUES = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
SECTIONS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)
CONFIGS = st.dictionaries(st.sampled_from("pqr"), VALUES | SECTIONS, max_size=3)


@given(CONFIGS, CONFIGS)
def test_changes_are_there_exactly_where_two_configs_differ(a: dict[str, Any], b: Any) -> None:
    changes = config_changes(a, b)
    assert (changes == []) == (a == b)
    assert config_changes(a, a) == []
    back = config_changes(b, a)
    assert {(c.key, repr(c.there), repr(c.here)) for c in changes} == {
        (c.key, repr(c.here), repr(c.there)) for c in back
    }


# --- finished runs ------------------------------------------------------------------------------


def test_a_finished_run_with_more_steps_goes_on(tmp_path: Path) -> None:
    finished(tmp_path, step=6)
    said = note_changes(config(tmp_path, step_scheduler={"num_epochs": 3}), 9)
    assert said[-1] == "the finished run goes on from step 6 to step 9"
    run = tmp_path / "run"
    assert not (run / "comparison.json").exists()
    assert (run / "comparison.step_6.json").is_file()
    assert (run / "eval/step_6").is_dir()
    assert not (run / "eval/final").exists()


def test_a_run_that_stopped_early_goes_on_without_early_stopping(tmp_path: Path) -> None:
    stopping = EarlyStopping(patience=1).model_dump()
    finished(tmp_path, step=3, early_stopping=stopping)
    said = note_changes(config(tmp_path), 6)
    assert said[-1] == "the finished run goes on from step 3 to step 6"


@pytest.mark.parametrize(
    ("sections", "total"),
    [({"log": {"every_steps": 2}}, 6), ({"step_scheduler": {"max_steps": 4}}, 4), ({}, 9)],
    ids=["another interval", "fewer steps", "nothing changed: it was stopped early"],
)
def test_a_finished_run_stays_finished_otherwise(
    tmp_path: Path, sections: dict[str, Any], total: int
) -> None:
    finished(tmp_path, step=6)
    note_changes(config(tmp_path, **sections), total)
    assert (tmp_path / "run/comparison.json").is_file()
    assert (tmp_path / "run/eval/final").is_dir()


def test_a_finished_run_without_checkpoints_cannot_go_on(tmp_path: Path) -> None:
    ended = finished(tmp_path)
    (Path(ended.output_dir) / "checkpoints/LATEST").unlink()
    with pytest.raises(UserError, match="no checkpoint to go on from"):
        note_changes(config(tmp_path, step_scheduler={"num_epochs": 3}), 9)
    assert (tmp_path / "run/comparison.json").is_file()


# --- inputs and machine -------------------------------------------------------------------------

FACTS: dict[str, Any] = {
    "data": {"a.jsonl": {"sha256": "aa" * 32, "bytes": 1000, "files": 1}},
    "rows": {"read": 8, "accepted": 7},
    "tokenizer_sha256": "bb" * 32,
    "chat_template_sha256": "cc" * 32,
    "model_sha256": None,
    "traces": "dd" * 32,
    "world_size": 1,
    "packages": {"torch": "2.13.0"},
    "cpu": {"torch_threads": 2},
    "cuda": None,
}


def test_the_same_inputs_do_not_differ() -> None:
    assert input_differences(FACTS, json.loads(json.dumps(FACTS))) is None
    assert input_differences({}, FACTS) is None


def test_changed_data_are_shown_with_file_sizes_and_rows() -> None:
    here = FACTS | {
        "data": {
            "a.jsonl": {"sha256": "ee" * 32, "bytes": 900, "files": 1},
            "b.jsonl": {"sha256": "ff" * 32, "bytes": 5, "files": 1},
        },
        "rows": {"read": 6, "accepted": 6},
        "traces": "00" * 32,
    }
    found = input_differences(FACTS, here)
    assert found is not None
    changed, lines = found
    assert changed == "the data"
    assert lines.splitlines() == [
        "  a.jsonl: 1,000 -> 900 bytes, sha256 aaaaaaaaaaaa… -> eeeeeeeeeeee…",
        "  b.jsonl: is new",
        "  rows: 8 read and 7 accepted -> 6 read and 6 accepted",
    ]


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("traces", "the data"),
        ("tokenizer_sha256", "the tokenizer"),
        ("chat_template_sha256", "the chat template"),
        ("model_sha256", "the model"),
    ],
)
def test_whatever_else_decides_the_tokens_is_noticed(key: str, what: str) -> None:
    found = input_differences(FACTS, FACTS | {key: "11" * 32})
    assert found is not None
    assert found[0] == what


def test_another_machine_is_remarked_on() -> None:
    assert machine_remarks(FACTS, FACTS) == []
    here = FACTS | {
        "world_size": 2,
        "packages": {"torch": "2.14.0"},
        "cuda": {"devices": [{"name": "H100"}]},
    }
    (remark,) = machine_remarks(FACTS, here)
    assert "torch 2.13.0 -> 2.14.0" in remark
    assert "processes 1 -> 2" in remark
    assert "GPUs none -> H100" in remark
    assert "bit for bit" in remark


@pytest.mark.parametrize("place", [0, 2_500_000, 4_999_999])
def test_retrained_weights_of_the_same_size_are_noticed(tmp_path: Path, place: int) -> None:
    for each in ("a", "b"):
        (tmp_path / f"{each}.safetensors").write_bytes(bytes(5_000_000))
    before = hash_model(str(tmp_path))
    assert before == hash_model(str(tmp_path))
    with (tmp_path / "b.safetensors").open("r+b") as file:
        file.seek(place)
        file.write(b"x")
    assert hash_model(str(tmp_path)) != before


def test_a_hub_model_has_no_weights_here_to_hash() -> None:
    assert hash_model("org/name") is None


def test_remarks_name_key_and_values() -> None:
    a, b = {"seed": 1, "peft": None}, {"seed": 1, "peft": Peft(alpha=8).model_dump()}
    (change,) = config_changes(a, b)
    assert remarks([change])[0].startswith("peft: null -> {")
