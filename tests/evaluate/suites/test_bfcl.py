from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

if not os.environ.get("TOOLTUNE_REQUIRE_ASSETS"):  # there it must not be missing
    pytest.importorskip("bfcl_eval", reason="the suite's data: pip install --no-deps bfcl-eval")

from tests.evaluate.suites.disagreements import CALLING, LIST, REASONS, found, ours_accepts
from tests.evaluate.suites.outputs import outputs
from tooltune.errors import UserError
from tooltune.evaluate.suites import load_suite
from tooltune.toolcalls import ParsedToolCall
from tooltune.toolcalls.schema import is_valid_schema
from tooltune.toolcalls.score import score_turn
from tooltune.toolcalls.truth import ANY_CALL, NO_CALL


@pytest.mark.parametrize("category", CALLING)
def test_our_verdict_is_the_leaderboards_save_where_listed_with_the_reason(category):
    disagreements, compared = found(category)
    assert set(disagreements) <= set(REASONS), "a difference that no rule explains"
    assert disagreements == json.loads(LIST.read_text())[category]
    assert compared > 100


def test_the_referee_can_disagree(monkeypatch):
    """The comparison above can fail: a scorer that ignores extra calls is noticed."""
    import tests.evaluate.suites.disagreements as module

    monkeypatch.setattr(
        module, "ours_accepts", lambda calls, truth: ours_accepts(calls[: len(truth.calls)], truth)
    )
    assert "unexplained: call_twice" in found("live_parallel")[0]


@pytest.mark.parametrize("category", CALLING)
def test_gold_is_right_and_its_neighbours_are_wrong(category):
    wrong = {"empty", "call_dropped", "call_twice", "renamed", "argument_added", "type_changed"}
    for sample in load_suite(f"bfcl:{category}").samples:
        assert sample.own_truth is not None
        for change, calls in outputs(sample.own_truth):
            if change in ("gold", "reversed", "rotated"):
                assert ours_accepts(calls, sample.own_truth), (sample.sample_id, change)
            elif change in wrong:
                assert not ours_accepts(calls, sample.own_truth), (sample.sample_id, change)


def test_every_schema_is_a_valid_json_schema():
    for sample in load_suite("bfcl:*").samples:
        for tool in sample.trace.tools:
            assert is_valid_schema(tool.parameters), (sample.sample_id, tool.name)


def test_the_suite_is_whole_but_for_the_questions_that_no_call_can_meet():
    suite = load_suite("bfcl:*")
    assert Counter(sample.dataset for sample in suite.samples) == {
        "bfcl_simple_python": 400,
        "bfcl_multiple": 200,
        "bfcl_parallel": 200,
        "bfcl_parallel_multiple": 200,
        "bfcl_irrelevance": 240,
        "bfcl_live_simple": 256,
        "bfcl_live_multiple": 1051,
        "bfcl_live_parallel": 16,
        "bfcl_live_parallel_multiple": 24,
        "bfcl_live_irrelevance": 884,
        "bfcl_live_relevance": 16,
    }
    assert [name for name, _ in suite.excluded] == [
        "live_simple_106-63-0",
        "live_simple_112-68-0",
        "live_multiple_862-181-3",
        "live_multiple_964-207-0",
    ]
    assert len({sample.sample_id for sample in suite.samples}) == len(suite.samples)


def test_irrelevance_wants_no_call_and_relevance_any():
    call = ParsedToolCall("f", {"x": 1})
    garbage = ParsedToolCall(None, status="malformed", arguments_valid_json=False)
    (no,) = {sample.own_truth for sample in load_suite("bfcl:irrelevance").samples}
    (some,) = {sample.own_truth for sample in load_suite("bfcl:live_relevance").samples}
    assert (no, some) == (NO_CALL, ANY_CALL)
    assert score_turn([], NO_CALL).correct
    assert not score_turn([call], NO_CALL).correct
    assert not score_turn([garbage], NO_CALL).correct
    assert score_turn([call], ANY_CALL).correct
    assert not score_turn([], ANY_CALL).correct
    assert not score_turn([garbage], ANY_CALL).correct


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ("bfcl:simple_pyton", "bfcl:simple_pyton is no part of BFCL"),
        ("bfcl:simple_java", "Java expressions"),
        ("bfcl:multi_turn_base", "only bfcl-eval runs"),
        ("bfcl:", "no part of BFCL was named"),
        ("gsm8k:all", "no suite 'gsm8k'"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_name(suite, message):
    with pytest.raises(UserError, match=message):
        load_suite(suite)


def test_a_missing_file_is_named_with_the_way_to_get_it(tmp_path: Path):
    from tooltune.evaluate.suites.bfcl import load_samples

    with pytest.raises(UserError, match=r"BFCL_v4_parallel\.json is missing"):
        load_samples(["parallel"], tmp_path)
