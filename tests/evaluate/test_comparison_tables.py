"""What a comparison looks like: as text for a terminal, and as Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.records import GARBAGE, RIGHT, WRONG, record
from tooltune.evaluate.compare import compare_evaluations, compare_several, render_table
from tooltune.evaluate.comparison_markdown import code, render_markdown

GOLDEN = Path(__file__).parent / "golden"

Records = list[dict[str, Any]]


def evaluation(rights: list[bool], *, wrong: Any = WRONG, **options: Any) -> Records:
    """Two call turns a trace, and one that should not call, which is always right."""
    calls = [
        record(f"t{i // 2}", i % 2, (RIGHT if right else wrong,), **options)
        for i, right in enumerate(rights)
    ]
    return calls + [record(f"t{i}", 3, kind="abstain", **options) for i in range(len(rights) // 2)]


BASE = evaluation([True, False, False, False] * 5, wrong=GARBAGE)
TUNED = evaluation([False, True, True, True] * 5)
OTHER = {"dataset": "unseen|tools"}
NAMES = "org/base_model|v1", "`tuned` *model* <b>@me</b> #1"


def comparison(**options: Any) -> dict[str, Any]:
    base = BASE + evaluation([False] * 4, **OTHER)
    tuned = TUNED + evaluation([True] * 4, **OTHER)
    return compare_evaluations(base, tuned, *NAMES, **options)


def several() -> dict[str, Any]:
    return compare_several([(NAMES[0], BASE), (NAMES[1], TUNED), ("third", BASE)])


def blocks(text: str) -> list[list[str]]:
    return [block.splitlines() for block in text.split("\n\n")]


# ----------------------------------------------------------------------------------------- text


def test_the_table_is_aligned_and_holds_every_metric_headlines_first():
    result = comparison()
    lines = blocks(render_table(result))[0]
    assert lines[0] == "held-out samples: 20 call turns, 30 turns, 10 traces"
    assert lines[1] == f"base: {NAMES[0]}   tuned: {NAMES[1]}"
    rows = lines[2:]
    assert len({len(row) for row in rows}) == 1
    named = [row.split()[0] for row in rows[1:]]
    assert named[:2] == ["accuracy", "accuracy_normalised"]
    assert {f"tool_call/{name}" for name in named} == {k for k in result if "tool_call/" in k}
    assert max(map(len, render_table(result).splitlines())) <= 100


def test_both_tests_stand_side_by_side_with_a_word_on_which_to_believe():
    lines = blocks(render_table(comparison()))[1]
    assert lines[0].split() == [
        "turns",
        "fixed",
        "broken",
        "sign-flip",
        "p",
        "McNemar",
        "exact",
        "p",
    ]
    accuracy = comparison()["tool_call/accuracy"]
    p = f"{accuracy['sign_flip_p']:.3f}"
    assert lines[1].split() == ["accuracy", "15", "5", p, "0.041"]
    assert "believe the sign-flip test" in lines[-2]
    assert "(up to 2)" in lines[-2]


def test_single_turns_need_no_choice_between_the_tests():
    pair = [record("a", said=(RIGHT,)), record("b", said=(WRONG,))]
    table = render_table(compare_evaluations(pair, pair, "a", "b"))
    assert "either test may be believed" in table


def test_what_could_not_be_seen_is_said_where_nothing_was():
    same = evaluation([True, False] * 46)
    result = compare_evaluations(same, same, "a", "b")
    least = result["tool_call/accuracy"]["detectable_difference"]
    assert f"with 92 turns a difference under {least:.2f} would not be seen" in render_table(result)
    alone = [record("a", said=(RIGHT,))]
    assert "with 1 turn no difference whatever" in render_table(
        compare_evaluations(alone, alone, "a", "b")
    )
    assert "would not be seen" not in render_table(
        compare_evaluations(evaluation([False] * 40), evaluation([True] * 40), "a", "b")
    )


def test_other_sets_failures_parse_status_and_tools_follow():
    table = render_table(comparison())
    assert re.search(r"unseen\|tools +accuracy +0\.000 +1\.000 +\+1\.000", table)
    assert re.search(r"\nmalformed +15 +0 +-15\n", table)
    assert re.search(r"\ninvalid_json +15 +0 +-15\n", table)
    assert "attempt that does not parse: base 15 of 15, tuned 0 of 5" in table
    assert re.search(r"\nf +0\.250 +0\.750 +15 +5 +20$", table)


def test_samples_that_were_left_out_are_counted_in_the_table():
    result = compare_evaluations(BASE[1:], TUNED[:-2], "a", "b", common=True)
    told = "only the samples that all have are compared: 2 of base and 1 of tuned are left out"
    assert told in render_table(result)
    assert told in render_markdown(result)
    assert "left out" not in render_table(comparison())


def test_a_suite_is_named_and_no_set_is_called_held_out():
    base = evaluation([True] * 4, dataset="bfcl_simple")
    assert render_table(compare_evaluations(base, base, "a", "b")).startswith("bfcl_simple: 4 call")
    assert "set " not in render_table(compare_evaluations(base, base, "a", "b"))
    two = base + evaluation([True] * 4, dataset="bfcl_multiple")
    assert "\nbfcl_multiple  accuracy" in render_table(compare_evaluations(two, two, "a", "b"))
    assert render_table(compare_evaluations(two, two, "a", "b")).startswith("all samples: 8 call")


def test_several_stand_below_each_other_with_adjusted_p_values():
    lines = render_table(several()).splitlines()
    assert lines[2:4] == [f"  (2): {NAMES[1]}", "  (3): third"]
    rows = [line.split() for line in lines if "(2)" in line or "(3)" in line]
    entry = several()["comparisons"][0]["tool_call/accuracy"]
    assert rows[2][1:3] == ["0.750", "+0.500"]
    assert rows[2][-3:] == [f"{entry['sign_flip_p_holm']:.3f}", "15", "5"]
    assert rows[3][2:3] == ["+0.000"]


# ------------------------------------------------------------------------------------- Markdown


@pytest.mark.parametrize(("name", "made"), [("two", comparison), ("several", several)])
def test_the_markdown_is_that_of_the_golden_file(name, made):
    assert render_markdown(made()) == (GOLDEN / f"comparison_{name}.md").read_text("utf-8")


@pytest.mark.parametrize("made", [comparison, several])
def test_every_row_of_a_markdown_table_has_the_cells_of_its_head(made):
    for block in render_markdown(made()).split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1


ANY_TEXT = st.text(st.characters(codec=None) | st.sampled_from("`|\\*_<>@#\n\r\u2028\u202e"))


@given(ANY_TEXT)
def test_a_name_of_any_characters_is_one_whole_code_span(name):
    """By the rule of CommonMark 6.1: it ends at the first run of as many backticks as began it."""
    span = code(name)
    fence = re.match("`+", span)[0]
    inner = span[len(fence) : -len(fence)]
    assert span.endswith(fence)
    assert fence not in re.findall("`+", inner)
    assert span.isprintable()
    if name.isprintable() and name == " ".join(name.split()) != "":
        padded = inner.startswith(" ") and inner.endswith(" ")
        assert (inner[1:-1] if padded else inner) == name


@given(ANY_TEXT, ANY_TEXT)
def test_names_never_break_a_table(base, dataset):
    samples = evaluation([True] * 2) + evaluation([True] * 2, dataset=dataset)
    text = render_markdown(compare_several([(base, samples), (dataset, samples), ("c", samples)]))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9}
