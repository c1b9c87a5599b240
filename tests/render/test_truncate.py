"""Rows that are too long, unanswered or without an assistant: what goes, and its account."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.render.strategies import renderable_traces, simple_trace
from tooltune.errors import UserError
from tooltune.evaluate.prepare import render_samples
from tooltune.evaluate.samples import select_samples
from tooltune.render.representable import RowRejected
from tooltune.render.spec import RenderSpec
from tooltune.render.truncate import exchange_starts
from tooltune.render.turns import RenderedTrace, Renderer
from tooltune.traces.types import Message, Trace


@pytest.fixture(scope="module")
def plain(qwen25: Any) -> Renderer:
    return Renderer(qwen25)


def render(tokenizer: Any, trace: Trace, **flags: Any) -> RenderedTrace:
    return _renderer(tokenizer, **flags).render(trace)


def _renderer(tokenizer: Any, **flags: Any) -> Renderer:
    return Renderer(tokenizer, RenderSpec(**flags))


def long_trace(exchanges: int, *, system: bool = True) -> Trace:
    """So many questions, each with a call, its result and an answer."""
    trace = simple_trace()
    messages = [Message("system", "Be brief.")] if system else []
    for i in range(exchanges):
        messages += [Message("user", f"Question {i}?"), *trace.messages[1:3]]
        messages.append(Message("assistant", f"Answer {i}."))
    return Trace(tuple(messages), trace.tools)


def test_whole_oldest_exchanges_go_and_system_tools_and_the_last_exchange_stay(
    qwen25: Any, plain: Renderer
) -> None:
    trace = long_trace(6)
    shorter = plain.render(long_trace(3))
    row = render(qwen25, trace, seq_length=shorter.length, truncate_history=True)
    assert (row.cut.exchanges, row.cut.turns) == (3, 6)
    assert row.cut.tokens == plain.render(trace).length - row.length
    last = row.turns[-1]
    assert "Be brief." in last.prompt_text
    assert "Question 2?" not in last.prompt_text
    assert "Question 3?" in last.prompt_text
    assert "get_time" in last.prompt_text.partition("Question")[0]
    # Indices are those of the whole trace: samples and reports find their messages by them.
    assert [trace.messages[turn.index].role for turn in row.turns] == ["assistant"] * 6
    assert trace.messages[last.index].content == "Answer 5."


@settings(max_examples=15)
@given(trace=renderable_traces(), share=st.floats(0.3, 1.0))
def test_what_is_kept_fits_and_is_the_whole_trace_less_its_oldest_exchanges(
    qwen25: Any, plain: Renderer, trace: Trace, share: float
) -> None:
    try:
        whole = plain.render(trace)
    except RowRejected:
        assume(False)
    limit = max(1, int(whole.length * share))
    renderer = _renderer(qwen25, seq_length=limit, truncate_history=True)
    try:
        row = renderer.render(trace)
    except RowRejected as rejection:
        assert rejection.code == "overlong"
        return
    assert row.length <= limit
    starts = exchange_starts(trace.messages)
    first = starts[row.cut.exchanges]
    kept = [i for i, m in enumerate(trace.messages) if i >= first or m.role == "system"]
    expected = plain.render(replace(trace, messages=tuple(trace.messages[i] for i in kept)))
    assert [t.prompt_ids for t in row.turns] == [t.prompt_ids for t in expected.turns]
    if row.cut.exchanges:  # one fewer would not have fitted
        first = starts[row.cut.exchanges - 1]
        more = [i for i, m in enumerate(trace.messages) if i >= first or m.role == "system"]
        longer = plain.render(replace(trace, messages=tuple(trace.messages[i] for i in more)))
        assert longer.length > limit
    assert bool(row.cut) == (whole.length > limit) == bool(renderer.counts.truncated_rows)


def test_truncation_drops_whole_turns_and_never_cuts_an_answer(
    qwen25: Any, plain: Renderer
) -> None:
    trace = long_trace(4)
    whole = plain.render(trace)
    limit = whole.turns[4].length + 3
    row = render(qwen25, trace, seq_length=limit, truncation=True)
    assert row.turns == whole.turns[:5]
    assert (row.cut.exchanges, row.cut.turns) == (0, 3)
    assert row.cut.tokens == whole.length - row.length
    stops = _renderer(qwen25).stop_ids
    assert all(turn.completion_ids[-1] in stops for turn in row.turns)


@pytest.mark.parametrize(
    "flags", [{"filter_overlong": True}, {"truncation": True}, {"truncate_history": True}]
)
def test_what_cannot_fit_is_rejected_as_overlong(qwen25: Any, flags: dict[str, bool]) -> None:
    with pytest.raises(RowRejected, match="overlong") as caught:
        render(qwen25, long_trace(1), seq_length=20, **flags)
    assert "seq_length=20" in caught.value.reason


def test_filter_overlong_keeps_what_fits_and_what_older_exchanges_make_fit(qwen25: Any) -> None:
    trace = long_trace(4)
    length = _renderer(qwen25).render(trace).length
    assert not render(qwen25, trace, seq_length=length, filter_overlong=True).cut
    with pytest.raises(RowRejected, match="overlong"):
        render(qwen25, trace, seq_length=length - 1, filter_overlong=True)
    flags = {"filter_overlong": True, "truncate_history": True}
    assert render(qwen25, trace, seq_length=length - 1, **flags).cut.exchanges == 1


def test_flags_that_need_a_length_say_so() -> None:
    with pytest.raises(UserError, match="truncate_history"):
        RenderSpec(truncate_history=True)


def test_seq_length_alone_cuts_nothing(qwen25: Any, plain: Renderer) -> None:
    trace = long_trace(2)
    assert render(qwen25, trace, seq_length=10).turns == plain.render(trace).turns


def test_a_template_that_rewrites_history_is_measured_by_its_longest_turn(qwen3: Any) -> None:
    trace = long_trace(4)
    whole = Renderer(qwen3).render(trace)
    limit = max(turn.length for turn in whole.turns) - 1
    row = render(qwen3, trace, seq_length=limit, truncate_history=True)
    assert max(turn.length for turn in row.turns) <= limit
    assert row.cut.exchanges == 1


def test_evaluation_prompts_are_those_trained_and_cut_turns_are_no_silent_gap(
    qwen25: Any,
) -> None:
    trace = long_trace(4)
    length = _renderer(qwen25).render(long_trace(2)).length
    renderer = _renderer(qwen25, seq_length=length, truncate_history=True)
    row = renderer.render(trace)
    samples = select_samples([row])
    trained = {turn.index: turn for turn in row.turns}
    assert samples
    assert all(sample.turn == trained[sample.turn_index] for sample in samples)
    everything = render_samples([trace], renderer, include_abstain=False)
    assert [s.skip_reason for s in everything] == ["overlong", "overlong", None, None]


def test_what_nobody_answers_is_trimmed_off_the_end_on_request(qwen25: Any) -> None:
    trace = simple_trace()
    call = trace.messages[1]
    for extra in (
        (Message("user", "Hello?"),),
        (Message("user", "Hello?"), Message("assistant", "")),
    ):
        longer = replace(trace, messages=(*trace.messages, *extra))
        renderer = _renderer(qwen25, trim_incomplete_last_turn=True)
        assert renderer.render(longer).trace.messages == trace.messages
        assert renderer.counts.trimmed_messages == len(extra)
    # A call whose result the log lacks is an answer all the same.
    open_end = replace(trace, messages=(*trace.messages, Message("user", "And now?"), call))
    row = render(qwen25, open_end, trim_incomplete_last_turn=True)
    assert row.trace.messages == open_end.messages


def test_rows_without_an_assistant_turn_have_a_code_of_their_own_on_request(qwen25: Any) -> None:
    for messages in (
        (Message("user", "Hi"),),
        (Message("assistant", "Welcome!"), Message("user", "Hi")),
    ):
        with pytest.raises(RowRejected, match="filtered_no_assistant"):
            render(qwen25, Trace(messages), filter_no_assistant=True)
        with pytest.raises(RowRejected, match="no_targets"):
            render(qwen25, Trace(messages))


def test_exchanges_go_where_the_last_one_is_context_only(qwen25: Any, plain: Renderer) -> None:
    trace = long_trace(4)
    *earlier, question, call, result, answer = trace.messages
    context = [replace(message, weight=0.0) for message in (call, answer)]
    messages = (*earlier, question, context[0], result, context[1])
    trace = replace(trace, messages=messages)
    length = plain.render(trace).length
    row = render(qwen25, trace, seq_length=length - 1, truncate_history=True)
    assert row.cut.exchanges == 1
    assert len(row.trained_turns) == 4
