"""Traces that every Hermes-style template can say, in all the variety that it can."""

from __future__ import annotations

import unicodedata
from typing import Any

from hypothesis import strategies as st

from tooltune.traces.types import Message, Tool, ToolCall, Trace

# Any text but surrogates, NUL, the stand-ins' private-use area, and `<` (control strings have
# tests of their own). Text at a turn's edges is compared without its white space.
_CHARACTERS = st.characters(
    exclude_categories=["Cs", "Co", "Cc", "Cn"], exclude_characters="<[|", max_codepoint=0x1FFFF
)
_WORDS = st.sampled_from(["Zürich", '"quoted"', "a\nb", "{brace}", "日本", "e\u0301", "x" * 30])
TEXT = st.one_of(st.text(_CHARACTERS, min_size=1, max_size=20), _WORDS)
NAMES = st.sampled_from(["get_time", "search-mail", "météo", "a.b"])
# Two keys that differ only in normal form would be one to a normaliser: refused, tested apart.
_KEYS = TEXT.map(lambda key: unicodedata.normalize("NFC", key))
_NUMBERS = st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9).map(lambda x: round(x, 4))
_VALUES = st.recursive(
    st.none() | st.booleans() | _NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(_KEYS, _VALUES, max_size=3)


@st.composite
def renderable_traces(draw: st.DrawFn, *, reasoning: bool = False) -> Trace:
    """Rounds of calls (parallel or not, with or without text) and answers, after user turns."""
    thought = st.none() | TEXT.filter(str.strip) if reasoning else st.none()
    messages: list[Message] = []
    if draw(st.booleans()):
        messages.append(Message("system", draw(TEXT)))
    for _ in range(draw(st.integers(1, 2))):
        messages.append(Message("user", draw(TEXT)))
        for _ in range(draw(st.integers(0, 2))):
            names = draw(st.lists(NAMES, min_size=1, max_size=2))
            calls = tuple(ToolCall(name, draw(ARGUMENTS)) for name in names)
            content = draw(st.none() | TEXT)
            messages.append(Message("assistant", content, calls, reasoning=draw(thought)))
            messages += [Message("tool", draw(TEXT), name=call.name) for call in calls]
        messages.append(Message("assistant", draw(TEXT), reasoning=draw(thought)))
    tools = tuple(Tool(_function(name)) for name in draw(st.lists(NAMES, max_size=2)))
    return Trace(tuple(messages), tools)


def _function(name: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
    return {"name": name, "description": "Does a thing.", "parameters": schema}


def simple_trace(**changes: Any) -> Trace:
    """One question, one call, its result, the answer, thanks, and a last word."""
    messages = (
        Message("user", changes.get("user", "What time is it in Rome?")),
        Message(
            "assistant",
            tool_calls=(ToolCall("get_time", {"city": changes.get("city", "Rome")}),),
            reasoning=changes.get("reasoning"),
        ),
        Message("tool", changes.get("result", '{"time": "12:30"}'), name="get_time"),
        Message(
            "assistant", changes.get("answer", "It is 12:30."), reasoning=changes.get("reasoning")
        ),
        Message("user", "Thanks!"),
        Message("assistant", "You are welcome.", reasoning=changes.get("reasoning")),
    )
    tool = _function("get_time")
    return Trace(messages, (Tool({**tool, "description": changes.get("description", "Time.")}),))
