"""One way of writing calls: what the tests that hold for every family know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.toolcalls.families import Call, tools_for
from tooltune.toolcalls import ParsedTurn, parse_turn

NUMBER = 90210
"""Stands in calls where a test puts something else."""


def _spoilt(text: str) -> str:
    return text.replace(str(NUMBER), "oops")


@dataclass(frozen=True)
class Way:
    """`write` writes the calls of a turn, its stop included; `calls` are such that it can say.

    `marks` are the strings that mean something to the reader, `not_in_strings` those that the
    grammar cannot have in one. `think` opens and closes reasoning, `answer` an answer, and
    `before` is a text in front of calls. `quoted` is what of a call may stand in reasoning.
    `spoil` makes a wrong payload of one that holds `NUMBER`. `is_bare`: no marker tells a call.
    `with_text` writes one call of `f` whose arguments are a given text, where JSON is written.
    """

    format: str
    write: Callable[[Sequence[Call]], str]
    calls: st.SearchStrategy[list[Call]]
    marks: tuple[str, ...]
    think: tuple[str, str] = ("<think>\n", "\n</think>\n\n")
    answer: tuple[str, str] = ("", "")
    before: str = "Let me look.\n"
    quoted: Callable[[str], str] = str
    spoil: Callable[[str], str] = _spoilt
    is_bare: bool = False
    types_by_schema: bool = False
    with_text: Callable[[str], str] | None = None
    not_in_strings: tuple[str, ...] = ()

    def read(self, text: str, calls: Sequence[Call] = (), **more: Any) -> ParsedTurn:
        """`text` taken apart; the tools are those of `calls`, where there are any."""
        return parse_turn(text, self.format, tools_for(calls) if calls else None, **more)
