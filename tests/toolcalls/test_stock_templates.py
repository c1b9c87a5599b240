"""What any stock template writes of a trace's calls is read back as those calls, or refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.conftest import _asset
from tests.render.stock_templates import STOCK, renderer_of
from tests.toolcalls import families
from tests.toolcalls.families import Call
from tests.toolcalls.ways import WAYS
from tooltune.errors import UserError
from tooltune.render import guard
from tooltune.render.representable import RowRejected
from tooltune.render.turns import Renderer
from tooltune.toolcalls.json_text import json_equal
from tooltune.toolcalls.parse import parse_turn
from tooltune.traces.types import Message, Tool, ToolCall, Trace

BY_KEY = {stock.key: stock for stock in STOCK}
REFUSALS = {
    "calls_not_recoverable",  # the grammar cannot say it
    "control_token_in_text",
    "text_not_recoverable",
    "tokens_not_the_text",
}

# Signs of all grammars that no tokenizer takes for a control token, and that values may hold.
SIGNS = ("</", "}}", '"}', "')]", "', b='", "]}", "{", "a: b", "5", "true", "None", "call:f{", "\n")
_texts = st.text(st.characters(exclude_categories=["Cs", "Co", "Cc", "Cn"]), max_size=8)
_marks = st.sampled_from([mark for way in WAYS.values() for mark in way.marks])
_pieces = st.one_of(*[st.sampled_from(SIGNS) | _texts] * 15, _marks)
_strings = st.lists(_pieces, max_size=2).map("".join)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(-1e9, 1e9).map(lambda x: round(x, 4))
    | _strings
)
_keys = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_keys, inner, max_size=2),
    max_leaves=4,
)
_calls = st.lists(
    st.tuples(st.sampled_from(["f", "get_time"]), st.dictionaries(_keys, _values, max_size=3)),
    min_size=1,
    max_size=2,
)


@pytest.fixture(autouse=True, scope="module")
def _trusted() -> Iterator[None]:
    """These are not from strangers, and the guard has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "_try", lambda source: "")
        yield


@cache
def _probed(key: str) -> Renderer | UserError:
    try:
        return renderer_of(BY_KEY[key])
    except UserError as error:
        return error


def _shows_calls(key: str) -> Renderer | None:
    found = _asset(lambda: _probed(key))
    return found if isinstance(found, Renderer) and found.profile.tool_calls else None


def test_every_template_that_shows_calls_has_a_parser() -> None:
    made = {key: _shows_calls(key) for key in BY_KEY}
    without = [key for key, found in made.items() if found and found.profile.call_format is None]
    assert without == []
    assert sum(found is not None for found in made.values()) > 40


@pytest.mark.parametrize("key", BY_KEY)
def test_calls_are_read_back_from_what_the_template_writes_or_refused_by_a_code(key: str) -> None:
    renderer = _shows_calls(key)
    if renderer is None:
        return
    outcomes: Counter[str] = Counter()

    @settings(max_examples=60)
    @given(calls=_calls)
    @example(calls=[("f", {"_": "\U0002f800"})])  # another sign, once NFC is through with it
    def check(calls: list[Call]) -> None:
        outcomes[_outcome(renderer, calls)] += 1

    check()
    assert {code for code in outcomes if not code.startswith("template_")} <= {"ok", *REFUSALS}
    assert outcomes["ok"] >= 0.4 * outcomes.total(), outcomes


def _outcome(renderer: Renderer, calls: list[Call]) -> str:
    """ "ok", or the code of the refusal: a turn that reads back otherwise must have one."""
    profile = renderer.profile
    calls = calls if profile.parallel_calls else calls[:1]
    tools = [{**tool, "description": "Does a thing."} for tool in families.tools_for(calls)]
    made = tuple(ToolCall(name, arguments) for name, arguments in calls)
    reasoning = "Hm, yes." if profile.reasoning_required else None
    turn = Message("assistant", None, made, reasoning=reasoning)
    trace = Trace((Message("user", "Well?"), turn), tuple(map(Tool, tools)))
    try:
        (rendered,) = renderer.render(trace).turns
    except RowRejected as rejection:
        return rejection.code
    text: Any = renderer.tokenizer.decode(rendered.completion_ids, skip_special_tokens=False)
    read = parse_turn(text, profile.call_format, tools)
    assert [(call.name, call.status) for call in read.calls] == [(name, "ok") for name, _ in calls]
    for call, (_, arguments) in zip(read.calls, calls, strict=True):
        wanted = arguments, _normalised(renderer.tokenizer, arguments)
        assert any(json_equal(call.arguments, one) for one in wanted), text
    return "ok"


def _normalised(tokenizer: Any, arguments: dict[str, Any]) -> Any:
    """What the tokenizer's normaliser leaves of them: a target is a trace's answer but for it."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    written = json.dumps(arguments, ensure_ascii=False)
    return json.loads(normalizer.normalize_str(written) if normalizer else written)
