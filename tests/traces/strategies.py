"""Hypothesis strategies: JSON values, garbage rows, and valid traces."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tooltune.traces import Message, Tool, ToolCall, Trace

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
NAMES = st.sampled_from(["get_time", "search", "send_mail", "météo"])
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)


def json_values(leaf: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none() | st.booleans() | NUMBERS | TEXT if leaf is None else leaf,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=6,
    )


def json_objects() -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(TEXT, json_values(), max_size=3)


_KEYS = ["from", "value", "role", "content", "tool_calls", "tool_call_id", "name", "weight"]
_KEYS += ["loss", "reasoning", "reasoning_content", "function_call", "id"]
_ROLES = ["human", "gpt", "user", "assistant", "system", "tool", "observation", "function_call"]
_ROLES += ["tool_call", "tool_response", "function", "alien", ""]
_CALL_TEXTS = ['{"name": "f", "arguments": {"a": 1}}', '{"name": "f", "arguments": "[1]"}', "[]"]
_CALL_TEXTS += ['{"name": "f"}', '[{"name": "f"}, {"name": "g", "id": "1"}]', "{", "null", "1"]


def _leaves() -> st.SearchStrategy[Any]:
    bad = st.sampled_from([float("nan"), float("inf"), 10**400, -1, "\0", "\ud800", b""])
    plain = st.none() | st.booleans() | NUMBERS | TEXT | bad
    return plain | st.sampled_from(_CALL_TEXTS) | st.sampled_from(_ROLES)


def _turns(content: st.SearchStrategy[Any], rest: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def build(role: str, said: Any, rest: dict[str, Any]) -> dict[str, Any]:
        return {"role": role, "from": role, "content": said, "value": said, **rest}

    return st.lists(st.builds(build, st.sampled_from(_ROLES[:-2]), content, rest), max_size=5)


def _plausible_turns() -> st.SearchStrategy[Any]:
    """Turns of which many can be read: known roles, call texts where calls belong, few extras."""
    call = st.fixed_dictionaries(
        {"name": NAMES}, optional={"id": NAMES, "arguments": json_objects()}
    )
    extras = st.fixed_dictionaries(
        {},
        optional={
            "tool_calls": st.none() | st.lists(call, max_size=2),
            "tool_call_id": st.none() | NAMES,
            "weight": st.sampled_from([None, 0, 1, -1]),
            "reasoning": st.none() | TEXT,
        },
    )
    said = st.sampled_from(_CALL_TEXTS[:1] * 3 + _CALL_TEXTS) | call
    return _turns(said, st.just({}) | extras).map(
        lambda turns: [{"role": "user", "from": "human", "content": "?", "value": "?"}, *turns]
    )


def garbage_rows() -> st.SearchStrategy[Any]:
    """Rows from plain nonsense to nearly valid: the right keys with any value under them."""
    anything = json_values(_leaves())
    wild = _turns(anything, st.dictionaries(st.sampled_from(_KEYS), anything, max_size=5))
    tools = st.none() | st.lists(json_objects() | anything, max_size=2) | anything
    return anything | st.builds(
        lambda key, turns, tools, system: {key: turns, "tools": tools, "system": system},
        st.sampled_from(["messages", "conversations", "conversation"]),
        _plausible_turns() | wild | anything,
        st.sampled_from([None, "[]", '[{"name": "f"}]']) | tools,
        st.none() | TEXT | anything,
    )


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Valid traces: rounds of parallel calls with ids, and their results, between texts."""
    messages = [Message("system", draw(TEXT))] if draw(st.booleans()) else []
    messages.append(Message("user", draw(TEXT)))
    for number in range(draw(st.integers(0, 2))):
        names = draw(st.lists(NAMES, min_size=1, max_size=3))
        calls = [
            ToolCall(name, draw(json_objects()), id=f"call_{number}_{i}")
            for i, name in enumerate(names)
        ]
        said = draw(st.none() | TEXT.filter(bool))
        thought = draw(st.none() | TEXT)
        messages.append(Message("assistant", said, tuple(calls), reasoning=thought))
        for call in draw(st.permutations(calls)):
            result = draw(TEXT)
            messages.append(Message("tool", result, tool_call_id=call.id, name=call.name))
    weight = draw(st.sampled_from([0.0, 0.5, 1.0]))
    messages.append(Message("assistant", draw(TEXT), weight=weight))
    functions = draw(st.lists(st.builds(_function, NAMES, json_objects()), max_size=2))
    return Trace(tuple(messages), tuple(Tool(function) for function in functions))


def _function(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "description": "...", "parameters": parameters}
