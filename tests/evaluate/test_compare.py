from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.records import GARBAGE, RIGHT, WRONG, record
from tooltune.errors import UserError
from tooltune.evaluate.breakdown import breakdown
from tooltune.evaluate.compare import (
    compare_evaluations,
    compare_several,
    load_evaluation,
    write_comparison,
)
from tooltune.evaluate.paired_tests import holm
from tooltune.evaluate.scores import aggregate
from tooltune.evaluate.statistics import mcnemar_exact, wilson

Records = list[dict[str, Any]]


def evaluation(rights: list[bool], **options: Any) -> Records:
    """One call turn a trace, and one turn that should not call, which is always right."""
    calls = [
        record(f"t{i}", 1, (RIGHT if right else WRONG,), **options)
        for i, right in enumerate(rights)
    ]
    return calls + [record(f"t{i}", 3, kind="abstain", **options) for i in range(len(rights))]


def compared(base: Records, tuned: Records) -> dict[str, Any]:
    return compare_evaluations(base, tuned, "base model", "tuned model")


BASE, TUNED = evaluation([True, False, False, False] * 5), evaluation([False, True, True, True] * 5)


@settings(max_examples=15)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=8))
def test_both_sides_and_their_difference_are_those_of_the_evaluations(rights):
    base, tuned = ([*map(bool, side)] for side in zip(*rights, strict=True))
    result = compared(evaluation(base), evaluation(tuned))
    a, b = aggregate(evaluation(base)), aggregate(evaluation(tuned))
    metrics = {key for key in a if "/_" not in key}
    assert {key for key in result if key.startswith("tool_call/")} == metrics
    for key in metrics:
        entry = result[key]
        assert (entry["base"], entry["tuned"]) == pytest.approx((a[key], b[key]))
        assert entry["difference"] == pytest.approx(b[key] - a[key])
        assert -1 <= entry["ci95"][0] <= entry["ci95"][1] <= 1


def test_accuracy_has_its_test_its_flips_and_an_interval_for_each_side():
    entry = compared(BASE, TUNED)["tool_call/accuracy"]
    assert (entry["base_only"], entry["tuned_only"]) == (5, 15)
    assert entry["mcnemar_p"] == mcnemar_exact(5, 15)
    assert entry["base_ci95"] == list(wilson(5, 20))
    assert entry["tuned_ci95"] == list(wilson(15, 20))
    assert entry["difference"] == 0.5
    assert entry["ci95"][0] < 0.5 < entry["ci95"][1]


def test_the_numbers_of_turns_and_traces_stand_beside_the_metrics():
    result = compared(BASE, TUNED)
    assert (result["n_samples"], result["n_call_turns"], result["n_traces"]) == (40, 20, 20)
    assert (result["base_name"], result["tuned_name"]) == ("base model", "tuned model")
    assert (result["main_set"], result["datasets"]) == ("held_out", {})


def test_balanced_accuracy_weighs_the_two_kinds_alike():
    base = [record("a", 1, (WRONG,)), *[record(t, 3, kind="abstain") for t in "abcd"]]
    tuned = [record("a", 1, (RIGHT,)), *[record(t, 3, kind="abstain") for t in "abcd"]]
    entry = compared(base, tuned)["tool_call/balanced_accuracy"]
    assert (entry["base"], entry["tuned"]) == (0.5, 1.0)
    low, high = entry["ci95"]
    assert low < 0.5 < high, "one conversation is no certainty"


def test_other_sets_are_compared_apart():
    extra = {"dataset": "unseen_tools"}
    base = evaluation([True, False]) + evaluation([False, False], **extra)
    tuned = evaluation([True, False]) + evaluation([True, True], **extra)
    result = compared(base, tuned)
    assert result["tool_call/accuracy"]["difference"] == 0
    assert result["n_samples"] == 4
    other = result["datasets"]["unseen_tools"]
    assert other["tool_call/accuracy"]["difference"] == 1
    assert (other["n_samples"], other["n_call_turns"], other["n_traces"]) == (4, 2, 2)


def test_samples_are_joined_by_id_and_not_by_position():
    shuffled = random.Random(0).sample(TUNED, len(TUNED))
    left, right = compared(BASE, TUNED), compared(BASE, shuffled)
    assert left == right


def test_turns_of_one_group_are_drawn_together():
    flipped = [False] * 10 + [True] * 10
    apart = compared(evaluation([False] * 20), evaluation(flipped))
    base, tuned = evaluation([False] * 20), evaluation(flipped)
    for side in (base, tuned):
        for sample in side:
            sample["group"] = str(int(sample["example_id"][1:]) // 5)
    together = compared(base, tuned)
    width = [
        result["tool_call/accuracy"]["ci95"][1] - result["tool_call/accuracy"]["ci95"][0]
        for result in (apart, together)
    ]
    assert width[1] > 1.5 * width[0]
    assert together["n_groups"] == 4


def test_one_conversation_gives_no_interval_to_speak_of():
    result = compared([record("a", 1, (WRONG,))], [record("a", 1, (RIGHT,))])
    assert result["tool_call/accuracy"]["ci95"] == [-1, 1]


def test_a_turn_skipped_on_one_side_is_wrong_there_and_left_out_of_the_paired_scores():
    base = [record("a", said=(RIGHT,)), record("b", said=(WRONG,))]
    tuned = [record("a", skip="prompt_too_long"), record("b", said=(RIGHT,))]
    result = compared(base, tuned)
    accuracy, exact = result["tool_call/accuracy"], result["tool_call/args_exact_match"]
    assert (accuracy["base"], accuracy["tuned"], accuracy["n"]) == (0.5, 0.5, 2)
    assert (exact["base"], exact["tuned"], exact["n"]) == (0, 1, 1)


def test_flips_are_listed_by_id_and_are_as_many_as_are_counted():
    entry = compared(BASE, TUNED)["tool_call/accuracy"]
    assert entry["fixed"] == [f"t{i}/1" for i in range(20) if i % 4]
    assert entry["broken"] == [f"t{i}/1" for i in range(0, 20, 4)]
    abstain = compared(BASE, TUNED)["tool_call/abstain_accuracy"]
    assert (abstain["fixed"], abstain["broken"], abstain["mcnemar_p"]) == ([], [], 1.0)


def test_the_sign_flip_test_is_mcnemars_where_turns_are_apart_and_weaker_where_they_are_not():
    apart = compared(BASE, TUNED)["tool_call/accuracy"]
    assert apart["sign_flip_p"] == pytest.approx(apart["mcnemar_p"])
    assert apart["most_turns_of_a_conversation"] == 1
    one_sided = evaluation([False] * 20), evaluation([True] * 10 + [False] * 10)
    for side in one_sided:
        for sample in side:
            sample["group"] = str(int(sample["example_id"][1:]) // 5)
    together = compared(*one_sided)["tool_call/accuracy"]
    assert together["mcnemar_p"] == pytest.approx(2 * 0.5**10)
    assert together["sign_flip_p"] == 0.5  # two conversations that differ: 2 of 4 sign patterns
    assert together["design_effect"] == 5
    assert together["detectable_difference"] is None  # as if there were 4 turns
    assert together["most_turns_of_a_conversation"] == 5


def test_every_metric_has_a_p_value_and_intervals_of_either_side():
    result = compared(BASE, TUNED)
    for key, entry in result.items():
        if key.startswith("tool_call/"):
            assert 0 < entry["sign_flip_p"] <= 1
            if key != "tool_call/balanced_accuracy":
                for side in ("base", "tuned"):
                    low, high = entry[f"{side}_cluster_ci95"]
                    assert low <= entry[side] <= high


def test_no_difference_and_nothing_but_differences_are_no_certainty():
    same = compared(BASE, BASE)["tool_call/accuracy"]
    assert same["ci95"] == [-wilson(0, 20)[1], wilson(0, 20)[1]]
    assert same["sign_flip_p"] == 1
    low, high = compared(evaluation([False] * 9), evaluation([True] * 9))["tool_call/accuracy"][
        "ci95"
    ]
    assert 0.3 < low < 0.6
    assert high == 1


def test_without_a_held_out_set_the_main_section_is_about_all_samples():
    base = evaluation([False] * 4, dataset="bfcl_simple")
    tuned = evaluation([True] * 4, dataset="bfcl_simple")
    result = compared(base, tuned)
    assert (result["main_set"], result["n_samples"]) == ("all", 8)
    assert result["datasets"]["bfcl_simple"]["tool_call/accuracy"] == result["tool_call/accuracy"]
    assert result["tool_call/accuracy"]["fixed"] == ["t0/1", "t1/1", "t2/1", "t3/1"]


def test_ids_of_several_sets_together_say_which_set_they_are_of():
    sets = ("bfcl_a", "bfcl_b")
    base, tuned = (
        [sample for name in sets for sample in evaluation([right] * 2, dataset=name)]
        for right in (False, True)
    )
    result = compared(base, tuned)
    assert result["n_samples"] == 8
    flips = result["tool_call/accuracy"]["fixed"]
    assert flips == ["bfcl_a:t0/1", "bfcl_a:t1/1", "bfcl_b:t0/1", "bfcl_b:t1/1"]
    assert list(result["datasets"]) == [*sets]
    assert result["datasets"]["bfcl_b"]["tool_call/accuracy"]["fixed"] == ["t0/1", "t1/1"]


def test_several_answers_to_a_prompt_are_paired_answer_by_answer_in_one_conversation():
    base, tuned = (
        [{**record("a", said=(said,)), "repeat": i} for i, said in enumerate(answers)]
        for answers in ((RIGHT, WRONG, WRONG), (WRONG, RIGHT, RIGHT))
    )
    entry = compared(base, tuned)["tool_call/accuracy"]
    assert (entry["n"], entry["fixed"], entry["broken"]) == (3, ["a/1#1", "a/1#2"], ["a/1"])
    assert entry["sign_flip_p"] == 1


def old(samples: Records) -> Records:
    """As an earlier version wrote them."""
    kept = ("sample_id", "example_id", "dataset", "kind", "gt_tool_calls")
    verdict = ("correct", "outcome", "scores")
    return [
        {key: sample[key] for key in kept}
        | {"verdict": {key: sample["verdict"][key] for key in verdict}}
        for sample in samples
    ]


def test_records_without_what_is_newer_than_they_are_still_compare():
    result, whole = compared(old(BASE), TUNED), compared(BASE, TUNED)
    assert result["tool_call/accuracy"] == whole["tool_call/accuracy"]
    assert "tool_call/accuracy_normalised" not in result
    assert "by_tool" in result["breakdown"]
    assert compared(old(BASE), old(TUNED))["tool_call/accuracy"] == whole["tool_call/accuracy"]


# -------------------------------------------------------------------------------------- several


def test_each_of_several_is_compared_with_the_first_and_adjusted_for_their_number():
    better = evaluation([True] * 10 + [False] * 10)
    worse = evaluation([False] * 20)
    result = compare_several([("a", worse), ("b", better), ("c", worse), ("d", TUNED)])
    assert result["names"] == ["a", "b", "c", "d"]
    assert [c["tuned_name"] for c in result["comparisons"]] == ["b", "c", "d"]
    for found, tuned in zip(result["comparisons"], (better, worse, TUNED), strict=True):
        alone = compare_evaluations(worse, tuned, "a", found["tuned_name"])
        entry = dict(found["tool_call/accuracy"])
        p = entry.pop("sign_flip_p_holm")
        entry.pop("mcnemar_p_holm")
        assert entry == alone["tool_call/accuracy"]
        assert p >= entry["sign_flip_p"]
    ps = [c["tool_call/accuracy"]["sign_flip_p"] for c in result["comparisons"]]
    adjusted = [c["tool_call/accuracy"]["sign_flip_p_holm"] for c in result["comparisons"]]
    assert adjusted == holm(ps)
    assert adjusted[0] == pytest.approx(2 * ps[0])


def test_what_all_of_several_hold_is_what_common_compares():
    one, two, three = BASE, TUNED[2:], TUNED[:-3]
    result = compare_several([("1", one), ("2", two), ("3", three)], common=True)
    first, second = result["comparisons"]
    assert first["n_samples"] == second["n_samples"] == 35
    assert (first["n_only_base"], first["n_only_tuned"], second["n_only_tuned"]) == (5, 3, 2)


# --------------------------------------------------------------------------------------- tables


def test_the_breakdown_of_both_sides_agrees_with_that_of_each():
    base, tuned = compared_tools(), compared_tools(RIGHT)
    tables = compared(base, tuned)["breakdown"]
    for name in ("by_tool", "by_turn", "by_calls"):
        for key, row in tables[name].items():
            for side, own in (("base", breakdown(base)), ("tuned", breakdown(tuned))):
                assert row[side] == own[name][key]["accuracy"]
                assert row["n"] == own[name][key]["n"]
                assert row[f"{side}_ci95"] == own[name][key]["ci95"]
    row = tables["by_tool"]["f"]
    assert (row["fixed"], row["broken"], row["n"]) == (3, 0, 4)
    assert {key: (row["base"], row["tuned"]) for key, row in tables["failures"].items()} == {
        "malformed": (1, 0),
        "no_call": (1, 0),
        "wrong_value": (1, 0),
    }
    assert tables["attempts"] == {
        "ok": {"base": 2, "tuned": 4},
        "invalid_json": {"base": 1, "tuned": 0},
    }
    assert tables["malformed_turns"]["base"] == {
        "turns": 1,
        "wrong_call_turns": 3,
        "wrong_and_malformed": 1,
    }


def test_both_sides_share_the_rows_of_the_tuned_side_which_knows_what_it_was_trained_on():
    told = {"seen_tools": ["f"], "prompt_messages": [{"role": "user"}, {"tool_calls": [{}]}]}
    tuned = [sample | told for sample in compared_tools(RIGHT)]
    tables = compared(compared_tools(), tuned)["breakdown"]
    for name, key in (("by_seen_tools", "seen"), ("by_turn", "2")):
        row = tables[name][key]
        assert (row["n"], row["base_correct"], row["tuned_correct"]) == (4, 1, 4)


def compared_tools(said=None) -> Records:
    answers = [(RIGHT,), (WRONG,), (GARBAGE,), ()]
    return [record(f"t{i}", 1, (said,) if said else a) for i, a in enumerate(answers)]


# ---------------------------------------------------------------------------------------- files


def write_samples(path, samples: Records) -> None:
    path.write_text("".join(json.dumps(s, ensure_ascii=False) + "\n" for s in samples))


def test_an_evaluation_is_read_from_its_folder_or_its_file(tmp_path):
    samples = [{**sample, "text": "a\u2028b\u0085c"} for sample in BASE]
    write_samples(tmp_path / "samples.jsonl", samples)
    assert load_evaluation(tmp_path) == samples
    assert load_evaluation(str(tmp_path / "samples.jsonl")) == samples


@pytest.mark.parametrize(
    ("second_line", "why"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "`sample_id` is missing"),
        (json.dumps({**BASE[0], "verdict": {}}), "verdict: `correct` is missing"),
        (json.dumps({**BASE[0], "gt_tool_calls": "x"}), "`gt_tool_calls` is missing or not"),
    ],
)
def test_a_broken_line_is_an_error_with_its_number(tmp_path, second_line, why):
    file = tmp_path / "samples.jsonl"
    file.write_text(json.dumps(BASE[0]) + "\n" + second_line + "\n")
    with pytest.raises(UserError, match=rf"samples\.jsonl, line 2.*{why}"):
        load_evaluation(file)


def test_a_missing_or_empty_evaluation_is_an_error_that_says_what_to_give(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="tooltune eval --out"):
            load_evaluation(path)
    (tmp_path / "samples.jsonl").write_text("\n")
    with pytest.raises(UserError, match="no samples"):
        load_evaluation(tmp_path)


def test_a_written_comparison_is_whole_and_leaves_nothing_beside_it(tmp_path):
    target = tmp_path / "out" / "comparison.json"
    comparison = compared(BASE, TUNED)
    for _ in range(2):
        write_comparison(target, comparison)
        assert json.loads(target.read_text()) == comparison
    assert [path.name for path in target.parent.iterdir()] == ["comparison.json"]


def test_a_failed_write_is_an_error_and_keeps_what_was_there(tmp_path, monkeypatch):
    target = tmp_path / "comparison.json"
    target.write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(UserError, match="disk full"):
        write_comparison(target, {})
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
