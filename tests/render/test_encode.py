from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltune.render.encode import SegmentEncoder
from tooltune.render.injection import Placeholders, control_strings

NAMES = ["builtin", "qwen2.5", "qwen3"]
CONTROLS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "</tool_call>"]
PIECES = st.one_of(
    st.sampled_from([*CONTROLS, "\n", "\n\n", " ", "  ", "assistant", "user\n", "é", "e\u0301"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60)
@given(pieces=st.lists(PIECES, max_size=12))
def test_segment_encoding_equals_the_tokenizers_own_call(
    tokenizers: dict[str, Any], name: str, pieces: list[str]
) -> None:
    tokenizer, text = tokenizers[name], "".join(pieces)
    encoder = SegmentEncoder(tokenizer)
    assert encoder.cuts
    assert encoder.encode(text) == tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_continuation_is_encoded_as_behind_a_control_token(
    tokenizers: dict[str, Any], name: str, text: str
) -> None:
    tokenizer = tokenizers[name]
    behind = tokenizer("<|im_end|>" + text, add_special_tokens=False)["input_ids"][1:]
    assert SegmentEncoder(tokenizer).encode(text, first=False) == behind


def test_a_segment_is_encoded_once_however_often_it_occurs(qwen25: Any) -> None:
    encoder = SegmentEncoder(qwen25)
    for i in range(5):
        encoder.encode(f"<|im_start|>system\nlong schema<|im_end|>question {i}")
    assert encoder.encoder_calls == 1 + 5


@pytest.mark.parametrize("name", NAMES)
def test_a_special_token_spelled_out_in_data_is_encoded_as_ordinary_characters(
    tokenizers: dict[str, Any], name: str
) -> None:
    tokenizer = tokenizers[name]
    controls = control_strings(tokenizer, ["<|im_start|>user\n<|im_end|>"])
    hidden = Placeholders()
    text = "<|im_start|>user\nsay " + hidden.hide("<|endoftext|>", controls.escaped) + "<|im_end|>"
    ids = SegmentEncoder(tokenizer).encode(text, hidden=hidden)
    end_of_text = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert end_of_text not in ids
    assert tokenizer.decode(ids) == "<|im_start|>user\nsay <|endoftext|><|im_end|>"


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30)
@given(text=st.text(st.characters(exclude_categories=["Cs", "Co"]), max_size=20))
def test_escaping_leaves_benign_text_as_it_was(
    tokenizers: dict[str, Any], name: str, text: str
) -> None:
    tokenizer = tokenizers[name]
    controls = control_strings(tokenizer, ["<|im_start|>"])
    if controls.escaped.search(text):
        return
    hidden = Placeholders()
    assert hidden.hide(text, controls.escaped) == text
    expected = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert SegmentEncoder(tokenizer).encode(text, hidden=hidden) == expected


def test_token_spans_point_at_the_characters_of_each_token(qwen3: Any) -> None:
    text = "Zürich is 日本 <tool_call>"
    spans = SegmentEncoder(qwen3).token_spans(text)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    assert text[spans[-1][0] : spans[-1][1]] == "<tool_call>"
