"""Whether arguments mean the same, read by the tool's schema: the lenient of the two comparisons.

Beyond what `agree` accepts (equal JSON, listed alternatives) it forgives exactly this:

* text: Unicode composition (NFC), kinds of quotes and dashes, line ends, runs of spaces inside a
  line, spaces at the end of a line and around the text. Case, accents, punctuation, the breaks
  between lines and the indentation after them count. Where the schema lists the values (`enum`,
  `const`) text must be equal.
* numbers: a relative difference of 1e-9, where one of the two is no whole number.
* text for a number (`"5"` for 5) and `"true"`/`"false"` in any case for a truth value, where the
  schema wants that type and no text. A truth value is never a number, a number never text.
* a property, of the arguments or of an object inside, that only one side gives, where the schema
  declares it and does not require it: if it has the value of the schema's `default`, or is `null`
  and there is no other default.

Dates and times are text like any other; the order of a list counts.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from tooltune.toolcalls.agree import may_lack
from tooltune.toolcalls.choices import OneOf
from tooltune.toolcalls.schema_view import MISSING, SchemaView, view
from tooltune.toolcalls.truth import TruthCall

RELATIVE_TOLERANCE = 1e-9

_MOST_COMBINING = 30

_NUMBER = re.compile(r"-?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?")
_LINE_END = re.compile("\r\n?|[\x85\u2028\u2029]")
_SAME = str.maketrans(
    dict.fromkeys("‘’‚‛′", "'")
    | dict.fromkeys("“”„‟″", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-")
)


def means_arguments(truth: TruthCall, given: Mapping[str, Any], schema: Any = None) -> bool:
    """Whether the given arguments mean an accepted answer; `schema` is the tool's own, if known."""
    seen = view(schema)
    for name in truth.known | given.keys():
        expected, inside = truth.acceptable(name), seen.property(name)
        if name not in given:
            if name in truth.required and not any(
                _says_nothing(value, seen, name) for value in expected
            ):
                return False
        elif not any(means(value, given[name], inside) for value in expected) and (
            name in truth.required or not _says_nothing(given[name], seen, name)
        ):
            return False
    return True


def means(expected: Any, given: Any, schema: SchemaView) -> bool:
    """Whether a value means the expected one, or one of those that a `OneOf` in it allows."""
    pending = [(expected, given, schema)]
    while pending:  # recursion goes as deep as choices lie within choices, whatever a model said
        a, b, seen = pending.pop()
        if isinstance(a, OneOf):
            if not any(means(value, b, seen) for value in a.values):
                return False
        elif isinstance(a, Mapping) and isinstance(b, Mapping):
            for name in a.keys() | b.keys():
                if name in a and name in b:
                    if may_lack(a[name]) and _says_nothing(b[name], seen, name):
                        continue
                    pending.append((a[name], b[name], seen.property(name)))
                elif name in a:
                    if not may_lack(a[name]) and not _says_nothing(a[name], seen, name):
                        return False
                elif not _says_nothing(b[name], seen, name):
                    return False
        elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
            if len(a) != len(b):
                return False
            pending.extend((x, y, seen.item(i)) for i, (x, y) in enumerate(zip(a, b, strict=True)))
        elif not _same_scalar(_read_as(a, seen), _read_as(b, seen), seen):
            return False
    return True


def _says_nothing(value: Any, object_schema: SchemaView, name: str) -> bool:
    """Whether giving a property this value is as good as leaving it out."""
    if isinstance(value, OneOf):
        return any(_says_nothing(item, object_schema, name) for item in value.values)
    if object_schema.requires(name):
        return False
    inside = object_schema.property(name)
    if not inside.parts:
        return False
    default = inside.default()
    return value is None if default is MISSING else means(default, value, inside)


def _read_as(value: Any, schema: SchemaView) -> Any:
    """A text as the number or truth value that the schema wants in its place."""
    if not isinstance(value, str) or not (types := schema.types()) or "string" in types:
        return value
    text = value.strip()
    if "boolean" in types and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if types & {"number", "integer"} and (match := _NUMBER.fullmatch(text)):
        number = float(text) if match[1] or match[2] else int(text)
        if math.isfinite(number) and ("number" in types or number == int(number)):
            return number
    return value


def _same_scalar(a: Any, b: Any, schema: SchemaView) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, str) and isinstance(b, str):
        return a == b or (not schema.lists_values() and fold_text(a) == fold_text(b))
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return bool(a == b) or _close(a, b)
    return type(a) is type(b) and bool(a == b)


def _close(a: float, b: float) -> bool:
    """Whether two numbers differ by no more than rounding does; whole ones may be identifiers."""
    try:
        x, y = float(a), float(b)
    except OverflowError:
        return False
    if not (math.isfinite(x) and math.isfinite(y)) or (x.is_integer() and y.is_integer()):
        return False
    return math.isclose(x, y, rel_tol=RELATIVE_TOLERANCE)


def fold_text(text: str) -> str:
    """The form in which texts are compared (see the top of this file). Linear in its length."""
    composed = unicodedata.normalize("NFC", text) if _is_stream_safe(text) else text
    lines = _LINE_END.sub("\n", composed).translate(_SAME).split("\n")
    return "\n".join(map(_fold_line, lines)).strip()


def _is_stream_safe(text: str) -> bool:
    """No more than 30 combining characters in a row (UAX #15, stream-safe text format).

    No script needs more, and sorting them takes time that grows with the square of their number.
    """
    if text.isascii():
        return True
    run = 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) else 0
        if run > _MOST_COMBINING:
            return False
    return True


def _fold_line(line: str) -> str:
    body = line.lstrip()
    return line[: len(line) - len(body)] + " ".join(body.split()) if body else ""
