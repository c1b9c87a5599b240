"""Traces: deeply immutable, equal by value, and written in OpenAI form."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given

from tests.traces.strategies import json_values, traces
from tooltune.traces import Message, Tool, ToolCall, Trace
from tooltune.traces.frozen import freeze, thaw


@given(json_values())
def test_frozen_values_equal_plain_ones_and_print_the_same(value: object) -> None:
    frozen = freeze(value)
    assert frozen == value == thaw(frozen)
    assert json.dumps(frozen) == json.dumps(value)
    assert hash(frozen) == hash(freeze(value))


@given(traces())
def test_traces_survive_copies_and_pickling(trace: Trace) -> None:
    assert pickle.loads(pickle.dumps(trace)) == copy.deepcopy(trace) == trace


def test_arguments_cannot_be_changed_from_within_or_without() -> None:
    given_arguments = {"a": [1, {"b": 2}]}
    call = ToolCall("f", given_arguments)
    given_arguments["a"].append(3)
    assert call.arguments == {"a": [1, {"b": 2}]}
    for change in (
        lambda: call.arguments.update(x=1),  # type: ignore[attr-defined]
        lambda: call.arguments["a"].append(1),
        lambda: call.arguments["a"][1].pop("b"),
    ):
        with pytest.raises(TypeError, match="immutable"):
            change()


def test_what_to_openai_returns_may_be_changed() -> None:
    trace = Trace((Message("user", "?"), Message("assistant", None, (ToolCall("f", {"a": [1]}),))))
    row = trace.to_openai()
    row["messages"][1]["tool_calls"][0]["function"]["arguments"]["a"].append(2)
    assert trace.messages[1].tool_calls[0].arguments == {"a": [1]}


def test_the_id_tells_contents_apart_and_not_where_they_were_read() -> None:
    messages = (Message("user", "?"), Message("assistant", "!"))
    trace = Trace(messages)
    assert trace.id == trace.group == trace.content_id
    assert Trace(messages, id="x", group="y").content_id == trace.content_id
    assert Trace(messages, (Tool({"name": "f"}),)).content_id != trace.content_id
    assert Trace((*messages, Message("user", "?"))).content_id != trace.content_id


def test_a_leading_assistant_message_is_no_turn() -> None:
    turns = (Message("assistant", "Hi"), Message("user", "?"), Message("assistant", "!"))
    assert Trace(turns).turns == (2,)
