from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.traces.formats.same import assert_same
from tests.traces.strategies import NAMES, TEXT, json_values
from tooltune.traces import Message, RowError, Tool, ToolCall, Trace, load_traces, read_row
from tooltune.traces.formats.bfcl import join_possible_answers, possible_answers_path

QUESTION = {
    "id": "simple_7",
    "question": [[{"role": "user", "content": "A table for two at eight, please."}]],
    "function": [
        {
            "name": "table.reserve",
            "description": "Reserves a table.",
            "parameters": {
                "type": "dict",
                "properties": {
                    "people": {"type": "integer"},
                    "hour": {"type": "float"},
                    "note": {"type": "any"},
                    "where": {"type": "dict", "properties": {"floor": {"type": "integer"}}},
                },
                "required": ["people", "hour"],
            },
        }
    ],
}
ANSWER = {
    "id": "simple_7",
    "ground_truth": [
        {
            "table.reserve": {
                "people": [2, "two"],
                "hour": ["", 20.0, 8],
                "note": ["", "please"],
                "where": [{"floor": [1, 2], "window": ["", True]}],
            }
        }
    ],
}
ROW = {**QUESTION, "ground_truth": ANSWER["ground_truth"]}


def answered(ground_truth: Any, **changes: Any) -> dict[str, Any]:
    return {**QUESTION, "ground_truth": ground_truth, **changes}


def calls(ground_truth: Any) -> tuple[ToolCall, ...]:
    return read_row(answered(ground_truth), "bfcl").messages[-1].tool_calls


def test_the_first_accepted_values_become_the_call() -> None:
    call = ToolCall("table.reserve", {"people": 2, "hour": 20.0, "where": {"floor": 1}})
    function = QUESTION["function"][0]  # type: ignore[index]
    parameters = {
        "type": "object",
        "properties": {
            "people": {"type": "integer"},
            "hour": {"type": "number"},
            "note": {},
            "where": {"type": "object", "properties": {"floor": {"type": "integer"}}},
        },
        "required": ["people", "hour"],
    }
    expected = Trace(
        (
            Message("user", "A table for two at eight, please."),
            Message("assistant", tool_calls=(call,)),
        ),
        (Tool({**function, "parameters": parameters}),),
    )
    assert_same(read_row(ROW), expected)


@given(
    st.lists(TEXT, min_size=1, max_size=3),
    st.lists(
        st.tuples(
            NAMES,
            st.dictionaries(
                TEXT,
                json_values().filter(lambda v: v != "" and not isinstance(v, (dict, list))),
                max_size=3,
            ),
        ),
        min_size=1,
        max_size=3,
    ),
    json_values(),
    st.booleans(),
)
def test_what_is_written_as_bfcl_is_read_back(
    texts: list[str], expected: list[tuple[str, dict[str, Any]]], rest: Any, nested: bool
) -> None:
    truth = [{name: {key: [v, rest] for key, v in args.items()}} for name, args in expected]
    question: Any = [{"role": "user", "content": text} for text in texts]
    row = {"id": "x", "question": [question] if nested else question, "function": []}
    messages = [Message("user", text) for text in texts]
    messages.append(
        Message("assistant", tool_calls=tuple(ToolCall(name, args) for name, args in expected))
    )
    assert_same(read_row({**row, "ground_truth": truth}, "bfcl"), Trace(tuple(messages)))


def test_accepted_objects_are_resolved_one_level_deep_and_literals_stay() -> None:
    truth: Any = [{"f": {"a": [[{"x": [1, 2]}, {"x": [3]}]], "b": [["p", "q"], ["r"]]}}]
    assert calls(truth) == (ToolCall("f", {"a": [{"x": 1}, {"x": 3}], "b": ["p", "q"]}),)
    truth = [{"f": {"a": [{"x": 1, "y": {"z": [2]}}], "b": [{"x": [{"y": [4]}]}]}}]
    assert calls(truth) == (
        ToolCall("f", {"a": {"x": 1, "y": {"z": [2]}}, "b": {"x": {"y": [4]}}}),
    )


def test_calls_written_as_text_are_read() -> None:
    truth = ["table.reserve(people=2, hour=8.5)", "table.reserve(people=3, hour=9)"]
    first, second = {"people": 2, "hour": 8.5}, {"people": 3, "hour": 9}
    assert calls(truth) == (ToolCall("table.reserve", first), ToolCall("table.reserve", second))


def test_answers_are_joined_by_id_and_nothing_else_changes() -> None:
    other = {**QUESTION, "id": "simple_8"}
    own = {**QUESTION, "ground_truth": ["mine()"]}
    rows = [QUESTION, other, own, "junk", {"question": []}]
    joined = list(join_possible_answers(rows, [ANSWER, "junk", {"id": 3}]))
    assert joined == [ROW, other, own, "junk", {"question": []}]
    twice = list(join_possible_answers(rows, [ANSWER, ANSWER]))
    assert isinstance(twice[0], RowError)
    assert twice[0].code == "repeated_id"
    assert twice[1:] == joined[1:]


def test_the_answer_file_lies_in_a_folder_beside_the_question_file(tmp_path: Path) -> None:
    questions = tmp_path / "BFCL_v4_parallel.json"
    assert possible_answers_path(questions) is None
    (tmp_path / "possible_answer").mkdir()
    answers = tmp_path / "possible_answer" / questions.name
    answers.write_text(json.dumps(ANSWER))
    assert possible_answers_path(questions) == answers
    questions.write_text(json.dumps(QUESTION) + "\n" + json.dumps({**QUESTION, "id": "other"}))
    traces = load_traces(questions)
    assert [trace.content_id for trace in traces] == [read_row(ROW).content_id]
    assert traces.format == "bfcl"
    assert traces.ledger.counts == {"no_ground_truth": 1}


@pytest.mark.parametrize(
    ("row", "code", "place"),
    [
        (QUESTION, "no_ground_truth", "possible_answer/"),
        (answered([]), "nothing_to_call", "ground_truth"),
        ({**ROW, "involved_classes": ["FileSystem"]}, "needs_execution", "involved_classes"),
        ({**ROW, "question": [*QUESTION["question"]] * 2}, "needs_execution", "2 turns"),  # type: ignore[misc]
        (answered({"f": {}}), "invalid_ground_truth", "ground_truth is"),
        (answered("42"), "invalid_ground_truth", "ground_truth is"),
        (answered([{"f": {}, "g": {}}]), "invalid_ground_truth", "ground_truth[0]"),
        (answered([{"f": [1]}]), "invalid_ground_truth", "ground_truth[0].'f'"),
        (answered([{"f": {"x": 1}}]), "invalid_ground_truth", "ground_truth[0].'f'.'x'"),
        (answered([{"f": {"x": []}}]), "invalid_ground_truth", "ground_truth[0].'f'.'x'"),
        (
            answered([{"f": {"x": [{"a": [1], "b": 2}]}}]),
            "invalid_ground_truth",
            "ground_truth[0].'f'.'x'.'b'",
        ),
        (answered(["f(x=1/6)"]), "invalid_call", "ground_truth[0]"),
        ({**ROW, "question": "?"}, "messages_not_a_list", "question is '?'"),
        ({**ROW, "question": [["?"]]}, "turn_not_an_object", "question[0][0]"),
        ({**ROW, "question": [[{"role": "tool"}]]}, "unknown_role", "question[0][0].role"),
        ({**ROW, "question": [[{"role": "user"}]]}, "content_not_text", "question[0][0].content"),
        ({**ROW, "function": [{}]}, "tool_without_name", "function[0]"),
        ({**ROW, "question": [[]]}, "no_assistant_turn", "question"),
    ],
)
def test_what_is_no_sample_is_refused_with_its_place(row: Any, code: str, place: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row(row, "bfcl")
    assert caught.value.code == code
    assert place in caught.value.reason
