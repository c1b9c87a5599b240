"""Where our verdict and the leaderboard's differ, and why. `--update` writes the list anew.

python -m tests.evaluate.suites.disagreements --update
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.evaluate.suites.outputs import Calls, outputs
from tests.evaluate.suites.referee import referee_accepts
from tooltune.evaluate.suites import load_suite
from tooltune.evaluate.suites.bfcl import _installed, _questions
from tooltune.toolcalls import ParsedToolCall
from tooltune.toolcalls.score import score_turn
from tooltune.toolcalls.truth import GroundTruth, OneOf, TruthCall

LIST = Path(__file__).with_name("bfcl_disagreements.json")
CALLING = (
    "simple_python",
    "multiple",
    "parallel",
    "parallel_multiple",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
)
REASONS = {
    "string_folding": "the referee folds case, spaces and punctuation of strings; we do not",
    "number_form": "5.0 is 5 in JSON; the referee wants the Python type of the schema",
    "greedy_matching": "the referee gives each answer the first call that fits, and may take away "
    "the only one that fits the next; we search for the best assignment",
}
_MOST_ANSWERS = 5  # whose orders are tried, all of them


def found(category: str) -> tuple[dict[str, list[str]], int]:
    """Reason -> ids with an output on which the two differ for that reason; outputs compared."""
    rows = {row["id"]: (row["function"], answers) for _, row, answers in _rows(category)}
    ids: dict[str, list[str]] = {}
    compared = 0
    for sample in load_suite(f"bfcl:{category}").samples:
        functions, answers = rows[sample.trace.id]
        truth = sample.own_truth
        assert truth is not None
        for change, calls in outputs(truth):
            compared += 1
            theirs = referee_accepts(category, functions, calls, answers)
            if theirs == ours_accepts(calls, truth):
                continue
            reason = _reason(category, functions, calls, answers, truth)
            known = ids.setdefault(reason or f"unexplained: {change}", [])
            if sample.trace.id not in known:
                known.append(sample.trace.id)
    return ids, compared


def ours_accepts(calls: Calls, truth: GroundTruth) -> bool:
    return score_turn([ParsedToolCall(name, given) for name, given in calls], truth).correct


def _rows(category: str) -> list[Any]:
    return _questions(_installed(), category)


def _reason(
    category: str,
    functions: Sequence[Mapping[str, Any]],
    calls: Calls,
    answers: Sequence[Mapping[str, Any]],
    truth: GroundTruth,
) -> str | None:
    """The rule whose undoing makes the two agree."""
    if not ours_accepts(calls, truth):
        folded = [(name, _folded(given)) for name, given in calls]
        return "string_folding" if ours_accepts(folded, _folded_truth(truth)) else None
    whole = [(name, _whole(given)) for name, given in calls]
    if referee_accepts(category, functions, whole, answers):
        return "number_form"
    orders = itertools.permutations(answers) if len(answers) <= _MOST_ANSWERS else ()
    if any(referee_accepts(category, functions, calls, order) for order in orders):
        return "greedy_matching"
    return None


def _folded(value: Any) -> Any:
    """What the referee's `standardize_string` leaves of every string in a value."""
    if isinstance(value, str):
        return re.sub(r"[ ,./\-_*^]", "", value).lower().replace("'", '"')
    if isinstance(value, Mapping):
        return {key: _folded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_folded(item) for item in value]
    if isinstance(value, OneOf):
        return OneOf(tuple(map(_folded, value.values)), value.optional)
    return value


def _folded_truth(truth: GroundTruth) -> GroundTruth:
    calls = tuple(
        TruthCall(
            call.name,
            _folded(call.arguments),
            {key: tuple(map(_folded, values)) for key, values in call.alternatives.items()},
            call.optional,
        )
        for call in truth.calls
    )
    return GroundTruth((calls,))


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    listed = {category: found(category)[0] for category in CALLING}
    if "--update" in sys.argv:
        LIST.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    for category, ids in listed.items():
        print(category, {reason: len(some) for reason, some in ids.items()})
