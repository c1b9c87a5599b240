from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from tests.toolcalls import families
from tests.toolcalls.formats.json_ways import HERMES
from tooltune.errors import UserError
from tooltune.toolcalls import (
    GraderError,
    ParsedToolCall,
    check_ground_truth,
    compute_sample_metrics,
    parse_tool_calls,
    score_sample,
    score_turn,
)
from tooltune.toolcalls import score as score_module
from tooltune.toolcalls.score import REASONS, SAMPLE_METRICS

BROKEN = ParsedToolCall(None, {}, False, "{", "invalid_json")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "f",
            "parameters": {
                "type": "object",
                "properties": {"x": {"type": "integer"}, "y": {"type": "string"}},
                "required": ["x"],
            },
        },
    },
    {"name": "g", "parameters": {}},
]

CALL_KEYS = (*SAMPLE_METRICS, "args_normalised_match", "call_precision", "call_recall", "call_f1")


def pred(name: str | None, **arguments: Any) -> ParsedToolCall:
    return ParsedToolCall(name, arguments)


def gt(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def six(*values: float) -> dict[str, float]:
    return dict(zip(SAMPLE_METRICS, values, strict=True))


# ------------------------------------------------------------ the six metrics of the reference


@pytest.mark.parametrize(
    ("preds", "truth", "expected"),
    [
        pytest.param([pred("f", x=1)], [gt("f", x=1)], six(1, 1, 1, 1, 1, 1), id="right"),
        pytest.param([], [gt("f", x=1)], six(0, 0, 0, 0, 0, 0), id="no prediction"),
        pytest.param([pred("f", x=1)], [], six(0, 0, 0, 0, 0, 0), id="no ground truth"),
        pytest.param([BROKEN], [gt("f", x=1)], six(1, 0, 0, 0, 0, 0), id="invalid still counts"),
        pytest.param(
            [ParsedToolCall("f", {"x": 1}, False)],
            [gt("f", x=1)],
            six(1, 1, 0, 0, 0, 0),
            id="invalid arguments have no fields",
        ),
        pytest.param([BROKEN], [gt("f")], six(1, 0, 0, 1, 1, 0), id="invalid, no true arguments"),
        pytest.param(
            [pred("g", x=1)], [gt("f", x=1)], six(1, 0, 1, 1, 1, 1), id="exact apart from the name"
        ),
        pytest.param(
            [pred("f", x=2, z=1)], [gt("f", x=1, y=2)], six(1, 1, 1, 0.5, 0.5, 0), id="overlap"
        ),
        pytest.param(
            [pred("f", x=1, y=2, z=3)], [gt("f", x=1)], six(1, 1, 1, 1, 1 / 3, 0), id="too many"
        ),
        pytest.param([pred("f")], [gt("f", x=1)], six(1, 1, 1, 0, 0, 0), id="none predicted"),
        pytest.param([pred("f", x=1)], [gt("f")], six(1, 1, 1, 0, 0, 0), id="none true"),
        pytest.param([pred("f")], [gt("f")], six(1, 1, 1, 1, 1, 1), id="none on either side"),
        pytest.param(
            [pred("f", x=1), pred("g")], [gt("f", x=1)], six(1, 1, 1, 1, 1, 1), id="extra ignored"
        ),
        pytest.param(
            [pred("f", x=1)],
            [gt("f", x=1), gt("g", y=1)],
            six(0.5, 0.5, 0.5, 0.5, 0.5, 0.5),
            id="one of two",
        ),
        pytest.param(
            [pred("g", y=1), pred("f", x=1)],
            [gt("f", x=1), gt("g", y=1)],
            six(1, 0, 1, 0, 0, 0),
            id="swapped",
        ),
    ],
)
def test_the_six_metrics_mean_what_the_reference_means(preds, truth, expected):
    assert compute_sample_metrics(preds, truth) == pytest.approx(expected)


def test_swapped_parallel_calls_are_right_under_optimal_matching():
    preds, truth = [pred("g", y=1), pred("f", x=1)], [gt("f", x=1), gt("g", y=1)]
    assert compute_sample_metrics(preds, truth)["args_exact_match"] == 0
    assert compute_sample_metrics(preds, truth, matching="optimal") == six(1, 1, 1, 1, 1, 1)
    assert score_turn(preds, truth).correct
    assert not score_turn(preds, truth, matching="positional").correct


def test_true_is_not_one_but_one_is_one_point_nought():
    for matching in ("positional", "optimal"):
        exact = [
            compute_sample_metrics([pred("f", x=value)], [gt("f", x=1)], matching)[
                "args_exact_match"
            ]
            for value in (True, 1.0, "1")
        ]
        assert exact == [0, 1, 0]


def test_ground_truth_arguments_may_be_a_json_string():
    truth = [{"name": "f", "arguments": '{"x": 1}'}]
    assert compute_sample_metrics([pred("f", x=1)], truth) == six(1, 1, 1, 1, 1, 1)


# -------------------------------------------------------------------------- the strict verdict


@pytest.mark.parametrize(
    ("preds", "reasons", "outcome"),
    [
        ([pred("f", x=1)], (), "call"),
        ([], ("no_call",), "abstained"),
        ([BROKEN], ("malformed",), "malformed"),
        ([pred("f", x=2)], ("wrong_value",), "call"),
        ([pred("f")], ("missing_argument",), "call"),
        ([pred("f", x=1, z=1)], ("hallucinated_argument",), "call"),
        ([pred("f", z=1)], ("missing_argument", "hallucinated_argument"), "call"),
        ([pred("g", x=1)], ("wrong_tool",), "call"),
        ([pred("f", x=1), pred("f", x=1)], ("extra_call",), "call"),
        ([pred("f", x=1), BROKEN], ("malformed",), "call"),
        ([ParsedToolCall("f", {"x": 1}, status="unclosed")], ("malformed",), "malformed"),
        ([ParsedToolCall("h", {}, status="unknown_tool")], ("unknown_tool", "wrong_tool"), "call"),
    ],
)
def test_a_turn_is_right_only_if_it_makes_the_call_and_nothing_else(preds, reasons, outcome):
    score = score_turn(preds, [gt("f", x=1)])
    assert (score.correct, score.reasons, score.outcome) == (not reasons, reasons, outcome)


def test_a_call_missing_of_two_is_named():
    score = score_turn([pred("f")], [gt("f"), gt("g")])
    assert score.reasons == ("missing_call",)
    assert (score.scores["call_precision"], score.scores["call_recall"]) == (1, 0.5)
    assert score.scores["call_f1"] == pytest.approx(2 / 3)


def test_extra_calls_cost_precision_and_wrong_names_are_not_right():
    scores = score_turn([pred("f", x=1), pred("g", x=1)], [gt("f", x=1)]).scores
    assert (scores["call_precision"], scores["call_recall"]) == (0.5, 1)
    assert score_turn([pred("g", x=1)], [gt("f", x=1)]).scores["call_f1"] == 0
    assert score_turn([], [gt("f", x=1)]).scores["call_f1"] == 0


def test_the_keys_of_the_scores_are_those_of_the_contract():
    assert set(score_turn([], [gt("f")], tools=TOOLS).scores) == {*CALL_KEYS, "malformed"}
    assert set(score_turn([], []).scores) == {"abstained", "malformed"}


def test_abstaining_calling_and_garbage_are_three_outcomes_of_a_turn_that_should_not_call():
    outcomes = [
        (score.outcome, score.correct, score.reasons, score.scores["abstained"])
        for score in (score_turn([], []), score_turn([pred("f")], []), score_turn([BROKEN], []))
    ]
    assert outcomes == [
        ("abstained", True, (), 1),
        ("call", False, ("extra_call",), 0),
        ("malformed", False, ("malformed",), 0),
    ]


@settings(max_examples=25)
@given(families.calls)
def test_the_ground_truth_said_in_hermes_is_right_and_any_of_it_left_out_is_wrong(calls):
    truth = [{"name": name, "arguments": arguments} for name, arguments in calls]
    said = parse_tool_calls(HERMES.write(calls, False))
    score = score_turn(said, truth)
    assert score.correct
    assert all(score.scores[key] == 1 for key in (*SAMPLE_METRICS, "call_f1"))
    less = score_turn(said[:-1], truth)
    assert not less.correct
    assert set(less.reasons) <= set(REASONS)
    as_strings = [{**call, "arguments": json.dumps(call["arguments"])} for call in truth]
    assert score_turn(said, as_strings).correct


# ------------------------------------------------------------------------------------- schemas


@pytest.mark.parametrize(
    ("preds", "valid"),
    [
        ([pred("f", x=1)], 1),
        ([pred("f", x="1")], 0),
        ([pred("f", y="1")], 0),
        ([pred("f", x=1), pred("f")], 0),
        ([pred("f", x=1), BROKEN], 1),
        ([pred("h", x=1)], 0),
        ([pred("g", anything=[1])], 1),
        ([BROKEN], None),
        ([], None),
    ],
)
def test_schema_valid_is_about_the_well_formed_calls_and_absent_without_any(preds, valid):
    for truth in ([gt("f", x=1)], []):
        assert score_turn(preds, truth, tools=TOOLS).scores.get("schema_valid") == valid
        assert "schema_valid" not in score_turn(preds, truth).scores


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "dict"},
        {"properties": {"x": {"type": "float"}}},
        {"properties": []},
        {"properties": {"x": {"pattern": "("}}},
        {"properties": {"x": {"$ref": "#/definitions/missing"}}},
        {"properties": {"x": {"$ref": "http://localhost:1/schema.json"}}},
        {"$ref": "file:///etc/hostname"},
        "x",
    ],
)
def test_an_invalid_tool_schema_leaves_only_schema_validity_open(schema):
    tools = [{"name": "f", "parameters": schema}]
    check_ground_truth([gt("f")], tools)
    score = score_turn([pred("f", x=1)], [gt("f", x=1)], tools)
    assert score.correct
    assert "schema_valid" not in score.scores


def test_schemas_with_inner_references_and_ref_like_data_are_fine():
    schema = {
        "$defs": {"n": {"type": "integer"}},
        "properties": {"x": {"$ref": "#/$defs/n"}, "y": {"enum": [{"$ref": "no schema"}]}},
    }
    tools = [{"name": "f", "parameters": schema}]
    check_ground_truth([gt("f", x=1)], tools)
    assert score_turn([pred("f", x=1)], [gt("f")], tools).scores["schema_valid"] == 1
    assert score_turn([pred("f", x="1")], [gt("f")], tools).scores["schema_valid"] == 0


def test_what_a_model_says_never_breaks_the_grader():
    schema = {"properties": {"x": {"multipleOf": 0.1}, "y": {"$ref": "#"}}}
    deep: dict[str, Any] = {}
    for _ in range(2000):
        deep = {"y": deep}
    for arguments in ({"x": 10**400}, deep):
        score = score_turn(
            [pred("f", **arguments)], [gt("f")], [{"name": "f", "parameters": schema}]
        )
        assert not score.correct


# ------------------------------------------------------------------------------------- meaning


def test_what_a_turn_means_is_judged_by_the_schema_of_the_tool():
    preds, truth = [pred("f", x="1", y="a  b")], [gt("f", x=1, y="a b")]
    score = score_turn(preds, truth, TOOLS)
    assert (score.correct, score.correct_normalised) == (False, True)
    assert score.scores["args_normalised_match"] == 1
    assert score.reasons == ("wrong_value",)
    assert not score_turn(preds, truth).correct_normalised  # no schema, no types
    for worse in (
        [*preds, pred("g")],
        [*preds, BROKEN],
        [],
        [pred("g", x=1, y="a b")],
        [replace(preds[0], status="unclosed")],
        [replace(preds[0], arguments_valid_json=False)],
    ):
        assert not score_turn(worse, truth, TOOLS).correct_normalised
    crossed = [gt("f", x=2), gt("g", x=1)]
    assert not score_turn([pred("f", x=1), pred("g", x=2)], crossed, TOOLS).correct_normalised
    swapped = [pred("f", x="2"), pred("f", x="1")]
    for matching, right in (("optimal", True), ("positional", False)):
        score = score_turn(swapped, [gt("f", x=1), gt("f", x=2)], TOOLS, matching)
        assert score.correct_normalised is right


# ----------------------------------------------------------------------- schemas, kinds of faults


@pytest.mark.parametrize(
    ("preds", "kinds"),
    [
        ([pred("f", x=1)], {}),
        ([pred("f", x="1"), pred("f", x=None, y=1)], {"type": 3}),
        ([pred("f")], {"required": 1}),
        ([pred("h"), pred("f")], {"required": 1, "unknown_tool": 1}),
        ([pred("e", unit="k", z=1)], {"additionalProperties": 1, "enum": 1}),
        ([pred("e", n="1")], {"type": 1}),
        ([pred("e", n=-1)], {"anyOf": 1}),
        ([BROKEN], {}),
    ],
)
def test_what_is_against_the_schemas_is_counted_by_kind(preds, kinds):
    properties = {
        "unit": {"enum": ["c", "f"]},
        "n": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
    }
    strict = {"type": "object", "properties": properties, "additionalProperties": False}
    score = score_turn(preds, [gt("f", x=1)], [*TOOLS, {"name": "e", "parameters": strict}])
    assert score.schema_errors == kinds
    if preds != [BROKEN]:
        assert score.scores["schema_valid"] == (not kinds)
    assert score_turn(preds, [gt("f", x=1)]).schema_errors == {}


def test_a_fault_of_one_call_is_told_where_the_schema_of_another_cannot_say():
    tools = [*TOOLS, {"name": "bad", "parameters": {"type": "dict"}}]
    assert score_turn([pred("f"), pred("bad")], [], tools).scores["schema_valid"] == 0
    assert "schema_valid" not in score_turn([pred("f", x=1), pred("bad")], [], tools).scores


# ---------------------------------------------------------------------------------- grader errors


def test_an_exception_inside_scoring_is_an_error_that_names_the_sample(monkeypatch):
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("by zero")

    assert score_sample("a/1", [pred("f", x=1)], [gt("f", x=1)]).correct
    monkeypatch.setattr(score_module, "best_match", fail)
    with pytest.raises(GraderError, match=r"scoring sample a/1 failed \(ZeroDivisionError: by z"):
        score_sample("a/1", [pred("f")], [gt("f")])


def test_a_fault_of_the_data_names_the_sample_too():
    with pytest.raises(UserError, match="sample a/1: a ground-truth call") as caught:
        score_sample("a/1", [], [{"name": "", "arguments": {}}])
    assert caught.value.fix is not None
