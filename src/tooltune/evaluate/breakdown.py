"""Where an evaluation goes wrong: its accuracy by tool, place in the dialogue, number of calls."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from tooltune.evaluate.statistics import wilson
from tooltune.toolcalls.failures import FAILURE_CLASSES, failure_class

Sample = Mapping[str, Any]
Row = dict[str, Any]

_MOST_PLACES = 4
"""Call turns of a dialogue from this one on share a row."""

_MOST_CALLS = 3
"""So do turns that should make this many calls or more."""


def breakdown(samples: Sequence[Sample], trained_tools: Collection[str] | None = None) -> Row:
    """The `breakdown` of metrics.json for one set of samples (records of samples.jsonl).

    Each of `by_tool` (every tool that a turn should call), `by_turn` (the dialogue's first call
    turn is `"1"`, the fourth and later `"4+"`), `by_calls` (calls that a turn should make: `"1"`,
    `"2"`, `"3+"`) and, where it is known, `by_seen_tools` (`seen`, `unseen`, `mixed`: whether the
    turn's tools were trained on) maps to rows `{"n", "correct", "accuracy", "ci95"}`, with
    `correct_normalised` and `accuracy_normalised` where every sample of it has that verdict.
    They speak of call turns; skipped ones count as wrong, as in the headline. `ci95` is Wilson's
    interval, which takes turns for independent.

    `failures` splits the wrong call turns by class, `abstain` the turns that should not call by
    what they did; both rows are `{"n", "share", "ci95"}` of all turns of that kind. `attempts`
    counts the parsed calls of all turns by status. Empty tables are absent.

    `trained_tools` are the names of the tools in the training data; without it, a sample may bear
    them itself (`seen_tools`, those of its own tools that were trained on).
    """
    calls = [sample for sample in samples if sample["kind"] == "call"]
    others = [sample for sample in samples if sample["kind"] != "call"]
    place = _places(calls)
    tables: Row = {
        "by_tool": _rates(calls, _tools),
        "by_turn": _rates(calls, lambda sample: [_at_most(place[id(sample)], _MOST_PLACES)]),
        "by_calls": _rates(calls, _number_of_calls),
        "by_seen_tools": _rates(calls, lambda sample: _seen(sample, trained_tools)),
        "failures": _shares(map(_failure, calls), len(calls), FAILURE_CLASSES),
        "abstain": _shares(map(_outcome, others), len(others), _OUTCOMES),
        "attempts": dict(
            Counter(call["status"] for sample in samples for call in sample.get("calls", ()))
        ),
    }
    return {name: table for name, table in tables.items() if table}


_OUTCOMES = ("abstained", "call", "malformed", "skipped")


def _rates(samples: Iterable[Sample], keys_of: Callable[[Sample], Iterable[str]]) -> Row:
    """One row for each key, in the order of keys; a sample counts once under each of its keys."""
    members: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        for key in keys_of(sample):
            members[key].append(sample)
    return {key: _rate(members[key]) for key in sorted(members)}


def _rate(samples: Sequence[Sample]) -> Row:
    n = len(samples)
    correct = sum(sample["verdict"]["correct"] for sample in samples)
    row = {"n": n, "correct": correct, "accuracy": correct / n, "ci95": list(wilson(correct, n))}
    lenient = [sample["verdict"].get("correct_normalised") for sample in samples]
    if None not in lenient:
        row |= {"correct_normalised": sum(lenient), "accuracy_normalised": sum(lenient) / n}
    return row


def _shares(values: Iterable[str | None], total: int, order: Sequence[str]) -> Row:
    """How many of `total` have each value, in the given order, others after it."""
    counts = Counter(value for value in values if value is not None)
    names = [*order, *sorted(counts.keys() - set(order))]
    return {
        name: {"n": n, "share": n / total, "ci95": list(wilson(n, total))}
        for name in names
        if (n := counts[name])
    }


def _failure(sample: Sample) -> str | None:
    return failure_class(sample["verdict"], sample.get("finish_reason"))


def _outcome(sample: Sample) -> str:
    return str(sample["verdict"]["outcome"])


def _tools(sample: Sample) -> set[str]:
    return {call["name"] for call in sample["gt_tool_calls"]}


def _number_of_calls(sample: Sample) -> list[str]:
    """Nothing where any call is right: nobody says how many."""
    n = len(sample["gt_tool_calls"])
    return [_at_most(n, _MOST_CALLS)] if n else []


def _seen(sample: Sample, trained_tools: Collection[str] | None) -> list[str]:
    trained = sample.get("seen_tools") if trained_tools is None else trained_tools
    tools = _tools(sample)
    if trained is None or not tools:
        return []
    known = len(tools & set(trained))
    return ["seen" if known == len(tools) else "mixed" if known else "unseen"]


def _at_most(number: int, most: int) -> str:
    return str(number) if number < most else f"{most}+"


def _places(samples: Iterable[Sample]) -> dict[int, int]:
    """Which call turn of its dialogue each sample is, from 1, by the sample's identity.

    Read from the messages before it where they are kept, so that a limit on the samples changes
    nothing; else counted among the samples of its dialogue.
    """
    turns: defaultdict[tuple[Any, Any], set[int]] = defaultdict(set)
    listed = list(samples)
    for sample in listed:
        turns[_dialogue(sample)].add(sample.get("turn_index", 0))
    places = {}
    for sample in listed:
        messages = sample.get("prompt_messages")
        if isinstance(messages, list):
            before = sum(bool(message.get("tool_calls")) for message in messages)
        else:
            own = sample.get("turn_index", 0)
            before = sum(turn < own for turn in turns[_dialogue(sample)])
        places[id(sample)] = before + 1
    return places


def _dialogue(sample: Sample) -> tuple[Any, Any]:
    return sample.get("dataset"), sample["example_id"]
