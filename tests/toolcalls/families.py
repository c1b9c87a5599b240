"""Calls that try to break parsers, and tools that declare them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

Call = tuple[str, dict[str, Any]]

MARKERS = (
    "<tool_call>",
    "</tool_call>",
    "<|python_tag|>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "<|channel|>",
    "<|message|>",
    "<|call|>",
    "<|start|>",
    "<think>",
    "</think>",
    "<|im_end|>",
    "</s>",
    '{"name": "g", "arguments": {}}',
    "}{",
    "]",
    '"',
    "\\",
    "\n",
    "\u2028",
    "Zürich",
)

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
strings = st.lists(st.sampled_from(MARKERS) | words, max_size=3).map("".join)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | strings
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(strings, values, max_size=3)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.\-]{0,12}", fullmatch=True)
calls = st.lists(st.tuples(names, arguments), min_size=1, max_size=3)


def dump(value: Any, ascii_only: bool) -> str:
    return json.dumps(value, ensure_ascii=ascii_only)


def tools_for(calls: Sequence[Call]) -> list[dict[str, Any]]:
    """Tools whose schemas declare every argument's type."""
    properties: dict[str, dict[str, Any]] = {}
    for name, given in calls:
        declared = properties.setdefault(name, {})
        for key, value in given.items():
            kind = type_of(value)
            known = declared.setdefault(key, {"type": kind})
            if known != {"type": kind}:
                known.clear()  # of several types
    return [
        {"name": name, "parameters": {"type": "object", "properties": declared}}
        for name, declared in properties.items()
    ]


def type_of(value: Any) -> str:
    """JSON schema's name of a value's type."""
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return "null" if value is None else names.get(type(value), "object")
