"""Whether a turn means what it should: the verdict with arguments compared by their meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tooltune.toolcalls.match import Matching, is_well_formed
from tooltune.toolcalls.normalise import means_arguments
from tooltune.toolcalls.truth import GroundTruth, TruthCall
from tooltune.toolcalls.types import ParsedToolCall

Schemas = Mapping[str, Mapping[str, Any]]
"""Each tool's schema of its arguments, by name."""


def meant_turn(
    calls: Sequence[ParsedToolCall], truth: GroundTruth, schemas: Schemas, matching: Matching
) -> bool:
    """Whether some accepted call set is met: call for call, name and meaning, nothing beyond.

    `positional` wants the calls in its order, `optimal` in any.
    """
    if not all(map(is_well_formed, calls)):
        return False
    return any(_meets(calls, wanted, schemas, matching) for wanted in truth.accepted)


def share_meant(
    paired: Sequence[tuple[ParsedToolCall | None, TruthCall]], schemas: Schemas
) -> float:
    """Share of ground-truth calls whose prediction's arguments mean theirs, whatever its name."""
    if not paired:
        return 0.0
    return sum(call is not None and _means(call, truth, schemas) for call, truth in paired) / len(
        paired
    )


def _meets(
    calls: Sequence[ParsedToolCall],
    wanted: Sequence[TruthCall],
    schemas: Schemas,
    matching: Matching,
) -> bool:
    if sorted(str(call.name) for call in calls) != sorted(call.name for call in wanted):
        return False
    fits = [
        [call.name == truth.name and _means(call, truth, schemas) for call in calls]
        for truth in wanted
    ]
    if matching == "positional":
        return all(fits[i][i] for i in range(len(fits)))
    return _all_assigned(fits)


def _means(call: ParsedToolCall, truth: TruthCall, schemas: Schemas) -> bool:
    if not call.arguments_valid_json:
        return False
    return means_arguments(truth, call.arguments, schemas.get(truth.name))


def _all_assigned(fits: Sequence[Sequence[bool]]) -> bool:
    """Whether each row can have a column of its own that fits (a perfect matching)."""
    if not all(map(any, fits)):
        return False
    if len(fits) <= 1:
        return True
    from scipy.optimize import linear_sum_assignment  # as in match.py

    rows, columns = linear_sum_assignment(fits, maximize=True)
    return all(fits[int(i)][int(j)] for i, j in zip(rows, columns, strict=True))
