"""`make_agent_chat_dataset`, as the reference's first step calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.render.strategies import simple_trace
from tooltune import make_agent_chat_dataset
from tooltune.errors import UserError
from tooltune.render.forest import merge_turns
from tooltune.render.sequences import flatten_turns
from tooltune.render.turns import Renderer

KEYS = ["input_ids", "labels", "attention_mask", "___PAD_TOKEN_IDS___"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "traces.jsonl"
    rows = [simple_trace(city=city).to_openai() for city in ("Rome", "Oslo", "Lima")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.needs_data
def test_the_references_first_step_works(qwen25: Any, shared_data: Path) -> None:
    dataset = make_agent_chat_dataset(
        tokenizer=qwen25, path=shared_data, split="train[:100]", seq_length=4096, truncation=True
    )
    item = dataset[0]
    assert list(item) == KEYS
    assert len(dataset) == 100
    share = sum(label != -100 for item in dataset for label in item["labels"]) / sum(
        len(item["labels"]) for item in dataset
    )
    assert 0.2 < share < 0.7


def test_labels_are_unshifted_and_hold_the_assistants_tokens_only(qwen25: Any, data: Path) -> None:
    item = make_agent_chat_dataset(qwen25, path=data)[0]
    pairs = list(zip(item["input_ids"], item["labels"], strict=True))
    assert all(label in (-100, token) for token, label in pairs)
    trained = qwen25.decode([label for _, label in pairs if label != -100])
    assert trained == (
        '<tool_call>\n{"name": "get_time", "arguments": {"city": "Rome"}}\n</tool_call><|im_end|>'
        "It is 12:30.<|im_end|>You are welcome.<|im_end|>"
    )
    assert item["attention_mask"] == [1] * len(item["input_ids"])


def test_a_template_that_rewrites_history_gives_one_item_per_branch(qwen3: Any, data: Path) -> None:
    dataset = make_agent_chat_dataset(qwen3, path=data, limit_dataset_samples=1)
    assert len(dataset) == 3
    trained = [qwen3.decode([t for t in item["labels"] if t != -100]) for item in dataset]
    assert [text.count("<|im_end|>") for text in trained] == [1, 1, 1]


@pytest.mark.parametrize("name", ["builtin", "qwen2.5", "qwen3"])
def test_flat_sequences_and_the_forest_hold_the_same_targets(
    tokenizers: dict[str, Any], name: str
) -> None:
    turns = Renderer(tokenizers[name]).render(simple_trace()).turns
    forest = merge_turns(turns)
    assert sum(s.n_targets for s in flatten_turns(turns)) == sum(t.n_targets for t in turns)
    assert forest.total_weight == sum(t.n_targets for t in turns)


def test_padding_fills_to_seq_length_with_values_that_carry_nothing(
    qwen25: Any, data: Path
) -> None:
    item = make_agent_chat_dataset(qwen25, path=data, seq_length=600, padding="max_length")[0]
    assert {len(item[key]) for key in KEYS[:3]} == {600}
    assert item["labels"][-1] == -100
    assert item["attention_mask"][-1] == 0
    assert item["input_ids"][-1] == qwen25.pad_token_id == item[KEYS[3]]["input_ids"]


def test_truncation_cuts_to_seq_length_and_counts_what_it_cut(qwen25: Any, data: Path) -> None:
    whole = make_agent_chat_dataset(qwen25, path=data)
    length = len(whole[0]["input_ids"]) - 5
    cut = make_agent_chat_dataset(qwen25, path=data, seq_length=length, truncation=True)
    assert cut.truncated == 3
    assert all(len(item["input_ids"]) <= length for item in cut)


def test_seq_length_alone_has_no_effect_and_says_so(
    qwen25: Any, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = make_agent_chat_dataset(qwen25, path=data)
    same = make_agent_chat_dataset(qwen25, path=data, seq_length=10)
    assert list(same) == list(whole)
    assert "no effect" in caplog.text


def test_a_template_that_ignores_tools_leaves_nothing_and_says_why(qwen25: Any, data: Path) -> None:
    template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    with pytest.raises(UserError, match="template_ignores_tools"):
        make_agent_chat_dataset(qwen25, path=data, chat_template=template)
