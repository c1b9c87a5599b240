"""One row of the page's list: a sample's question, its right answer, and every model's answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tooltune.errors import UserError
from tooltune.report.diff import (
    CallDiff,
    acceptable_text,
    arguments_of,
    compact_json,
    diff_calls,
    plain_target,
)
from tooltune.report.text import as_function, as_line, as_objects, as_text, clip
from tooltune.toolcalls.failures import failure_class
from tooltune.toolcalls.truth import GroundTruth, TruthCall

_LONGEST_VALUE = 600
_LONGEST_QUESTION = 240
_MOST_SETS = 4
_MOST_SPANS = 50

Row = dict[str, Any]
Joined = tuple[Row | None, ...]
"""The records of one sample, one for each evaluation; at least one is there."""


def is_correct(record: Row) -> bool:
    return record["verdict"].get("correct") is True


def dataset_of(record: Row) -> str:
    return as_text(record.get("dataset") or "held_out")


def kind_of(record: Row) -> str:
    return "abstain" if record.get("kind") == "abstain" else "call"


@dataclass(slots=True)
class Table:
    """Distinct objects in order of first use."""

    items: list[Row] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    size: int = 0

    def place(self, item: Row) -> int:
        key = json.dumps(item)
        if key not in self.places:
            self.places[key] = len(self.items)
            self.items.append(item)
            self.size += len(key)
        return self.places[key]


@dataclass(frozen=True, slots=True)
class _Truth:
    """Acceptable call sets, the canonical one first, or `any_call`: some tool, nobody knows how."""

    sets: Sequence[Sequence[TruthCall]]
    any_call: bool = False


class RowWriter:
    """Turns samples into page rows, sharing the messages and tools they have in common.

    `limit` is the most characters of any one text.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.messages = Table()
        self.tools = Table()
        self._tools_seen: dict[str, list[int]] = {}
        self._rows_size = 0

    @property
    def size(self) -> int:
        """Characters of everything written so far, near enough."""
        return self._rows_size + self.messages.size + self.tools.size

    def row(self, records: Joined) -> Row:
        """The row of one sample. Keys that say nothing (no answer text, no reasons) are absent."""
        sample = next(record for record in reversed(records) if record is not None)
        messages = as_objects(sample.get("prompt_messages"))
        truth = _read_truth(sample)
        question = next((m for m in reversed(messages) if m.get("role") == "user"), {})
        row = {
            "id": sample["sample_id"],
            "repeat": sample.get("repeat") if isinstance(sample.get("repeat"), int) else None,
            "dataset": dataset_of(sample),
            "kind": kind_of(sample),
            "question": as_line(as_text(question.get("content")), _LONGEST_QUESTION),
            "wanted": list(dict.fromkeys(call.name for call in truth.sets[0])),
            "any": truth.any_call,
            "expected": [self._call(call) for call in as_objects(sample.get("gt_tool_calls"))],
            "accepted": self._accepted(truth),
            "answer": clip(as_text(sample.get("gt_text")), self.limit),
            "messages": [self.messages.place(self._message(message)) for message in messages],
            "tools": self._tool_places(sample),
            "sides": [None if record is None else self._side(record, truth) for record in records],
        }
        row = {key: value for key, value in row.items() if value or key in _ALWAYS}
        self._rows_size += len(json.dumps(row))
        return row

    def _side(self, record: Row, truth: _Truth) -> Row:
        verdict = record["verdict"]
        reasons = verdict.get("reasons")
        calls = as_objects(record.get("calls"))
        text = as_text(record.get("text"))
        side = {
            "correct": is_correct(record),
            "meant": verdict.get("correct_normalised") is True,
            "outcome": as_text(verdict.get("outcome")),
            "class": _failure(record),
            "reasons": [as_text(r) for r in reasons] if isinstance(reasons, list) else [],
            "schema": _counts(verdict.get("schema_errors")),
            "finish": as_text(record.get("finish_reason")),
            "skipped": as_text(record.get("skip_reason")),
            "detail": clip(as_text(record.get("detail")), _LONGEST_VALUE),
            "read": as_text(record.get("parsed_as")),
            "statuses": statuses_of(calls),
            "text": clip(text, self.limit),
            "spans": _spans(text, calls, self.limit),
            "reasoning": clip(as_text(record.get("reasoning")), self.limit),
            "calls": [self._diff(diff) for diff in _closest(truth, calls)],
        }
        return {key: value for key, value in side.items() if value or key in _ALWAYS}

    def _diff(self, diff: CallDiff) -> Row:
        return {
            "state": diff.state,
            "expected": diff.expected_name,
            "actual": diff.actual_name,
            "status": diff.status,
            "arguments": [
                {
                    "key": argument.key,
                    "state": argument.state,
                    "expected": self._value(argument.expected),
                    # An equal value would only be said twice.
                    "actual": None
                    if argument.state == "same" and argument.actual == argument.expected
                    else self._value(argument.actual),
                }
                for argument in diff.arguments
            ],
        }

    def _value(self, value: str | None) -> str | None:
        return None if value is None else clip(value, min(self.limit, _LONGEST_VALUE))

    def _call(self, call: Row) -> str:
        text = f"{as_text(call.get('name'))}({compact_json(arguments_of(call))})"
        return clip(text, min(self.limit, _LONGEST_VALUE))

    def _accepted(self, truth: _Truth) -> list[list[str]]:
        """The acceptable call sets in words, where the expected calls do not say all."""
        if len(truth.sets) == 1 and not any(c.alternatives or c.optional for c in truth.sets[0]):
            return []
        return [[self._target(call) for call in calls] for calls in truth.sets[:_MOST_SETS]]

    def _target(self, call: TruthCall) -> str:
        names = [*call.arguments, *(key for key in call.alternatives if key not in call.arguments)]
        words = [
            f"{name} = {acceptable_text(call, name)}"
            + ("" if name in call.required else " or left out")
            for name in names
        ]
        return clip(f"{call.name}({'; '.join(words)})", min(self.limit, _LONGEST_VALUE))

    def _message(self, message: Row) -> Row:
        calls = [self._call(as_function(call)) for call in as_objects(message.get("tool_calls"))]
        return {
            "role": as_text(message.get("role")),
            "name": as_text(message.get("name")),
            "text": clip(as_text(message.get("content")), self.limit),
            "reasoning": clip(as_text(message.get("reasoning_content")), self.limit),
            "calls": calls,
        }

    def _tool_places(self, sample: Row) -> list[int]:
        """Tools are those of the trace: looked at once, not at each of its turns."""
        trace = f"{dataset_of(sample)}\n{as_text(sample.get('example_id')) or sample['sample_id']}"
        if trace not in self._tools_seen:
            tools = [as_function(tool) for tool in as_objects(sample.get("tools"))]
            self._tools_seen[trace] = [
                self.tools.place(
                    {
                        "name": as_text(tool.get("name")),
                        "description": clip(as_text(tool.get("description")), self.limit),
                        "parameters": clip(as_text(tool.get("parameters")), self.limit),
                    }
                )
                for tool in tools
            ]
        return self._tools_seen[trace]


_ALWAYS = frozenset({"id", "dataset", "kind", "question", "sides", "correct", "text", "calls"})


def statuses_of(calls: Sequence[Row]) -> list[str]:
    """The different statuses of a turn's attempts, and `recovered` where one was mended."""
    found = [as_text(call.get("status")) or "ok" for call in calls]
    mended = ["recovered"] if any(call.get("repairs") for call in calls) else []
    return list(dict.fromkeys([*found, *mended]))


def _read_truth(sample: Row) -> _Truth:
    """What would be right, with its alternatives; the plain calls where those cannot be read."""
    plain = as_objects(sample.get("gt_tool_calls"))
    if isinstance(sample.get("ground_truth"), dict):
        try:
            truth = GroundTruth.from_dict(sample["ground_truth"])
        except (UserError, RecursionError):
            pass
        else:
            return _Truth(truth.accepted, truth.any_call)
    return _Truth([[plain_target(call) for call in plain]])


def _closest(truth: _Truth, calls: Sequence[Row]) -> list[CallDiff]:
    """The differences from the acceptable call set that has fewest of them, the first of equals."""
    options = [diff_calls(targets, calls) for targets in truth.sets[:_MOST_SETS]]
    return min(options, key=_differences)


def _differences(diffs: Sequence[CallDiff]) -> int:
    return sum(
        (diff.state != "same") + sum(argument.state != "same" for argument in diff.arguments)
        for diff in diffs
    )


def _failure(record: Row) -> str:
    verdict = record["verdict"]
    reasons = verdict.get("reasons")
    told = {
        "correct": is_correct(record),
        "outcome": verdict.get("outcome"),
        "reasons": [r for r in reasons if isinstance(r, str)] if isinstance(reasons, list) else [],
    }
    return failure_class(told, as_text(record.get("finish_reason"))) or ""


def _counts(value: Any) -> Row:
    if not isinstance(value, dict):
        return {}
    return {key: n for key, n in value.items() if isinstance(n, int) and n > 0}


def _spans(text: str, calls: Sequence[Row], limit: int) -> list[list[Any]]:
    """Where the attempts stand in the shown text: start and end in UTF-16 units, and the status.

    A span is given only where the text there is the attempt's own.
    """
    spans: list[list[Any]] = []
    end = 0
    for call in calls[:_MOST_SPANS]:
        span, raw = call.get("span"), call.get("raw")
        if not (isinstance(span, list) and len(span) == 2 and isinstance(raw, str) and raw):
            continue
        start, stop = span
        if not (isinstance(start, int) and isinstance(stop, int) and end <= start < stop <= limit):
            continue
        if text[start:stop] == raw:
            spans.append([_units(text[:start]), _units(text[:stop]), as_text(call.get("status"))])
            end = stop
    return spans


def _units(text: str) -> int:
    """The length of a text as JavaScript counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
