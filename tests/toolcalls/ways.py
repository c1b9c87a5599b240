"""The registry: every way of writing calls that a family here reads, whatever its syntax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.toolcalls.families import Call
from tests.toolcalls.formats.json_families import Written
from tests.toolcalls.formats.json_families import calls_with as json_calls
from tests.toolcalls.formats.json_ways import WAYS as JSON_WAYS
from tests.toolcalls.markup_families import FAMILIES, Family, calls_for
from tests.toolcalls.python_ways import PYTHON_WAYS
from tests.toolcalls.way import Way

HARMONY_THINK = ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant")
HARMONY_ANSWER = ("<|channel|>final<|message|>", "")


def _json_way(way: Written) -> Way:
    more: dict[str, Any] = {"think": way.think}
    if way.think is None:  # a message holds no message
        more = {"think": HARMONY_THINK, "answer": HARMONY_ANSWER}
        more["quoted"] = lambda call: call.rpartition("<|message|>")[2].partition("<|")[0]
    return Way(
        way.format,
        lambda calls: way.write(calls, False),
        json_calls(way.markers),
        (*way.markers, way.closing),
        before=way.before,
        is_bare=way.bare,
        with_text=way.one,
        **more,
    )


def _markup_way(family: Family) -> Way:
    def write(calls: Sequence[Call]) -> str:
        return family.write(calls) + family.stop

    def spoil(text: str) -> str:
        at = text.index(family.call_end)
        return f"{text[:at]}oops{text[at:]}"

    def quoted(text: str) -> str:  # without a header, which would be a message of its own
        return text[text.index(family.opener) : text.rindex(family.call_end)] + family.call_end

    return Way(
        family.format,
        write,
        calls_for(family),
        (*family.marks, family.opener, family.value_end, family.call_end),
        think=family.reasoning,
        answer=family.answer,
        before="Let me look.\n".join(family.answer),
        quoted=quoted,
        spoil=spoil,
        types_by_schema=family.format != "deepseek_v3_2",
    )


WAYS: dict[str, Way] = {
    **{name: _json_way(way) for name, way in JSON_WAYS.items()},
    **{name: _markup_way(family) for name, family in FAMILIES.items()},
    **PYTHON_WAYS,
}
