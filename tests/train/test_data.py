"""The data of a run: prepared once, and told about without being decoded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.train.tiny_run import tiny_config, write_traces
from tooltune.config.schema import Config
from tooltune.render.forest import merge_turns
from tooltune.render.turns import Renderer
from tooltune.train.batches import CPU_COST, pack, pack_in_parts
from tooltune.train.data import prepare_data, render_spec

MODEL = "builtin:smollm2-135m-instruct"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """24 rows and one whose text no template can render; a quarter is held out."""
    data = write_traces(tmp_path / "traces.jsonl", 24)
    said = [{"role": "user", "content": "<|im_end|>"}, {"role": "assistant", "content": "no"}]
    data.write_text(data.read_text() + json.dumps({"messages": said}) + "\n")
    return tiny_config(Path(MODEL), data, tmp_path / "run")


def test_a_second_start_has_the_same_data_and_renders_only_the_probe(
    config: Config, builtin_tokenizer: Any
) -> None:
    probe = Renderer(builtin_tokenizer, render_spec(config, builtin_tokenizer)).template.renders
    first = prepare_data(config, builtin_tokenizer, date="2026-01-01")
    again = prepare_data(config, builtin_tokenizer, date="2026-01-02")
    assert first.renderer.template.renders > again.renderer.template.renders == probe
    for name in ("train", "held_out", "samples"):
        assert list(getattr(first, name)) == list(getattr(again, name))
    assert first.ledger == again.ledger
    assert (first.rows_read, first.counts) == (again.rows_read, again.counts)
    assert again.rows_accepted == len(again.train) + len(again.held_out) == 24


def test_sizes_told_without_decoding_are_those_of_the_traces(
    config: Config, builtin_tokenizer: Any
) -> None:
    data = prepare_data(config, builtin_tokenizer)
    rows = list(data.train)
    forests = [merge_turns(row.trained_turns) for row in rows]
    assert data.train.forest_tokens.tolist() == [len(forest) for forest in forests]
    assert data.train.flat_tokens.tolist() == [forest.flat_tokens for forest in forests]
    assert data.train.lengths.tolist() == [row.length for row in rows]
    assert data.train.targets.tolist() == [sum(t.n_targets for t in row.turns) for row in rows]
    assert [key.id for key in data.train.keys] == [row.trace.id for row in rows]
    assert list(data.train[3:7:2]) == rows[3:7:2]
    assert data.train[-1] == rows[-1]


def test_the_split_does_not_depend_on_what_a_template_can_render(
    config: Config, builtin_tokenizer: Any
) -> None:
    last = config.model_copy(update={"dataset": config.dataset.model_copy()})
    few = config.dataset.model_copy(update={"control_tokens": "escape"})
    all_rows = prepare_data(last.model_copy(update={"dataset": few}), builtin_tokenizer)
    some = prepare_data(last, builtin_tokenizer)
    assert len(all_rows.train) + len(all_rows.held_out) == 25
    held_out = {key.id for key in all_rows.held_out.keys}
    assert {key.id for key in some.held_out.keys} <= held_out
    assert not {key.id for key in some.train.keys} & held_out


def test_one_source_read_twice_gives_its_traces_two_names(
    config: Config, tmp_path: Path, builtin_tokenizer: Any
) -> None:
    extra = write_traces(tmp_path / "extra.jsonl", 2, split="unseen_tools")
    sets = {"one": {"path": str(extra)}, "two": {"path": str(extra)}}
    config = tiny_config(
        Path(MODEL),
        Path(str(config.dataset.path)),
        tmp_path / "run",
        tool_call_eval={"extra_datasets": sets},
    )
    samples = prepare_data(config, builtin_tokenizer).samples
    ids = [sample.sample_id for sample in samples]
    assert len(set(ids)) == len(ids)
    for sample in samples:
        assert sample.turn is not None
        assert sample.turn.trace_id == sample.trace.id


def test_packing_in_parts_packs_every_trace_once(config: Config, builtin_tokenizer: Any) -> None:
    rows = prepare_data(config, builtin_tokenizer).train
    whole, parts = pack(rows, CPU_COST), list(pack_in_parts(rows, CPU_COST, part=5))
    assert list(pack_in_parts(rows, CPU_COST)) != []
    assert sum(b.forest.total_weight for b in parts) == sum(b.forest.total_weight for b in whole)
    turns = sorted((t.trace_id, t.index) for b in parts for t in b.turns)
    assert turns == sorted((t.trace_id, t.index) for b in whole for t in b.turns)
