from __future__ import annotations

import json
from typing import Any

import pytest

from tests.evaluate.records import GARBAGE, RIGHT, WRONG, record
from tooltune.evaluate.breakdown import breakdown
from tooltune.evaluate.statistics import wilson


def asked(sample: dict[str, Any], *names: str, earlier: int | None = None) -> dict[str, Any]:
    """A sample that should call these tools, after so many call turns of its dialogue."""
    sample["gt_tool_calls"] = [{"name": name, "arguments": {}} for name in names]
    if earlier is not None:
        call = {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}
        silent = {"role": "assistant", "content": "no call", "tool_calls": []}
        sample["prompt_messages"] = [{"role": "user"}, silent, *[call] * earlier]
    return sample


def test_every_row_counts_its_turns_and_has_wilsons_interval():
    samples = [
        asked(record("a", said=(RIGHT,)), "f"),
        asked(record("b", said=(WRONG,)), "f", "f"),
        asked(record("c", skip="prompt_too_long"), "f", "g"),
        record("d", kind="abstain"),
    ]
    tables = breakdown(samples)
    expected = {
        "n": 3,
        "correct": 1,
        "accuracy": 1 / 3,
        "ci95": list(wilson(1, 3)),
        "correct_normalised": 1,
        "accuracy_normalised": 1 / 3,
    }
    assert tables["by_tool"]["f"] == expected
    assert {name: (row["n"], row["correct"]) for name, row in tables["by_tool"].items()} == {
        "f": (3, 1),
        "g": (1, 0),
    }
    assert {name: row["n"] for name, row in tables["by_calls"].items()} == {"1": 1, "2": 2}
    assert json.loads(json.dumps(tables)) == tables


def test_turns_are_placed_by_the_calls_before_them_and_not_by_which_samples_there_are():
    samples = [
        asked(record("a", 9, said=(RIGHT,)), "f", earlier=0),
        asked(record("a", 20, said=(WRONG,)), "f", earlier=2),
        asked(record("b", 9), "f", earlier=3),
        asked(record("c", 9), "f", earlier=30),
    ]
    rows = breakdown(samples)["by_turn"]
    assert {name: (row["n"], row["correct"]) for name, row in rows.items()} == {
        "1": (1, 1),
        "3": (1, 0),
        "4+": (2, 0),
    }


def test_without_messages_turns_are_counted_in_their_dialogue():
    samples = [record("a", 3), record("a", 1), record("a", 5, kind="abstain"), record("b", 7)]
    samples += [record("b", 2, dataset="unseen"), record("a", 1)]  # the latter repeats a sample
    assert {name: row["n"] for name, row in breakdown(samples)["by_turn"].items()} == {
        "1": 4,
        "2": 1,
    }


def test_three_calls_and_more_share_a_row():
    samples = [asked(record(str(n)), *"f" * n) for n in (1, 2, 3, 7)]
    rows = breakdown(samples)["by_calls"]
    assert {name: row["n"] for name, row in rows.items()} == {"1": 1, "2": 1, "3+": 2}


@pytest.mark.parametrize("given", ["caller", "samples"])
def test_turns_are_split_by_whether_their_tools_were_trained_on(given):
    samples = [
        asked(record("a", said=(RIGHT,)), "f"),
        asked(record("b"), "f", "g"),
        asked(record("c"), "g", "h"),
    ]
    assert "by_seen_tools" not in breakdown(samples)
    if given == "samples":
        samples[0]["seen_tools"] = samples[1]["seen_tools"] = ["f"]
        samples[2]["seen_tools"] = []
    rows = breakdown(samples, {"f"} if given == "caller" else None)["by_seen_tools"]
    assert {name: (row["n"], row["correct"]) for name, row in rows.items()} == {
        "seen": (1, 1),
        "mixed": (1, 0),
        "unseen": (1, 0),
    }


def test_failures_split_the_wrong_call_turns_and_outcomes_the_other_turns():
    cut_off = record("c", said=(WRONG,)) | {"finish_reason": "length"}
    samples = [
        record("a", said=(RIGHT,)),
        record("b", said=(WRONG,)),
        cut_off,
        record("d", skip="prompt_too_long"),
        record("e", kind="abstain", said=(GARBAGE, RIGHT)),
        record("f", kind="abstain"),
    ]
    tables = breakdown(samples)
    failures = tables["failures"]
    assert list(failures) == ["skipped", "truncated", "wrong_value"]
    assert all(
        row == {"n": 1, "share": 0.25, "ci95": list(wilson(1, 4))} for row in failures.values()
    )
    assert {name: row["share"] for name, row in tables["abstain"].items()} == {
        "abstained": 0.5,
        "call": 0.5,
    }
    assert tables["attempts"] == {"ok": 4, "invalid_json": 1}


def test_a_table_without_rows_is_absent():
    assert breakdown([]) == {}
    assert set(breakdown([record("a", kind="abstain")])) == {"abstain"}
    assert set(breakdown([record("a", said=(RIGHT,))])) == {
        *("by_tool", "by_turn", "by_calls", "attempts")
    }


def test_samples_of_an_earlier_version_have_no_lenient_column():
    samples = [record("a", said=(RIGHT,)), record("b", said=(RIGHT,))]
    del samples[1]["verdict"]["correct_normalised"]
    del samples[1]["calls"]
    tables = breakdown(samples)
    assert set(tables["by_tool"]["f"]) == {"n", "correct", "accuracy", "ci95"}
    assert tables["attempts"] == {"ok": 1}
