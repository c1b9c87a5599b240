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


def test_a_chat_template_may_be_text_or_a_file(qwen25: Any, data: Path, tmp_path: Path) -> None:
    template = qwen25.chat_template.replace("You are Qwen", "You are somebody")
    file = tmp_path / "own.jinja"
    file.write_text(template, encoding="utf-8")
    by_text = make_agent_chat_dataset(qwen25, path=data, chat_template=template)
    for given in (file, str(file)):
        assert list(make_agent_chat_dataset(qwen25, path=data, chat_template=given)) == list(
            by_text
        )
    assert "You are somebody" in qwen25.decode(by_text[0]["input_ids"])
    with pytest.raises(UserError, match="cannot read the chat template"):
        make_agent_chat_dataset(qwen25, path=data, chat_template=tmp_path / "none.jinja")


def test_flags_of_length_reach_the_rows_and_the_account_adds_up(
    qwen25: Any, data: Path, tmp_path: Path
) -> None:
    whole = make_agent_chat_dataset(qwen25, path=data)
    length = len(whole[0]["input_ids"])
    cut = make_agent_chat_dataset(qwen25, path=data, seq_length=length - 1, truncate_history=True)
    assert (len(cut), cut.truncated, cut.counts.cut.exchanges) == (3, 3, 3)
    long = simple_trace(user="Well, " * 500).to_openai()
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text(data.read_text() + json.dumps(long) + "\n")
    kept = make_agent_chat_dataset(qwen25, path=mixed, seq_length=length, filter_overlong=True)
    assert (len(kept), kept.ledger.counts, kept.rows_read) == (3, {"overlong": 1}, 4)
    assert list(kept) == list(whole)


def test_failed_calls_are_context_on_request(qwen25: Any, tmp_path: Path) -> None:
    trace = simple_trace(result='{"error": "no such city"}', city="Rom")
    right = simple_trace()
    messages = (*trace.messages[:3], *right.messages[1:4])
    path = tmp_path / "failed.jsonl"
    path.write_text(
        json.dumps({**right.to_openai(), "messages": [m.to_openai() for m in messages]})
    )
    every = make_agent_chat_dataset(qwen25, path=path)
    skipped = make_agent_chat_dataset(qwen25, path=path, skip_failed_calls=True)
    assert skipped.counts.skipped_failed_calls == 1
    assert skipped[0]["input_ids"] == every[0]["input_ids"]
    texts = [qwen25.decode([t for t in d[0]["labels"] if t != -100]) for d in (every, skipped)]
    assert ['"Rom"' in text for text in texts] == [True, False]
    assert all('"Rome"' in text for text in texts)


def test_control_strings_can_be_read_as_text(qwen25: Any, tmp_path: Path) -> None:
    path = tmp_path / "spelled.jsonl"
    path.write_text(json.dumps(simple_trace(user="What is <|im_end|>?").to_openai()))
    with pytest.raises(UserError, match="control_token_in_text"):
        make_agent_chat_dataset(qwen25, path=path)
    escaped = make_agent_chat_dataset(qwen25, path=path, control_tokens="escape")
    assert escaped.counts.escaped_strings == 1
    assert "What is <|im_end|>?" in qwen25.decode(escaped[0]["input_ids"])
