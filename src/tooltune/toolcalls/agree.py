"""Whether given arguments are the true ones: exactly, as JSON, alternatives allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.toolcalls.choices import OneOf
from tooltune.toolcalls.truth import TruthCall


def accepts(expected: Any, given: Any) -> bool:
    """Whether a value is the expected one, or one of those that a `OneOf` in it allows.

    Values are equal as JSON: `True` is not 1, but 1 is 1.0; the order of keys is no matter, that
    of lists is. Without any `OneOf` this is `json_equal`.
    """
    pairs = [(expected, given)]
    while pairs:  # recursion goes as deep as choices lie within choices, whatever a model said
        a, b = pairs.pop()
        if isinstance(a, OneOf):
            if not any(accepts(value, b) for value in a.values):
                return False
        elif isinstance(a, Mapping):
            if not isinstance(b, Mapping) or not b.keys() <= a.keys():
                return False
            if not all(key in b or may_lack(value) for key, value in a.items()):
                return False
            pairs.extend((a[key], b[key]) for key in b)
        elif isinstance(a, (list, tuple)):
            if not isinstance(b, (list, tuple)) or len(a) != len(b):
                return False
            pairs.extend(zip(a, b, strict=True))
        elif isinstance(a, bool) or isinstance(b, bool):
            if a is not b:
                return False
        elif a != b:
            return False
    return True


def may_lack(expected: Any) -> bool:
    """Whether an object may lack the field of which this is the expected value."""
    return isinstance(expected, OneOf) and expected.optional


def accepts_argument(truth: TruthCall, argument: str, given: Any) -> bool:
    """Whether an argument may be given and its value is one of the acceptable ones."""
    return any(accepts(expected, given) for expected in truth.acceptable(argument))


def accepts_arguments(truth: TruthCall, given: Mapping[str, Any]) -> bool:
    """Whether all that is required is given, nothing unknown, and every value acceptable."""
    return truth.required <= given.keys() and all(
        accepts_argument(truth, key, value) for key, value in given.items()
    )
