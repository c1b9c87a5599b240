from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tooltune.report.diff import diff_calls

values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("xy"), inner, max_size=2),
    max_leaves=4,
)
calls = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["f", "g", "h"]),
            "arguments": st.dictionaries(st.sampled_from(["a", "b", "c"]), values, max_size=3),
        }
    ),
    max_size=4,
)


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments, "status": "ok"}


@given(calls, st.randoms())
def test_the_same_calls_in_any_order_show_no_difference(truth: list[Any], rng: Any) -> None:
    shuffled = list(truth)
    rng.shuffle(shuffled)
    assert {diff.state for diff in diff_calls(truth, shuffled)} <= {"same"}


@given(calls, calls)
def test_every_call_of_both_sides_appears_exactly_once(truth: list[Any], made: list[Any]) -> None:
    diffs = diff_calls(truth, made)
    assert [d.expected_name for d in diffs if d.state != "extra"] == [c["name"] for c in truth]
    assert sorted(d.actual_name or "" for d in diffs if d.state != "missing") == sorted(
        c["name"] for c in made
    )


@given(calls, calls)
def test_every_argument_of_a_pair_appears_once_with_its_state(
    truth: list[Any], made: list[Any]
) -> None:
    for diff in diff_calls(truth, made):
        assert len({a.key for a in diff.arguments}) == len(diff.arguments)
        for argument in diff.arguments:
            assert (argument.expected is None) == (argument.state == "extra")
            assert (argument.actual is None) == (argument.state == "missing")


def test_wrong_missing_and_extra_arguments_are_told_apart() -> None:
    (diff,) = diff_calls(
        [call("f", city="Lima", unit="C", n=1)], [call("f", city="lima", n=1, x=0)]
    )
    assert diff.state == "wrong"
    assert {a.key: a.state for a in diff.arguments} == {
        "city": "wrong",
        "unit": "missing",
        "n": "same",
        "x": "extra",
    }
    assert diff.arguments[0].expected == '"Lima"'
    assert diff.arguments[0].actual == '"lima"'


def test_a_call_that_did_not_parse_is_never_shown_as_the_same() -> None:
    (diff,) = diff_calls([call("f")], [{"name": "f", "arguments": {}, "status": "unclosed"}])
    assert (diff.state, diff.status) == ("wrong", "unclosed")


def test_a_call_without_a_name_is_shown_as_nameless() -> None:
    (diff,) = diff_calls([], [{"name": None, "arguments": {}, "status": "missing_name"}])
    assert (diff.state, diff.actual_name) == ("extra", "(no name)")


def test_equality_is_that_of_the_score() -> None:
    truth = call("f", a=True, b=1, c={"x": [1], "y": 2}, d="1")
    (diff,) = diff_calls([truth], [call("f", a=1, b=1.0, c={"y": 2, "x": [1]}, d=1)])
    assert {a.key: a.state for a in diff.arguments} == {
        "a": "wrong",
        "b": "same",
        "c": "same",
        "d": "wrong",
    }


def test_arguments_nested_beyond_reason_are_shown_as_such() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    (diff,) = diff_calls([], [call("f", x=deep)])
    assert diff.arguments[0].actual == "(nested too deeply to show)"
