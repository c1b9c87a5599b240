"""Invariants 1 to 4 of the design, held against transformers' own calls, never our renderer."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.render.strategies import renderable_traces, simple_trace
from tests.traces.strategies import traces as any_traces
from tooltune.render.encode import SegmentEncoder
from tooltune.render.representable import RowRejected
from tooltune.render.turns import RenderedTrace, Renderer, render_traces
from tooltune.toolcalls.parse import parse_turn
from tooltune.traces.load import load_traces
from tooltune.traces.types import Message, ToolCall, Trace

NAMES = ["builtin", "qwen2.5", "qwen3"]


@pytest.fixture(scope="session")
def renderers(tokenizers: dict[str, Any]) -> dict[str, Renderer]:
    return {name: Renderer(tokenizer) for name, tokenizer in tokenizers.items()}


def reference_prompt_ids(tokenizer: Any, trace: Trace, index: int) -> tuple[int, ...]:
    row = trace.to_openai()
    text = tokenizer.apply_chat_template(
        row["messages"][:index],
        tools=row.get("tools"),
        add_generation_prompt=True,
        tokenize=False,
    )
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def check_exact(renderer: Renderer, rendered: RenderedTrace) -> None:
    tokenizer, trace = renderer.tokenizer, rendered.trace
    assert tuple(turn.index for turn in rendered.turns) == trace.turns
    for turn in rendered.turns:
        message = trace.messages[turn.index]
        # 1: the prompt is what inference feeds.
        assert turn.prompt_ids == reference_prompt_ids(tokenizer, trace, turn.index)
        # 2: the completion decodes and parses back to the message.
        text = tokenizer.decode(turn.completion_ids, skip_special_tokens=False)
        parsed = parse_turn(text, format="hermes")
        calls = [(call.name, dict(call.arguments)) for call in message.tool_calls]
        assert [(folded(c.name), folded(c.arguments)) for c in parsed.calls] == [
            (folded(name), folded(arguments)) for name, arguments in calls
        ]
        assert folded(parsed.content) == folded((message.content or "").strip())
        assert folded(parsed.reasoning or "") == folded((message.reasoning or "").strip())
        # 3: it ends in a stop, which occurs nowhere else in it.
        assert turn.completion_ids[-1] in renderer.stop_ids
        assert not set(turn.completion_ids[:-1]) & set(renderer.stop_ids)
        # 4: targets are completion tokens only, by construction of the type; all of them here.
        assert set(turn.weights) == {message.weight}


def folded(value: Any) -> Any:
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, dict):
        return {folded(key): folded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [folded(item) for item in value]
    return value


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(data=st.data())
def test_every_turn_is_trained_exactly_as_inference_sees_it(
    renderers: dict[str, Renderer], name: str, data: st.DataObject
) -> None:
    renderer = renderers[name]
    trace = data.draw(renderable_traces(reasoning=renderer.profile.reasoning))
    if name == "builtin":  # its vocabulary lacks some bytes: such rows are refused, see below
        assume("�" not in renderer.tokenizer.decode(spelled(renderer, trace)))
    check_exact(renderer, renderer.render(trace))


def spelled(renderer: Renderer, trace: Trace) -> list[int]:
    unknown = renderer.tokenizer.unk_token_id
    text = json.dumps(trace.to_openai(), ensure_ascii=False)
    ids = renderer.tokenizer(text, add_special_tokens=False)["input_ids"]
    assume(unknown not in ids)
    return list(ids)


def test_a_row_that_the_vocabulary_cannot_spell_is_refused(builtin_tokenizer: Any) -> None:
    with pytest.raises(RowRejected, match="text_not_reversible"):
        Renderer(builtin_tokenizer).render(simple_trace(answer="a\x16b"))


def test_argument_keys_that_the_normaliser_would_merge_refuse_the_row(qwen3: Any) -> None:
    call = ToolCall("f", {"\u00e9": 1, "e\u0301": 2})
    trace = Trace((Message("user", "Hi"), Message("assistant", tool_calls=(call,))))
    with pytest.raises(RowRejected, match="calls_not_recoverable"):
        Renderer(qwen3).render(trace)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.needs_data
def test_all_shared_rows_are_accepted_with_exact_targets(
    renderers: dict[str, Renderer], shared_data: Path, name: str
) -> None:
    traces = load_traces(shared_data)
    renderer = renderers[name]
    rendered = render_traces(renderer, traces, traces.ledger)
    assert (traces.rows_read, len(rendered), traces.ledger.rejections) == (300, 300, [])
    for row in rendered:
        check_exact(renderer, row)


def test_a_prompt_that_differs_from_inference_would_be_noticed(
    renderers: dict[str, Renderer],
) -> None:
    """The check above can fail: one changed prompt token breaks it."""
    renderer = renderers["builtin"]
    rendered = renderer.render(simple_trace())
    broken = replace(rendered.turns[0], prompt_ids=rendered.turns[0].prompt_ids[:-1])
    with pytest.raises(AssertionError):
        check_exact(renderer, replace(rendered, turns=(broken, *rendered.turns[1:])))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15)
@given(data=st.data())
def test_rendering_never_raises_anything_but_a_named_rejection(
    renderers: dict[str, Renderer], name: str, data: st.DataObject
) -> None:
    trace = data.draw(any_traces())
    try:
        rendered = renderers[name].render(trace)
    except RowRejected as rejection:
        assert rejection.code
        assert rejection.reason
        return
    assert any(turn.n_targets for turn in rendered.turns)


def test_a_row_whose_segments_do_not_add_up_is_encoded_whole_from_then_on(
    qwen25: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 1 does not rest on a tokenizer being made of independent segments."""
    renderer = Renderer(qwen25)
    segment = SegmentEncoder._segment

    def letter_by_letter(self: SegmentEncoder, text: str, *rest: Any) -> list[int]:
        return [token for letter in text for token in segment(self, letter, *rest)]

    monkeypatch.setattr(SegmentEncoder, "_segment", letter_by_letter)
    check_exact(renderer, renderer.render(simple_trace()))
    assert not renderer.encoder.cuts
