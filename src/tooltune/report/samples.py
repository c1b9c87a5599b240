"""Join two evaluations by sample and prepare what the page embeds: small, plain, JSON-safe."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tooltune.report.diff import CallDiff, arguments_of, compact_json, diff_calls
from tooltune.report.files import Evaluation

MAIN_DATASET = "held_out"

_MAX_ROWS = 20_000
_PAGE_CHARACTERS = 24_000_000
_LONGEST_TEXT = 4_000
_SHORTEST_TEXT = 400
_LONGEST_VALUE = 600
_LONGEST_QUESTION = 240

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SampleView:
    """What the page's list of samples needs.

    `data` is the embedded object: `rows` (one a sample, see `_row`), and the tables `messages`
    and `tools` that rows point into by index, since turns of one trace share them.
    `states` counts all samples by change, `kinds` by kind; `flips` counts the call turns of the
    main data set, as McNemar's test does. `paired` says whether there were two evaluations.
    `n_omitted` rows are counted but not embedded.
    """

    data: Row
    states: Mapping[str, int]
    kinds: Mapping[str, int]
    flips: Mapping[str, int]
    datasets: tuple[str, ...]
    paired: bool
    n_samples: int
    n_omitted: int


def view_samples(base: Evaluation | None, tuned: Evaluation | None) -> SampleView:
    """Pair the samples by data set and id, in the order of the files, and classify each pair."""
    pairs = _pair(base.samples if base else (), tuned.samples if tuned else ())
    both = bool(base and base.samples) and bool(tuned and tuned.samples)
    classified = [(_state(left, right, both), left, right) for left, right in pairs]
    states = Counter(state for state, _, _ in classified)
    samples = [right or left or {} for left, right in pairs]
    kinds = Counter(map(_kind, samples))
    flips = Counter(
        state
        for (state, _, _), sample in zip(classified, samples, strict=True)
        if _dataset(sample) == MAIN_DATASET and _kind(sample) == "call"
    )
    datasets = tuple(dict.fromkeys(map(_dataset, samples)))
    shown = classified
    if len(shown) > _MAX_ROWS:  # what changed matters most; sorted() keeps the order within
        shown = sorted(shown, key=lambda item: item[0] not in ("fixed", "broken"))[:_MAX_ROWS]
    data = _fit(shown)
    omitted = len(pairs) - len(shown)
    return SampleView(data, states, kinds, flips, datasets, both, len(pairs), omitted)


def _fit(shown: Sequence[tuple[str, Row | None, Row | None]]) -> Row:
    """The embedded object, its texts cut shorter until it keeps to the page's budget."""
    limit = _LONGEST_TEXT
    while True:
        writer = _Writer(limit)
        rows = [writer.row(state, left, right) for state, left, right in shown]
        if writer.size <= _PAGE_CHARACTERS or limit == _SHORTEST_TEXT:
            return {"rows": rows, "messages": writer.messages.items, "tools": writer.tools.items}
        limit = max(_SHORTEST_TEXT, limit // 3)


def clip(text: str, limit: int) -> str:
    """At most `limit` characters of `text`, and how many more there were."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n… {len(text) - limit:,} characters more"


def _pair(base: Sequence[Row], tuned: Sequence[Row]) -> list[tuple[Row | None, Row | None]]:
    left = {(_dataset(row), row["sample_id"]): row for row in base}
    right = {(_dataset(row), row["sample_id"]): row for row in tuned}
    return [(left.get(key), right.get(key)) for key in dict.fromkeys([*left, *right])]


def _state(base: Row | None, tuned: Row | None, both: bool) -> str:
    if base is not None and tuned is not None:
        before, after = _correct(base), _correct(tuned)
        if before != after:
            return "fixed" if after else "broken"
        return "right" if after else "wrong"
    if both:
        return "unpaired"
    return "right" if _correct(base or tuned or {}) else "wrong"


def _correct(row: Row) -> bool:
    return row["verdict"].get("correct") is True


def _dataset(row: Row) -> str:
    return _text(row.get("dataset") or MAIN_DATASET)


def _kind(row: Row) -> str:
    return "abstain" if row.get("kind") == "abstain" else "call"


def _text(value: Any) -> str:
    """Text as it is, nothing for `None`, JSON for whatever else a file may hold."""
    if value is None:
        return ""
    return value if isinstance(value, str) else compact_json(value)


def _line(text: str) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text[: 2 * _LONGEST_QUESTION].split())
    return line if len(line) <= _LONGEST_QUESTION else f"{line[:_LONGEST_QUESTION]}…"


def _function(item: Row) -> Row:
    """What an OpenAI tool or tool call wraps in `function`, or the bare object itself."""
    inner = item.get("function")
    return inner if isinstance(inner, dict) else item


def _objects(value: Any) -> list[Row]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


@dataclass(slots=True)
class _Table:
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


class _Writer:
    """Turns samples into page rows, sharing the messages and tools they have in common."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.messages = _Table()
        self.tools = _Table()
        self._tools_seen: dict[str, list[int]] = {}
        self._rows_size = 0

    @property
    def size(self) -> int:
        """Characters of everything written so far, near enough."""
        return self._rows_size + self.messages.size + self.tools.size

    def row(self, state: str, base: Row | None, tuned: Row | None) -> Row:
        sample = tuned or base or {}
        messages = _objects(sample.get("prompt_messages"))
        expected = _objects(sample.get("gt_tool_calls"))
        question = next((m for m in reversed(messages) if m.get("role") == "user"), {})
        row = {
            "id": sample["sample_id"],
            "dataset": _dataset(sample),
            "kind": _kind(sample),
            "state": state,
            "question": _line(_text(question.get("content"))),
            "expected": [self._call(call) for call in expected],
            "answer": clip(_text(sample.get("gt_text")), self.limit),
            "messages": [self.messages.place(self._message(message)) for message in messages],
            "tools": self._tool_places(sample),
            "base": self._side(base, expected),
            "tuned": self._side(tuned, expected),
        }
        self._rows_size += len(json.dumps(row))
        return row

    def _side(self, sample: Row | None, expected: list[Row]) -> Row | None:
        if sample is None:
            return None
        verdict = sample["verdict"]
        reasons = verdict.get("reasons")
        return {
            "correct": _correct(sample),
            "outcome": _text(verdict.get("outcome")),
            "reasons": [_text(r) for r in reasons] if isinstance(reasons, list) else [],
            "finish": _text(sample.get("finish_reason")),
            "skipped": _text(sample.get("skip_reason")),
            "text": clip(_text(sample.get("text")), self.limit),
            "calls": [
                self._diff(diff) for diff in diff_calls(expected, _objects(sample.get("calls")))
            ],
        }

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
                    "actual": None if argument.state == "same" else self._value(argument.actual),
                }
                for argument in diff.arguments
            ],
        }

    def _value(self, value: str | None) -> str | None:
        return None if value is None else clip(value, min(self.limit, _LONGEST_VALUE))

    def _call(self, call: Row) -> str:
        text = f"{_text(call.get('name'))}({compact_json(arguments_of(call))})"
        return clip(text, min(self.limit, _LONGEST_VALUE))

    def _message(self, message: Row) -> Row:
        calls = [self._call(_function(call)) for call in _objects(message.get("tool_calls"))]
        return {
            "role": _text(message.get("role")),
            "name": _text(message.get("name")),
            "text": clip(_text(message.get("content")), self.limit),
            "reasoning": clip(_text(message.get("reasoning_content")), self.limit),
            "calls": calls,
        }

    def _tool_places(self, sample: Row) -> list[int]:
        """Tools are those of the trace: looked at once, not at each of its turns."""
        trace = f"{_dataset(sample)}\n{_text(sample.get('example_id')) or sample['sample_id']}"
        if trace not in self._tools_seen:
            tools = [_function(tool) for tool in _objects(sample.get("tools"))]
            self._tools_seen[trace] = [
                self.tools.place(
                    {
                        "name": _text(tool.get("name")),
                        "description": clip(_text(tool.get("description")), self.limit),
                        "parameters": clip(_text(tool.get("parameters")), self.limit),
                    }
                )
                for tool in tools
            ]
        return self._tools_seen[trace]
