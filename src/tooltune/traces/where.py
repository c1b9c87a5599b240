"""Which rows to learn from: conditions on columns, in a closed little grammar (no code).

A condition is `column: test` or `column: [test, ...]` (any of them). A test is a value that the
column must equal (`success`, `3`, `true`, null for "missing"), or text that starts with `>=`,
`<=`, `>`, `<`, `!=` or `=` and goes on with the value. Numbers compare as numbers, also where the
data hold them as text; dates such as `>=2024-06-01` compare as text. A missing column is null.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tooltune.errors import UserError
from tooltune.traces.columns import MISSING, as_number, lookup, missing_reason
from tooltune.traces.jsonio import RowError, show

Scalar = str | float | bool | None

_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_OPERATORS = (">=", "<=", "!=", ">", "<", "=")  # the longer ones first
_WORDS: dict[str, Scalar] = {"true": True, "false": False, "null": None}


class RowFiltered(RowError):
    """A row that a condition of the user leaves out: not bad, not wanted. Code `filtered`."""

    def __init__(self, condition: str, reason: str) -> None:
        super().__init__("filtered", reason)
        self.condition = condition

    def __reduce__(self) -> tuple[Any, ...]:
        return RowFiltered, (self.condition, self.reason)


@dataclass(frozen=True, slots=True)
class Criterion:
    """`operator` is one of `>= <= > < != =`."""

    operator: str
    value: Scalar

    def __str__(self) -> str:
        value = json.dumps(self.value) if not isinstance(self.value, str) else self.value
        return value if self.operator == "=" else f"{self.operator}{value}"

    def holds(self, value: Any) -> bool:
        """Whether a value of the data (`None`: missing or null) passes."""
        if self.operator in ("=", "!="):
            return _equal(value, self.value) == (self.operator == "=")
        bound = as_number(self.value)
        if bound is not None:
            number = as_number(value)
            return number is not None and _ORDERED[self.operator](number, bound)
        return isinstance(value, str) and _ORDERED[self.operator](value, self.value)


@dataclass(frozen=True, slots=True)
class Condition:
    """A column, dotted where it is nested (`meta.score`), and the tests of which one must hold."""

    column: str
    tests: tuple[Criterion, ...]

    def __str__(self) -> str:
        return f"{self.column}: {' or '.join(map(str, self.tests))}"


def parse_where(where: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Read the conditions of a config: `{"outcome": "success", "score": ">=0.5", "n": [4, 5]}`.

    Raises `UserError` where a test is none.
    """
    return tuple(_condition(column, value) for column, value in where.items())


def check_where(row: Any, conditions: Sequence[Condition]) -> None:
    """Raise `RowFiltered` unless a row meets every condition; it names the first that it fails.

    A row that is no object passes: it is bad whatever was asked for, and its format says so.
    """
    if not isinstance(row, Mapping):
        return
    for condition in conditions:
        found = lookup(row, condition.column)
        value = None if found is MISSING else found
        if any(test.holds(value) for test in condition.tests):
            continue
        if found is MISSING:
            reason = missing_reason(row, condition.column)
        else:
            reason = f"{condition.column} is {show(value)}"
        raise RowFiltered(str(condition), f"where {condition}: {reason}")


def _condition(column: str, value: Any) -> Condition:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if not values:
        raise UserError(f"where.{column} is an empty list", fix=f"where: {{{column}: VALUE}}")
    return Condition(column, tuple(_test(column, item) for item in values))


def _test(column: str, value: Any) -> Criterion:
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"where.{column} is {value}", fix="write a finite number")
    if value is None or isinstance(value, (bool, int, float)):
        return Criterion("=", value)
    if not isinstance(value, str):
        fix = f'a value, a comparison such as ">=0.5", or a list of them: where: {{{column}: good}}'
        raise UserError(f"where.{column} is {show(value)}", fix=fix)
    sign = next((sign for sign in _OPERATORS if value.startswith(sign)), "")
    text = value.removeprefix(sign).strip()
    if not sign:
        return Criterion("=", value)
    operand: Scalar = _WORDS.get(text, text) if (number := as_number(text)) is None else number
    if sign in _ORDERED and (not text or operand is None or isinstance(operand, bool)):
        fix = f'where: {{{column}: "{sign}0.5"}}'
        raise UserError(f"where.{column}: {value!r} compares with no number or text", fix=fix)
    return Criterion(sign, operand)


def _equal(value: Any, wanted: Scalar) -> bool:
    """Equal as JSON values: 1 is 1.0 and no `true`, and text is a number where a number is asked.

    Lists and objects are equal to nothing.
    """
    if wanted is None or isinstance(wanted, bool):
        return value is wanted
    if isinstance(wanted, str):
        return isinstance(value, str) and value == wanted
    return as_number(value) == wanted
