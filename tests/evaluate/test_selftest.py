"""The grader's self-test: sound graders pass on any data, each kind of broken one is found out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.render.strategies import renderable_traces
from tests.toolcalls import families
from tests.toolcalls.formats.json_ways import HERMES, WAYS
from tooltune.errors import UserError
from tooltune.evaluate import selftest
from tooltune.evaluate.perturb import another_value
from tooltune.evaluate.prepare import render_samples
from tooltune.evaluate.samples import EvalSample
from tooltune.evaluate.selftest import SelfTest, self_test
from tooltune.render.turns import Renderer
from tooltune.render.types import Turn
from tooltune.toolcalls.choices import OneOf
from tooltune.toolcalls.json_text import json_equal
from tooltune.toolcalls.normalise import means
from tooltune.toolcalls.parse import parse_turn
from tooltune.toolcalls.schema_view import view
from tooltune.toolcalls.score import TurnScore, score_turn
from tooltune.toolcalls.truth import ANY_CALL, GroundTruth, TruthCall
from tooltune.toolcalls.types import ParsedTurn
from tooltune.traces.types import Message, Source, Tool, ToolCall, Trace

TRIP = ("book_trip", {"from": "Rome", "to": "Oslo", "seats": 1, "window": True})
TIME = ("get_time", {"city": "Rome"})


def make_sample(
    calls: Sequence[tuple[str, dict[str, Any]]],
    text: str | None = None,
    *,
    tools: Sequence[str] | None = ("book_trip", "get_time"),
    own_truth: GroundTruth | None = None,
) -> EvalSample:
    """A turn that makes these calls; `text` is how its template writes it (None: not rendered)."""
    said = Message("assistant", tool_calls=tuple(ToolCall(n, a) for n, a in calls))
    listed = tuple(Tool({"name": name, "parameters": {"type": "object"}}) for name in tools or ())
    trace = Trace((Message("user", "Please."), said), listed, source=Source("trips.jsonl", 4))
    turn = None if text is None else Turn(trace.id, 1, (1,), (2,), (1.0,), "", text)
    return EvalSample(trace, 1, turn, own_truth=own_truth)


def hermes_sample(*calls: tuple[str, dict[str, Any]]) -> EvalSample:
    return make_sample(calls, HERMES.write(calls, False) if calls else "Hello.<|im_end|>\n")


SAMPLES = [hermes_sample(TRIP), hermes_sample(TRIP, TIME), hermes_sample(TIME), hermes_sample()]


def problems(result: SelfTest) -> dict[str, list[str]]:
    """What was found, by check."""
    found: dict[str, list[str]] = {}
    for failure in result.failures:
        found.setdefault(failure.check, []).append(failure.problem)
    return found


# ------------------------------------------------------------------------- sound data and grader


@given(trace=renderable_traces())
def test_the_grader_passes_on_whatever_a_template_renders(
    builtin_tokenizer: Any, trace: Trace
) -> None:
    renderer = Renderer(builtin_tokenizer)
    samples = render_samples([trace], renderer, include_abstain=True)
    result = self_test(samples, call_format=renderer.profile.call_format)
    assert result.failures == ()
    assert result.n == len(samples)


@pytest.mark.parametrize("way", WAYS)
@given(calls=families.calls, as_objects=st.booleans())
def test_the_grader_passes_on_every_syntax(
    way: str, calls: list[families.Call], as_objects: bool
) -> None:
    written = WAYS[way]
    sample = make_sample(calls, None if as_objects else written.write(calls, True), tools=None)
    result = self_test([sample], call_format=written.format)
    assert result.failures == ()
    assert result.n_perturbed == 1
    assert result.n_changes >= 4


@given(calls=families.calls)
def test_the_order_of_calls_may_count_and_the_grader_still_passes(
    calls: list[families.Call],
) -> None:
    sample = make_sample(calls, HERMES.write(calls, False), tools=None)
    assert self_test([sample], call_format="hermes", matching="positional").failures == ()
    assert self_test([sample], call_format="hermes", mode="recover").failures == ()


def test_everything_that_can_be_spoilt_is() -> None:
    result = self_test(SAMPLES, call_format="hermes")
    assert result.failures == ()
    # One call: name, dropped, value, type, swapped, too many arguments, JSON, too many calls, half.
    # Two: those, the order, and a dropped call. One argument: no type, no swap. Silence: two calls.
    assert (result.n, result.n_perturbed, result.n_changes) == (4, 4, 9 + 11 + 7 + 2)
    assert result.require_passed() == frozenset()


def test_perturbations_are_bounded_and_go_to_distinct_shapes() -> None:
    towns = [hermes_sample(("get_time", {"city": f"Town {i}"})) for i in range(30)]
    shapes = [hermes_sample(("f", {str(j): j for j in range(i)})) for i in range(30)]
    assert self_test(towns, call_format="hermes").n_perturbed == 1
    assert self_test([*towns, *shapes], call_format="hermes").n_perturbed == 31
    assert self_test(shapes, call_format="hermes", max_perturbed=7).n_perturbed == 7
    assert self_test(shapes, call_format="hermes", max_perturbed=0).n_changes == 0
    assert self_test(shapes, call_format="hermes") == self_test(shapes, call_format="hermes")


def test_alternatives_are_right_and_what_none_allows_is_wrong() -> None:
    any_seat = TruthCall("book", {"to": "Oslo", "seat": OneOf((1, "one"))}, {"class": ("any",)})
    other = TruthCall("get_time", {}, optional=frozenset())
    for truth in (
        GroundTruth(((any_seat,),)),
        GroundTruth(((any_seat, other), (other,))),
        GroundTruth(((any_seat,), ())),  # saying nothing would do, too
        GroundTruth(((), (other,))),
    ):
        sample = make_sample([], own_truth=truth)
        assert self_test([sample]).failures == ()


def test_values_are_read_by_the_schemas_of_the_tools_at_hand() -> None:
    text = "<tool_call>\n<function=f>\n<parameter=x>\n5\n</parameter>\n</function>\n</tool_call>"
    said = Message("assistant", tool_calls=(ToolCall("f", {"x": "5"}),))
    for kind, n_failures in (("string", 0), ("integer", 1)):
        schema = {"type": "object", "properties": {"x": {"type": kind}}}
        tool = Tool({"name": "f", "parameters": schema})
        trace = Trace((Message("user", "Please."), said), (tool,))
        turn = Turn(trace.id, 1, (1,), (2,), (1.0,), "", text)
        result = self_test([EvalSample(trace, 1, turn)], call_format="qwen3_xml")
        assert len(result.failures) == n_failures


@pytest.mark.parametrize("tools", [("get_time",), None])
def test_where_any_call_is_right_silence_and_broken_calls_are_not(
    monkeypatch: pytest.MonkeyPatch, tools: tuple[str, ...] | None
) -> None:
    sample = make_sample([], own_truth=ANY_CALL, tools=tools)
    result = self_test([sample])
    assert (result.failures, result.outside_schema, result.n_perturbed) == ((), (), 1)
    monkeypatch.setattr(selftest, "score_turn", _well_formed_or_not)
    assert problems(self_test([sample])) == {"perturbation": ["a broken call: counts as right"]}
    monkeypatch.setattr(selftest, "score_turn", lambda calls, *rest: score_turn((), *rest))
    assert list(problems(self_test([sample]))) == ["ground_truth"]


def _well_formed_or_not(calls: Any, *rest: Any) -> TurnScore:
    mended = [replace(c, status="ok") if c.status == "invalid_json" else c for c in calls]
    scored = score_turn(mended, *rest)
    malformed = float(any(c.status == "invalid_json" for c in calls))
    return replace(scored, scores={**scored.scores, "malformed": malformed})


def test_ground_truth_against_its_own_schema_is_told_and_no_failure() -> None:
    sample = hermes_sample(("unlisted", {}))
    result = self_test([hermes_sample(TIME), sample], call_format="hermes")
    assert result.failures == ()
    assert result.outside_schema == (sample.sample_id,)


@given(families.values)
def test_another_value_is_another_under_either_comparison(value: Any) -> None:
    other = another_value(value)
    assert not json_equal(other, value)
    assert not means(value, other, view(None))


# ---------------------------------------------------------------------------------- broken data


def test_a_broken_sample_is_an_error_that_says_where_and_what_was_read() -> None:
    text = HERMES.write([("get_time", {"city": "Oslo"})], False)
    broken = make_sample([TIME], text)
    result = self_test([*SAMPLES, broken], call_format="hermes")
    assert result.broken_ids == {broken.sample_id}
    with pytest.raises(UserError) as error:
        result.require_passed()
    for part in ("trips.jsonl", "row 4", "turn 1", "city='Oslo'", "city='Rome'", "wrong_value"):
        assert part in error.value.message
    assert "1 of 5 samples" in error.value.message
    assert "exclude_broken" in (error.value.fix or "")
    assert result.require_passed(exclude_broken=True) == {broken.sample_id}


def test_text_that_no_parser_of_that_name_reads_is_found_and_the_rest_is_counted() -> None:
    result = self_test(SAMPLES, call_format="harmony")
    assert len(result.broken_ids) == 3
    with pytest.raises(UserError, match=r"read no call.*book_trip"):
        result.require_passed()
    many = [make_sample([TIME], f"Nothing {i}.") for i in range(9)]
    with pytest.raises(UserError, match="and 6 more"):
        self_test(many, call_format="hermes").require_passed()


@pytest.mark.parametrize(
    "truth",
    [
        GroundTruth(((TruthCall("f", {"x": float("nan")}),),)),
        GroundTruth(((TruthCall("f", {"x": OneOf(())}),),)),
        GroundTruth(((TruthCall("", {}),),)),
    ],
)
def test_ground_truth_that_no_answer_could_equal_is_a_failure_and_no_crash(
    truth: GroundTruth,
) -> None:
    result = self_test([make_sample([], own_truth=truth), SAMPLES[0]], call_format="hermes")
    assert [failure.check for failure in result.failures] == ["ground_truth"]


def test_an_answer_that_should_be_silent_and_is_not_is_found() -> None:
    text = HERMES.write([TIME], False)
    assert list(problems(self_test([make_sample([], text)], call_format="hermes"))) == [
        "ground_truth"
    ]


def test_a_format_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match="format"):
        self_test(SAMPLES, call_format="smoke signals")
    with pytest.raises(UserError, match="matching"):
        self_test([], matching="lucky")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------- broken graders

Scorer = Callable[..., TurnScore]


def _rescored(change: Callable[[Any], Any]) -> Scorer:
    """A scorer that sees the arguments of both sides through `change`."""

    def score(calls: Any, truth: GroundTruth, *rest: Any) -> TurnScore:
        seen = [replace(call, arguments=change(call.arguments)) for call in calls]
        sets = [
            tuple(replace(call, arguments=change(call.arguments)) for call in accepted)
            for accepted in truth.accepted
        ]
        return score_turn(seen, GroundTruth(tuple(sets)), *rest)

    return score


def _bools_as_numbers(arguments: Any) -> dict[str, Any]:
    return {k: int(v) if isinstance(v, bool) else v for k, v in arguments.items()}


def _values_anywhere(arguments: Any) -> dict[str, Any]:
    return dict(zip(sorted(arguments), sorted(arguments.values(), key=repr), strict=True))


def _ignoring_extras(calls: Any, truth: GroundTruth, *rest: Any) -> TurnScore:
    return score_turn(calls[: max(len(truth.calls), 1)], truth, *rest)


def _by_position(calls: Any, truth: Any, tools: Any = None, matching: Any = None) -> TurnScore:
    return score_turn(calls, truth, tools, "positional")


def _forgiving_names(calls: Any, truth: GroundTruth, *rest: Any) -> TurnScore:
    names = [call.name for call in truth.calls]
    seen = [replace(c, name=n, status="ok") for c, n in zip(calls, names, strict=False)]
    return score_turn([*seen, *calls[len(seen) :]], truth, *rest)


def _known_arguments_only(calls: Any, truth: GroundTruth, *rest: Any) -> TurnScore:
    known = {key for call in truth.calls for key in call.known}
    kept = [
        replace(c, arguments={k: v for k, v in c.arguments.items() if k in known}) for c in calls
    ]
    return score_turn(kept, truth, *rest)


def _well_formed_only(calls: Any, *rest: Any) -> TurnScore:
    return score_turn([call for call in calls if call.arguments_valid_json], *rest)


def _with_score(name: str, change: Callable[[TurnScore], float]) -> Scorer:
    def score(*arguments: Any) -> TurnScore:
        scored = score_turn(*arguments)
        if name not in scored.scores:
            return scored
        return replace(scored, scores={**scored.scores, name: change(scored)})

    return score


def _raising(calls: Any, *rest: Any) -> TurnScore:
    if any(call.status == "invalid_json" for call in calls):
        raise KeyError("arguments")
    return score_turn(calls, *rest)


@pytest.mark.parametrize(
    ("scorer", "change"),
    [
        (_rescored(_bools_as_numbers), "true for 1, or 1 for true"),
        (_rescored(_values_anywhere), "two values swapped"),
        (_rescored(dict.fromkeys), "a value changed"),
        (_ignoring_extras, "a call too many"),
        (_by_position, "the calls in another order"),
        (_forgiving_names, "another name"),
        (_known_arguments_only, "an argument too many"),
        (_well_formed_only, "broken JSON"),
        (_raising, "broken JSON"),
        (_with_score("call_f1", lambda s: s.scores["call_recall"]), "a call too many"),
        (_with_score("has_call", lambda s: float(s.correct)), "another name"),
        (_with_score("args_field_recall", lambda s: s.scores["has_call"]), "an argument dropped"),
        (_with_score("args_json_valid", lambda s: s.scores["has_call"]), "broken JSON"),
        (_with_score("call_precision", lambda s: s.scores["call_recall"]), "a call dropped"),
    ],
)
def test_a_scorer_that_judges_one_fault_wrongly_is_found_and_no_choice_lets_it_pass(
    monkeypatch: pytest.MonkeyPatch, scorer: Scorer, change: str
) -> None:
    monkeypatch.setattr(selftest, "score_turn", scorer)
    result = self_test(SAMPLES, call_format="hermes")
    found = problems(result)
    assert list(found) == ["perturbation"]
    assert any(problem.startswith(f"{change}: ") for problem in found["perturbation"])
    for choice in (False, True):
        with pytest.raises(UserError, match="report it"):
            result.require_passed(exclude_broken=choice)


def test_a_scorer_that_rewards_silence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "score_turn", _with_score("has_call", lambda s: 1.0))
    found = problems(self_test(SAMPLES, call_format="hermes"))
    assert found["empty_output"] == ["saying nothing earns has_call"] * 3


def test_a_scorer_that_takes_silence_for_a_fault_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def score(calls: Any, *rest: Any) -> TurnScore:
        scored = score_turn(calls, *rest)
        return replace(scored, correct=bool(calls) and scored.correct)

    monkeypatch.setattr(selftest, "score_turn", score)
    found = problems(self_test(SAMPLES, call_format="hermes"))
    assert len(found["ground_truth"]) == len(found["empty_output"]) == 1
    assert "as wrong (for no reason)" in found["ground_truth"][0]


def _dropping(turn: ParsedTurn, text: str) -> ParsedTurn:
    return replace(turn, calls=turn.calls[:1])


def _merging_equal(turn: ParsedTurn, text: str) -> ParsedTurn:
    unique = {call.name: call for call in turn.calls}
    return replace(turn, calls=tuple(unique.values()))


def _texts_for_numbers(turn: ParsedTurn, text: str) -> ParsedTurn:
    calls = [replace(c, arguments={k: str(v) for k, v in c.arguments.items()}) for c in turn.calls]
    return replace(turn, calls=tuple(calls))


@pytest.mark.parametrize(
    ("spoil", "n_broken"), [(_dropping, 2), (_merging_equal, 1), (_texts_for_numbers, 2)]
)
def test_a_parser_that_reads_other_calls_than_the_turns_own_is_found(
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[ParsedTurn, str], ParsedTurn],
    n_broken: int,
) -> None:
    def parse(text: str, *rest: Any, **options: Any) -> ParsedTurn:
        return spoil(parse_turn(text, *rest, **options), text)

    monkeypatch.setattr(selftest, "parse_turn", parse)
    twice = hermes_sample(TIME, ("get_time", {"city": "Oslo"}))
    result = self_test([*SAMPLES, twice], call_format="hermes")
    assert len(result.broken_ids) == n_broken
    assert list(problems(result)) == ["ground_truth"]


def test_a_parser_that_completes_half_a_call_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(text: str, *rest: Any, **options: Any) -> ParsedTurn:
        turn = parse_turn(text, *rest, **options)
        if turn.calls and turn.calls[-1].status != "ok":
            last = replace(turn.calls[-1], name="get_time", arguments={"city": "Rome"}, status="ok")
            last = replace(last, arguments_valid_json=True)
            return replace(turn, calls=(*turn.calls[:-1], last))
        return turn

    monkeypatch.setattr(selftest, "parse_turn", parse)
    found = problems(self_test([hermes_sample(TIME)], call_format="hermes"))
    assert found == {"perturbation": ["half of a call: counts as right"]}


def test_a_parser_that_lies_about_spans_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(text: str, *rest: Any, **options: Any) -> ParsedTurn:
        turn = parse_turn(text, *rest, **options)
        return replace(turn, calls=tuple(replace(call, span=(0, 0)) for call in turn.calls))

    monkeypatch.setattr(selftest, "parse_turn", parse)
    found = problems(self_test([hermes_sample(TIME)], call_format="hermes"))
    assert found == {"perturbation": ["half of a call: its span 0:0 is no part of the text"]}
