"""Every text of a trace is visited once, and only texts are changed."""

from __future__ import annotations

import json

from hypothesis import given

from tests.traces.strategies import traces
from tooltune.traces import Message, Tool, ToolCall, Trace
from tooltune.traces.texts import Text, map_texts, trace_texts

TRACE = Trace(
    (
        Message("user", "u"),
        Message("assistant", None, (ToolCall("c", {"k": ["v", 1, {"": "w"}]}, "i"),), "r"),
        Message("tool", "", tool_call_id="i", name="c"),
    ),
    (Tool({"name": "t", "parameters": {"enum": ["e", None]}}),),
    {"tool_choice": "auto"},
)


def test_texts_come_with_path_and_message() -> None:
    assert [(t.path, t.turn, t.text, t.label) for t in trace_texts(TRACE)] == [
        ("messages[0].content", 0, "u", False),
        ("messages[1].reasoning", 1, "r", False),
        ("messages[1].tool_calls[0].name", 1, "c", True),
        ("messages[1].tool_calls[0].arguments key", 1, "k", True),
        ("messages[1].tool_calls[0].arguments.k[0]", 1, "v", False),
        ("messages[1].tool_calls[0].arguments.k[2].", 1, "w", False),
        ("messages[1].tool_calls[0].id", 1, "i", True),
        ("messages[2].tool_call_id", 2, "i", True),
        ("messages[2].name", 2, "c", True),
        ("tools[0].name", None, "t", True),
        ("tools[0].parameters key", None, "enum", True),
        ("tools[0].parameters.enum[0]", None, "e", False),
        ("settings key", None, "tool_choice", True),
        ("settings.tool_choice", None, "auto", False),
    ]


@given(traces())
def test_a_change_reaches_every_text_and_nothing_else(trace: Trace) -> None:
    assert map_texts(trace, lambda text: text.text) == trace

    asked: list[Text] = []

    def marked(text: Text) -> str:
        asked.append(text)
        return f"§{text.text}"

    changed = map_texts(trace, marked)
    assert asked == list(trace_texts(trace))
    assert [t.text for t in trace_texts(changed)] == [f"§{t.text}" for t in trace_texts(trace)]
    back = map_texts(changed, lambda text: text.text[1:])
    assert json.dumps(back.to_openai()) == json.dumps(trace.to_openai())
