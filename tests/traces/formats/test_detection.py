"""Every golden row is told as its own format, and no damage to one does more than reject it."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.traces.formats import (
    test_anthropic,
    test_bfcl,
    test_content_parts,
    test_gemini,
    test_glaive,
    test_hermes,
    test_published_layouts,
    test_request_log,
    test_responses,
    test_toolace,
    test_xlam,
)
from tests.traces.strategies import json_values
from tooltune.traces import FORMATS, RowError, detect, read_row

_CALL = {"name": "f", "arguments": {"x": 1}}

# One line for each format: rows that are that format and no other.
GOLDEN: dict[str, list[dict[str, Any]]] = {
    "request_log": [*test_request_log.ENVELOPES.values(), *test_request_log.SPANS.values()],
    "xlam": [test_xlam.ROW],
    "bfcl": [test_bfcl.ROW, test_bfcl.QUESTION],
    "glaive": [test_glaive.ROW],
    "toolace": [
        test_toolace.ROW,
        {**test_toolace.ROW, "system": ""},
    ],
    "gemini": [test_gemini.ROW, test_gemini.snake(test_gemini.ROW)],
    "responses": [test_responses.ROW],
    "anthropic": [test_anthropic.ROW],
    "content_parts": test_content_parts.ROWS,
    "hermes": [test_hermes.ROW],
    "sharegpt": [test_published_layouts.APIGEN_MT],
    "chatml": [
        {
            "messages": [
                {"role": "user", "content": "?"},
                {"role": "tool_call", "content": json.dumps(_CALL)},
                {"role": "tool_response", "content": "1"},
            ]
        }
    ],
    "openai": list(test_published_layouts.LAYOUTS.values()),
}

ROWS = [(name, row) for name, rows in GOLDEN.items() for row in rows]


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[name for name, _ in ROWS])
def test_a_golden_row_is_told_as_its_format(name: str, row: dict[str, Any]) -> None:
    chosen = detect(row)
    assert chosen.name == name
    assert chosen.why


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[name for name, _ in ROWS])
def test_no_other_particular_format_claims_a_golden_row(name: str, row: dict[str, Any]) -> None:
    """`openai`, `sharegpt` and `chatml` read more than their own rows: they come last."""
    general = {"openai", "sharegpt", "chatml"}
    claims = {other for other, format in FORMATS.items() if format.recognise(row) is not None}
    assert claims - general == {name} - general


_WHOLE = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
_COLUMNS: list[dict[str, Any]] = [
    {"input": '[{"role": "user"}]', "output": "!"},
    {"input": {"messages": []}, "output": {"content": "!"}},
    {"input": [{"type": "message", "role": "user", "content": "?"}]},
    {"contents": [{"parts": [{"text": "?"}]}]},
    {"request": {"prompt": "?"}},
    {"request": "{}", "response": "{}"},
    {"custom_id": "a", "body": {}},
    {"response": "!", "choices": ["a", "b"]},
]


@pytest.mark.parametrize("turns", [_WHOLE, json.dumps(_WHOLE)], ids=["list", "text"])
@pytest.mark.parametrize("columns", _COLUMNS, ids=[", ".join(names) for names in _COLUMNS])
def test_columns_beside_a_whole_conversation_do_not_change_how_it_is_read(
    columns: dict[str, Any], turns: Any
) -> None:
    row = {"messages": turns, **columns}
    assert detect(row).name == "openai"
    assert read_row(row).messages == read_row({"messages": _WHOLE}).messages


_CUTS = st.integers(0, 10_000)
_SNIPPETS = st.sampled_from(
    ["[", "{", "}", "'", '"', "\\", ")]", "\n", "\0", "USER:", "<functioncall>"]
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else ()
    children = enumerate(value) if isinstance(value, list) else children
    return [path, *(p for key, child in children for p in _paths(child, (*path, key)))]


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A golden row with one to three places replaced, removed, or cut where they are text."""
    row: Any = copy.deepcopy(draw(st.sampled_from(ROWS))[1])
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(_paths(row)))
        if not path:
            continue
        parent = row
        for key in path[:-1]:
            parent = parent[key]
        old = parent[path[-1]]
        if isinstance(old, str) and draw(st.booleans()):
            cut = draw(_CUTS) % (len(old) + 1)
            rest = old[cut + draw(st.integers(0, 2)) :]
            parent[path[-1]] = old[:cut] + draw(_SNIPPETS | st.just("")) + rest
        elif draw(st.booleans()):
            parent[path[-1]] = draw(json_values())
        else:
            del parent[path[-1]]
    return row


@given(row=damaged())
@settings(max_examples=250)
def test_a_damaged_row_is_read_or_rejected_and_never_crashes(row: Any) -> None:
    with suppress(RowError):
        read_row(row)
    for name, format in FORMATS.items():
        why = format.recognise(row)
        assert why is None or isinstance(why, str)
        try:
            trace = read_row(row, name)
        except RowError as error:
            assert error.code.isidentifier()
            assert error.reason
            continue
        assert trace.turns
        assert read_row(trace.to_openai(), "openai").content_id == trace.content_id
