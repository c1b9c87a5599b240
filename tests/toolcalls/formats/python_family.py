"""What the tests of the Python and Gemma families share: strategies, checks, stock templates."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

from tests.render.stock_templates import STOCK, renderer_of
from tests.toolcalls import families
from tests.toolcalls.families import Call
from tooltune.render.completion import turn_texts
from tooltune.toolcalls import ParsedToolCall, ParsedTurn
from tooltune.toolcalls.json_text import json_equal
from tooltune.toolcalls.parse import FORMATS, parse_turn
from tooltune.traces.types import Message, ToolCall

SCHEMA = {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}}
TOOLS = [{"name": "f", "parameters": SCHEMA}, {"name": "g"}]

identifiers = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


def calls_with(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Call]]:
    """One to three calls whose arguments are identifiers with `values`."""
    arguments = st.dictionaries(identifiers, values, max_size=3)
    return st.lists(st.tuples(families.names, arguments), min_size=1, max_size=3)


def values_of(
    strings: st.SearchStrategy[str], keys: st.SearchStrategy[str]
) -> st.SearchStrategy[Any]:
    """JSON values as `families.values`, of other strings and keys."""
    scalars = (
        st.none()
        | st.booleans()
        | st.integers(-(10**20), 10**20)
        | st.floats(allow_nan=False, allow_infinity=False)
        | strings
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=6,
    )


def python_call(call: Call, write: Callable[[Any], str] = repr) -> str:
    name, arguments = call
    return f"{name}({', '.join(f'{key}={write(value)}' for key, value in arguments.items())})"


def check_round_trip(turn: ParsedTurn, text: str, calls: Sequence[Call]) -> None:
    assert [call.status for call in turn.calls] == ["ok"] * len(calls)
    assert [call.name for call in turn.calls] == [name for name, _ in calls]
    for call, (_, arguments) in zip(turn.calls, calls, strict=True):
        assert json_equal(call.arguments, arguments)
        assert call.arguments_valid_json
        assert call.raw == text[slice(*call.span)]
    assert turn.content == ""
    assert turn.reasoning is None


def check_any_text(text: str, format: str) -> None:
    """What holds for every text: nothing is raised, spans are in order, records make sense."""
    for tools in (None, TOOLS):
        turn = parse_turn(text, format, tools)
        spans = [call.span for call in turn.calls]
        assert spans == sorted(spans)
        for call in turn.calls:
            assert call.raw == text[slice(*call.span)]
            assert call.arguments_valid_json or call.arguments == {}
            assert call.status != "ok" or call.name


def check_linear(format: str, openings: Iterable[str], units: Iterable[str]) -> None:
    for opening in openings:
        for unit in units:
            text = opening + unit * (50_000 // len(unit))
            started = time.process_time()
            FORMATS[format].parse(text, {})
            assert time.process_time() - started < 5, (
                opening,
                unit,
            )  # a quadratic walk takes minutes


def statuses(text: str, format: str, tools: Any = None) -> list[str]:
    return [call.status for call in parse_turn(text, format, tools).calls]


def only(text: str, format: str, tools: Any = None) -> ParsedToolCall:
    (call,) = parse_turn(text, format, tools).calls
    return call


def stock_completion(file: str, message: Message) -> str:
    """What trl's template `file` says the model must write for an assistant message."""
    renderer = renderer_of(next(stock for stock in STOCK if stock.file == file))
    question = Message("user", "Well?")
    return turn_texts(
        renderer.template, [question], message, [{"type": "function", "function": TOOLS[0]}],
        renderer.profile.shape,
    )[1]  # fmt: skip


def assistant(calls: Sequence[Call], content: str | None = None, **more: Any) -> Message:
    """An assistant message with calls."""
    made = tuple(ToolCall(n, a, id=f"call{i:05d}") for i, (n, a) in enumerate(calls))
    return Message("assistant", content, made, **more)
