"""The self-test passes an export that is the checkpoint, and only such a one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cli.conftest import TinyRun
from tooltune.errors import UserError
from tooltune.export.run import Exported, export_model
from tooltune.export.same_calls import (
    Question,
    compare_calls,
    data_questions,
    recorded_questions,
)
from tooltune.export.source import Source, find_source


def compared(
    source: Source, exported: Exported, questions: list[Question], *, tokens: int = 8
) -> dict[str, Any]:
    return compare_calls(
        source,
        exported.folder,
        questions,
        adapter=exported.adapter,
        call_format="hermes",
        max_new_tokens=tokens,
    )


@pytest.fixture
def source(run: TinyRun) -> Source:
    return find_source(run.folder)


@pytest.mark.parametrize("adapter", [False, True])
def test_model_and_adapter_answer_as_the_checkpoint_token_for_token(
    adapter: bool, source: Source, tmp_path: Path
) -> None:
    exported = export_model(source, tmp_path / "out", adapter=adapter)
    assert source.run is not None
    questions, where = recorded_questions(source.run, 4)
    assert where == "eval/final"
    result = compared(source, exported, questions)
    assert result["passed"]
    assert result["prompts"] == len(questions) > 1
    assert result["same_tokens"] == result["same_prompts"] == result["prompts"]


def test_other_weights_are_noticed(
    source: Source, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = export_model(source, tmp_path / "out")
    file = exported.folder / "model.safetensors"
    weights = load_file(file)
    torch.manual_seed(1)
    save_file({k: torch.randn_like(v) for k, v in weights.items()}, file, {"format": "pt"})
    # A tiny random model calls nothing: every answer that it gives is read as a call here.
    monkeypatch.setattr("tooltune.export.same_calls.parse_turn", everything_is_a_call)
    result = compared(source, exported, data_questions({"path": str(data)}, 3))
    assert not result["passed"]
    assert result["same_tokens"] < result["prompts"]
    assert result["same_prompts"] == result["prompts"]
    assert result["differences"][0]["sample_id"]


def everything_is_a_call(text: str, **_: Any) -> Any:
    from tooltune.toolcalls.types import ParsedToolCall, ParsedTurn

    call = ParsedToolCall(name=text, arguments={}, arguments_valid_json=True, raw=text)
    return ParsedTurn(calls=(call,), content="", reasoning=None, format="hermes")


def test_another_template_in_the_export_shows_in_the_prompts(
    source: Source, tmp_path: Path
) -> None:
    exported = export_model(source, tmp_path / "out")
    assert source.run is not None
    questions, _ = recorded_questions(source.run, 2)
    template = exported.folder / "chat_template.jinja"
    template.write_text("{{ 'x' }}" + template.read_text())
    result = compared(source, exported, questions)
    assert result["same_prompts"] == 0 < result["prompts"]


def test_a_run_that_evaluated_nothing_asks_for_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--selftest"):
        recorded_questions(tmp_path, 3)


def test_questions_are_spread_over_the_data(data: Path) -> None:
    few = data_questions({"path": str(data)}, 3)
    every = data_questions({"path": str(data)}, 10_000)
    assert len(few) == 3
    assert [q.sample_id for q in few] == [every[i * len(every) // 3].sample_id for i in range(3)]
