"""Train and held-out rows that overlap stop a run, unless the config allows and records it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.train.tiny_run import save_tiny_model, tiny_config
from tooltune.errors import UserError
from tooltune.models.load import load_tokenizer
from tooltune.train.data import prepare_data
from tooltune.train.folder.rundir import write_run_facts


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, builtin_tokenizer: Any) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"), builtin_tokenizer)


def rows(path: Path, *questions: str) -> Path:
    turns = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": f"{question}!"}]
        for question in questions
    ]
    path.write_text("\n".join(json.dumps({"messages": messages}) for messages in turns))
    return path


def overlapping(model: Path, folder: Path, **dataset: Any) -> Any:
    train = rows(folder / "train.jsonl", "one", "two", "three")
    held_out = rows(folder / "held_out.jsonl", "four", " TWO ", "three")
    held_out_of = {"path": str(held_out), "fraction": None}
    sections = {"dataset": dataset, "validation_dataset": held_out_of}
    return tiny_config(model, train, folder / "run", **sections)


def test_rows_that_are_trained_on_cannot_be_held_out(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        prepare_data(overlapping(model, tmp_path), load_tokenizer(model))
    message = str(caught.value)
    assert "2 of 3 held-out traces" in message
    assert f"{tmp_path}/held_out.jsonl:1 = {tmp_path}/train.jsonl:1 (normalised)" in message
    assert f"{tmp_path}/held_out.jsonl:2 = {tmp_path}/train.jsonl:2 (exact)" in message
    assert "allow_overlap" in (caught.value.fix or "")


def test_an_allowed_overlap_is_listed_in_the_split(model: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(model)
    data = prepare_data(overlapping(model, tmp_path, allow_overlap=True), tokenizer)
    assert [overlap.kind for overlap in data.overlaps] == ["normalised", "exact"]
    write_run_facts(tmp_path, data, tokenizer)
    listed = json.loads((tmp_path / "split.json").read_text())["allowed_overlaps"]
    assert [overlap["held_out"] for overlap in listed] == [key.id for key in data.held_out.keys[1:]]
