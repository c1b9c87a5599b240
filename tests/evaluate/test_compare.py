from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.records import RIGHT, WRONG, record
from tooltune.errors import UserError
from tooltune.evaluate.compare import (
    compare_evaluations,
    load_evaluation,
    render_table,
    write_comparison,
)
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
    assert result["datasets"] == {}


def test_balanced_accuracy_weighs_the_two_kinds_alike():
    base = [record("a", 1, (WRONG,)), *[record(t, 3, kind="abstain") for t in "abcd"]]
    tuned = [record("a", 1, (RIGHT,)), *[record(t, 3, kind="abstain") for t in "abcd"]]
    entry = compared(base, tuned)["tool_call/balanced_accuracy"]
    assert (entry["base"], entry["tuned"], entry["ci95"]) == (0.5, 1.0, [0.5, 0.5])


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


def test_samples_on_one_side_only_are_an_error_that_names_them():
    with pytest.raises(UserError, match=r"1 samples are only in the base evaluation: t19/3"):
        compared(BASE, TUNED[:-1])
    with pytest.raises(UserError, match=r"2 samples are only in the tuned evaluation: t18/3, t19"):
        compared(BASE[:-2], TUNED)
    moved = [{**sample, "dataset": "unseen_tools"} for sample in TUNED]
    with pytest.raises(UserError, match=r"t0/1, t1/1, t2/1, t3/1, t4/1, …"):
        compared(BASE, moved)


def test_another_ground_truth_is_an_error_that_names_the_samples():
    changed = copy.deepcopy(TUNED)
    changed[2]["gt_tool_calls"][0]["arguments"]["x"] = True
    with pytest.raises(UserError, match=r"another ground truth.*t2/1"):
        compared(BASE, changed)
    same = copy.deepcopy(TUNED)
    same[2]["gt_tool_calls"][0]["arguments"]["x"] = 1.0
    compared(BASE, same)


def test_a_sample_twice_and_no_samples_are_errors():
    with pytest.raises(UserError, match=r"base evaluation holds sample t0/1 twice"):
        compared([*BASE, BASE[0]], TUNED)
    with pytest.raises(UserError, match="empty"):
        compared([], [])


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


def test_the_table_is_aligned_and_holds_every_metric_of_every_set():
    extra = {"dataset": "unseen_tools"}
    base = BASE + evaluation([False, False], **extra)
    result = compared(base, TUNED + evaluation([True, True], **extra))
    table = render_table(result)
    held_out, unseen = table.split("\n\n")
    rows = held_out.splitlines()[2:-1]
    assert len({len(row) for row in rows}) == 1
    assert [row.split()[0] for row in rows[1:]] == [
        key.removeprefix("tool_call/") for key in result if key.startswith("tool_call/")
    ]
    assert "accuracy: 15 turns fixed, 5 broken (McNemar exact p = 0.041)" in held_out
    assert "+0.500" in held_out
    assert unseen.startswith("unseen_tools: 2 call turns")
