from __future__ import annotations

import pytest

from tests.report.fabricate import entry
from tooltune.report.numbers import DASH, MINUS, p_value
from tooltune.report.tables import comparison_from_metrics, headline, metric_tables

ACCURACY = {
    "base": 0.043,
    "tuned": 0.728,
    "difference": 0.685,
    "ci95": [0.587, 0.772],
    "mcnemar_p": 3e-9,
    "base_only": 2,
    "tuned_only": 65,
    "base_ci95": [0.01, 0.09],
    "tuned_ci95": [0.629, 0.81],
}


def test_the_headline_says_the_numbers_of_the_comparison() -> None:
    basis = {"n_samples": 122, "n_call_turns": 92, "n_traces": 1}
    told = headline({"tool_call/accuracy": ACCURACY, **basis}, {})
    assert told.base
    assert told.tuned
    assert (told.base.text, told.tuned.text) == ("4.3%", "72.8%")
    assert (told.difference, told.interval) == ("+68.5 points", "+58.7 to +77.2")
    assert told.tuned.interval == "62.9 to 81.0%"
    assert told.sentences[1] == (
        "Measured on 1 trace: 92 turns that should call a tool and 30 that should not."
    )
    assert "fixed 65 and broke 2" in told.sentences[2]
    assert "almost never" in told.sentences[2]
    assert "p < 0.0001" in told.sentences[2]


@pytest.mark.parametrize(
    ("p", "words"), [(0.0004, "almost never"), (0.04, "seldom"), (0.05, "could well")]
)
def test_the_words_for_mcnemar_follow_its_p(p: float, words: str) -> None:
    told = headline({"tool_call/accuracy": {**ACCURACY, "mcnemar_p": p}}, {})
    assert words in told.sentences[-1]
    assert p_value(p) in told.sentences[-1]


def test_chance_is_judged_by_conversation_where_that_is_known() -> None:
    told = headline({"tool_call/accuracy": {**ACCURACY, "sign_flip_p": 0.21}}, {})
    assert "could well have" in told.sentences[-1]
    assert "sign-flip test by conversation, p = 0.21; exact McNemar" in told.sentences[-1]


def test_where_no_difference_is_shown_the_page_says_what_could_have_been() -> None:
    unclear = {**ACCURACY, "ci95": [-0.1, 0.2], "detectable_difference": 0.123}
    told = headline({"tool_call/accuracy": unclear}, {}).sentences[-1]
    assert told == "So many turns would show a difference of 12.3 points 4 times out of 5."
    clear = {**unclear, "ci95": [0.1, 0.2]}
    assert "12.3" not in headline({"tool_call/accuracy": clear}, {}).sentences[-1]


@pytest.mark.parametrize(
    ("ci95", "trend", "words"),
    [
        ([0.01, 0.2], "better", "more often"),
        ([-0.2, -0.01], "worse", "less often"),
        ([-0.1, 0.2], "unclear", "No difference"),
        ([0.0, 0.2], "unclear", "No difference"),
    ],
)
def test_only_an_interval_without_zero_is_a_difference(
    ci95: list[float], trend: str, words: str
) -> None:
    told = headline({"tool_call/accuracy": {**ACCURACY, "ci95": ci95}}, {})
    assert told.trend == trend
    assert words in told.sentences[0]


def test_fewer_malformed_calls_are_better() -> None:
    (table,) = metric_tables({"tool_call/malformed_rate": entry(0.3, 0.02)}, {})
    assert table.rows[0].trend == "better"
    assert table.rows[0].difference == f"{MINUS}28.0"


def test_extra_data_sets_have_tables_of_their_own_and_unknown_metrics_come_last() -> None:
    main, extra = metric_tables(
        {
            "tool_call/novel_metric": entry(0.1, 0.2),
            "tool_call/accuracy": entry(0.0, 0.5),
            "tool_call/_skip_too_long": entry(0, 2),
            "tool_call/unseen_tools/accuracy": entry(0.9, 0.9),
            "n_samples": 7,
            "datasets": {"unseen_tools": {"tool_call/accuracy": entry(0.0, 0.4)}},
        },
        comparison_from_metrics(
            {"tool_call/_count": 92, "tool_call/unseen_tools/_count": 9},
            {"tool_call/_count": 90, "tool_call/unseen_tools/_count": 9},
        ),
    )
    assert [row.key for row in main.rows] == ["accuracy", "novel_metric"]
    assert main.rows[0].tuned == "50.0%"
    assert main.counts == (("count", "92", "90"), ("skip_too_long", "0", "2"))
    assert extra.counts == (("count", "9", "9"),)
    assert (extra.dataset, extra.rows[0].tuned) == ("unseen_tools", "40.0%")


def test_values_that_are_missing_or_not_finite_show_as_a_dash() -> None:
    broken = {"base": None, "tuned": float("nan"), "difference": None, "ci95": [None, 1]}
    (table,) = metric_tables({"tool_call/accuracy": broken}, {})
    row = table.rows[0]
    assert (row.base, row.tuned, row.difference, row.interval) == (DASH, DASH, DASH, "")
    assert headline({"tool_call/accuracy": broken}, {}).base is None


def test_a_loss_is_no_percentage() -> None:
    (table,) = metric_tables({"val_loss": entry(2.0, 0.5)}, {})
    assert (table.rows[0].base, table.rows[0].difference) == ("2.000", f"{MINUS}1.500")
    assert table.rows[0].trend == "better"


def test_metrics_of_two_evaluations_stand_in_for_a_comparison() -> None:
    made = comparison_from_metrics(
        {"tool_call/accuracy": 0.1, "tool_call/unseen_tools/accuracy": 0.2, "model": "a"},
        {"tool_call/accuracy": 0.4, "n_samples": 9},
    )
    assert made["tool_call/accuracy"]["difference"] == pytest.approx(0.3)
    assert made["datasets"]["unseen_tools"]["tool_call/accuracy"]["tuned"] is None
    assert (made["base_name"], made["n_samples"]) == ("a", 9)
