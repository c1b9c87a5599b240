"""One failure class per wrong turn, so that the classes of an evaluation add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tooltune.toolcalls.score import TurnScore

FAILURE_CLASSES = (
    "skipped",
    "truncated",
    "malformed",
    "no_call",
    "unknown_tool",
    "wrong_tool",
    "missing_argument",
    "hallucinated_argument",
    "wrong_value",
    "missing_call",
    "extra_call",
)
"""In order of precedence: the first that applies is the class of a wrong turn.

First what kept an answer from being read (nothing was generated, it was cut off at the limit of
tokens, an attempt does not parse), then whether the right tool was called, then with what, last
how many calls there were. Apart from the first two they are reasons of the verdict; `extra_call`
is also any call of a turn that should not call.
"""


def failure_class(
    verdict: TurnScore | Mapping[str, Any], finish_reason: str | None = None
) -> str | None:
    """The class of a wrong turn, `None` for a right one.

    `verdict` is a `TurnScore` or what samples.jsonl keeps of one. `finish_reason` is `"length"`
    where the limit of tokens ended the generation: then a wrong turn is `truncated`, whatever
    else is wrong with what there is of it. A verdict whose reasons are all unknown here (another
    version wrote it) is `"other"`.
    """
    told = asdict(verdict) if isinstance(verdict, TurnScore) else verdict
    if told["correct"]:
        return None
    found = set(told.get("reasons", ()))
    if told["outcome"] == "skipped":
        found = {"skipped"}
    elif finish_reason == "length":
        found = {"truncated"}
    return next((name for name in FAILURE_CLASSES if name in found), "other")
