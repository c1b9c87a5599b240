"""`tooltune init` and `tooltune schema`: a config that works, and what may stand in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.command import refused, succeeds
from tooltune.config.initial import DataFacts, initial_config
from tooltune.config.jsonschema import json_schema
from tooltune.config.load import load_config
from tooltune.config.yamlfile import parse_yaml

EXAMPLES = sorted(Path(__file__).parents[2].glob("examples/*.yaml"))


def test_the_config_that_init_writes_loads_and_names_the_data(
    model: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine.yaml"
    printed = succeeds("init", data, "--model", model, "--out", out)
    config = load_config(out)
    assert config.dataset.path == str(data)
    assert config.model.pretrained_model_name_or_path == str(model)
    assert config.output_dir == "runs/mine"
    assert f"tooltune train {out}" in printed.out
    text = out.read_text()
    assert text.splitlines()[0].startswith("# ")
    assert "openai: " in text.splitlines()[0]  # how the rows were read, and why


def test_init_never_overwrites_a_config(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    out.write_text("precious")
    assert "exists" in refused("init", data, "--model", model, "--out", out)
    assert out.read_text() == "precious"


@given(
    traces=st.integers(1, 2_000_000),
    groups=st.integers(1, 3),
    call_turns=st.integers(0, 5_000_000),
    answer=st.integers(0, 100_000),
    why=st.text(max_size=40),
)
def test_any_facts_give_a_config_that_loads(
    traces: int,
    groups: int,
    call_turns: int,
    answer: int,
    why: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    facts = DataFacts(
        source={"path": "a: b #.jsonl"},
        model="owner/name",
        formats={"openai": why},
        rows_read=traces + 1,
        traces=traces,
        groups=min(traces, groups),
        call_turns=call_turns,
        answer_tokens=answer,
        longest_tokens=answer + 10,
        kwargs={"enable_thinking": False},
        kwargs_reason=why,
    )
    path = tmp_path_factory.mktemp("init") / "c.yaml"
    path.write_text(initial_config(facts, "runs/x"), encoding="utf-8")
    config = load_config(path)
    assert config.dataset.path == "a: b #.jsonl"
    assert config.model.chat_template_kwargs == {"enable_thinking": False}
    assert (config.validation_dataset is None) == (facts.groups == 1)
    if config.validation_dataset is None:
        assert not config.tool_call_eval.enabled
        return
    assert config.tool_call_eval.max_new_tokens >= answer
    assert 0.05 <= (config.validation_dataset.fraction or 0) <= 0.25


def _valid(values: Any) -> bool:
    return jsonschema.Draft202012Validator(json_schema()).is_valid(values)


def test_the_schema_is_a_schema_and_describes_every_key() -> None:
    schema = json.loads(succeeds("schema").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    bare = [
        f"{name}.{key}"
        for name, part in {"Config": schema, **schema["$defs"]}.items()
        for key, value in part["properties"].items()
        if not value.get("description")
    ]
    assert bare == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_valid_under_the_schema(path: Path) -> None:
    values = parse_yaml(path.read_text(), str(path)).values
    assert _valid(values)


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"model": {"pretrained_model_name_or_path": "m"}}, True),
        ({"peft": {"dim": 8}}, True),
        ({"optimizer": None}, True),
        ({"optimizer": {"learning_rate": 1}}, False),
        ({"optimiser": {}}, False),
        ({"model": None}, False),
        ({"seed": "a"}, False),
        ({"peft": {"dim": 0}}, False),
    ],
)
def test_the_schema_agrees_with_the_loader(change: Any, valid: bool, tmp_path: Path) -> None:
    values = {"model": "m", "dataset": {"path": "f.jsonl"}, **change}
    assert _valid(values) is valid
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps(values))
    try:
        load_config(path)
    except ValueError:
        assert not valid
    else:
        assert valid


def test_one_conversation_gives_a_config_that_holds_nothing_out(
    model: Path, data: Path, tmp_path: Path
) -> None:
    one = tmp_path / "one.jsonl"
    one.write_text(data.read_text().splitlines()[0] + "\n")
    succeeds("init", one, "--model", model, "--out", tmp_path / "one.yaml")
    assert load_config(tmp_path / "one.yaml").validation_dataset is None
    succeeds("check", tmp_path / "one.yaml")


def test_what_init_cannot_write_is_said_before_anything_is_read(
    model: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "no" / "mine.yaml"
    assert "mkdir -p" in refused("init", data, "--model", model, "--out", out)
    assert "is a config already" in refused("init", tmp_path / "my.yaml", "--model", model)


def test_a_config_for_a_glob_is_named_without_its_wildcards() -> None:
    from tooltune.cli.init import _stem

    names = ["logs/run-*.jsonl", "*.jsonl", "traces.jsonl.gz", "owner/traces"]
    assert [_stem(name) for name in names] == ["run", "tooltune", "traces", "traces"]
