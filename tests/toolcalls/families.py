"""Small renderers of each call syntax, and strategies for calls that try to break parsers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
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


def hermes(calls: Sequence[Call], ascii_only: bool) -> str:
    bodies = [dump({"name": n, "arguments": a}, ascii_only) for n, a in calls]
    return "\n".join(f"<tool_call>\n{body}\n</tool_call>" for body in bodies) + "<|im_end|>\n"


def hermes_list(calls: Sequence[Call], ascii_only: bool) -> str:
    body = dump([{"name": n, "arguments": a} for n, a in calls], ascii_only)
    return f"<tool_call>{body}</tool_call>"


def llama3(calls: Sequence[Call], ascii_only: bool) -> str:
    bodies = [dump({"name": n, "parameters": a}, ascii_only) for n, a in calls]
    return "<|python_tag|>" + "; ".join(bodies) + "<|eom_id|>"


def mistral(calls: Sequence[Call], ascii_only: bool) -> str:
    body = dump([{"name": n, "arguments": a} for n, a in calls], ascii_only)
    return f"[TOOL_CALLS]{body}</s>"


def mistral_named(calls: Sequence[Call], ascii_only: bool) -> str:
    return "".join(f"[TOOL_CALLS]{n}[ARGS]{dump(a, ascii_only)}" for n, a in calls) + "</s>"


def harmony(calls: Sequence[Call], ascii_only: bool) -> str:
    return "<|start|>assistant".join(
        f"<|channel|>commentary to=functions.{n} <|constrain|>json<|message|>"
        f"{dump(a, ascii_only)}<|call|>"
        for n, a in calls
    )


def harmony_recipient_first(calls: Sequence[Call], ascii_only: bool) -> str:
    return "<|start|>assistant".join(
        f" to=functions.{n}<|channel|>commentary json<|message|>{dump(a, ascii_only)}<|call|>"
        for n, a in calls
    )


def bare_json(calls: Sequence[Call], ascii_only: bool) -> str:
    return "\n".join(dump({"name": n, "arguments": a}, ascii_only) for n, a in calls)


RENDERERS: dict[str, tuple[str, Callable[[Sequence[Call], bool], str]]] = {
    "hermes": ("hermes", hermes),
    "hermes_list": ("hermes", hermes_list),
    "llama3": ("llama3", llama3),
    "llama3_bare": ("llama3", bare_json),
    "mistral": ("mistral", mistral),
    "mistral_named": ("mistral", mistral_named),
    "harmony": ("harmony", harmony),
    "harmony_recipient_first": ("harmony", harmony_recipient_first),
    "bare_json": ("bare_json", bare_json),
}
"""Way of writing: (format that reads it, renderer)."""
