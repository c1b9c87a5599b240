"""Is the grader right on this data? Asked before anything is generated.

Every sample's ground truth must score as right, and saying nothing as wrong (as right where
nothing should be called); on a varied few, every single fault must cost what it should and nothing
else. It runs the parser and the scorer that the evaluation itself runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Literal

from tooltune.errors import UserError
from tooltune.evaluate.perturb import Spoilt, spoil_any_call, spoil_calls, spoil_silence
from tooltune.evaluate.samples import EvalSample
from tooltune.toolcalls.match import Matching, match_calls
from tooltune.toolcalls.parse import Mode, parse_turn
from tooltune.toolcalls.score import TurnScore, score_turn
from tooltune.toolcalls.tools import Tools
from tooltune.toolcalls.truth import GroundTruth
from tooltune.toolcalls.types import ParsedToolCall

BROKEN_GROUND_TRUTH = "broken_ground_truth"
"""Reason code of samples that are left out because their ground truth does not score as right."""

Check = Literal["ground_truth", "empty_output", "perturbation"]

_LOWER_IS_BETTER = frozenset({"malformed"})
_SCHEMA = "schema_valid"
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that the grader gets wrong: on which sample, at which place in the data, and what.

    A failure of `ground_truth` or `empty_output` is the sample's, and leaving it out is a way
    out; one of `perturbation` is the grader's, on whatever sample it shows.
    """

    sample_id: str
    where: str
    check: Check
    problem: str

    def __str__(self) -> str:
        return f"{self.where} ({self.check.replace('_', ' ')}): {self.problem}"


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What was tested: `n` samples, of which `n_perturbed` with `n_changes` single faults each way.

    `outside_schema` are the samples whose ground truth is against their tools' own schemas (or
    calls a tool that is not listed): right answers to them cannot be `schema_valid`, which caps
    that metric and is no failure.
    """

    n: int
    n_perturbed: int
    n_changes: int
    failures: tuple[Failure, ...] = ()
    outside_schema: tuple[str, ...] = ()

    @property
    def broken_ids(self) -> frozenset[str]:
        """Samples that may be left out, by choice, under the reason `BROKEN_GROUND_TRUTH`."""
        return frozenset(f.sample_id for f in self.failures if f.check != "perturbation")

    def require_passed(self, *, exclude_broken: bool = False) -> frozenset[str]:
        """The ids of samples to leave out and count: none, or `broken_ids` if so chosen.

        Raises: UserError naming the first failures, where there are any that this choice does not
        settle; faults of the grader never are.
        """
        open_failures = [
            f for f in self.failures if f.check == "perturbation" or not exclude_broken
        ]
        if not open_failures:
            return self.broken_ids
        listed = "\n".join(f"  {failure}" for failure in open_failures[:_SHOWN])
        more = len(open_failures) - _SHOWN
        faulty = len({failure.sample_id for failure in open_failures})
        raise UserError(
            f"the grader's self-test failed on {faulty} of {self.n} samples, so scores would "
            f"mean nothing:\n{listed}" + (f"\n  and {more} more" if more > 0 else ""),
            fix=_fix(open_failures),
        )


def _fix(failures: Sequence[Failure]) -> str:
    if any(failure.check == "perturbation" for failure in failures):
        return "report it: parser or scorer is wrong, and no choice of data mends that"
    return (
        "correct the rows or name the right call format; or leave such samples out, counted as "
        f"{BROKEN_GROUND_TRUTH}, with exclude_broken"
    )


def self_test(
    samples: Sequence[EvalSample],
    *,
    call_format: str | None = None,
    mode: Mode = "strict",
    matching: Matching = "optimal",
    max_perturbed: int = 50,
) -> SelfTest:
    """Run the grader on what it must judge right and wrong.

    `call_format` (None: detected), `mode` and `matching` are those of the evaluation itself. The
    ground truth is the rendered turn where the sample has one, else its calls as they are. Single
    faults are tried on the first sample of each combination of tools called and numbers of
    arguments, up to `max_perturbed` of them, in the order of the samples. Time is linear.

    Raises: UserError for a format, mode or matching that does not exist. Whatever else goes wrong
    is a failure.
    """
    parse_turn("", call_format, mode=mode)
    match_calls((), (), matching)
    failures: list[Failure] = []
    outside_schema: list[str] = []
    shapes: set[object] = set()
    n_perturbed = n_changes = 0
    for sample in samples:
        grading = _Grading(sample, call_format, mode, matching)
        problems = list(_sample_problems(grading))
        failures += [grading.failure(check, problem) for check, problem in problems]
        if problems:
            continue
        if grading.gold_score.scores.get(_SCHEMA) == 0 and not grading.truth.any_call:
            outside_schema.append(sample.sample_id)
        shape = tuple(sorted((call.name or "", len(call.arguments)) for call in grading.gold))
        if shape in shapes or len(shapes) >= max_perturbed:
            continue
        shapes.add(shape)
        n_perturbed += 1
        for change, problem in _perturbation_problems(grading):
            n_changes += 1
            if problem:
                found = f"{change}: {problem}"
                failures.append(grading.failure("perturbation", found))
    return SelfTest(len(samples), n_perturbed, n_changes, tuple(failures), tuple(outside_schema))


class _Grading:
    """One sample as the evaluation would grade it."""

    def __init__(
        self, sample: EvalSample, call_format: str | None, mode: Mode, matching: Matching
    ) -> None:
        self.sample = sample
        self.call_format = call_format
        self.mode = mode
        self.matching = matching
        self.tools = sample.trace.tools or None
        self.text = None if sample.turn is None else sample.turn.completion_text
        self.truth: GroundTruth
        self.gold: tuple[ParsedToolCall, ...]
        self.gold_score: TurnScore

    def right_calls(self) -> tuple[ParsedToolCall, ...]:
        """What the evaluation would see of a right answer."""
        if self.truth.any_call:
            return (ParsedToolCall(self.tools[0].name if self.tools else "any"),)
        if self.text is not None:
            return self.parse(self.text)
        return tuple(ParsedToolCall(c["name"], c["arguments"]) for c in self.truth.to_calls())

    def parse(self, text: str) -> tuple[ParsedToolCall, ...]:
        known: Tools | None = None
        if self.tools is not None:  # a tool that the truth calls is not unknown, listed or not
            listed = {tool.name for tool in self.tools}
            called = {call.name for call in self.truth.calls}
            known = [*self.tools, *({"name": name} for name in sorted(called - listed))]
        return parse_turn(text, self.call_format, known, self.mode).calls

    def score(self, calls: Sequence[ParsedToolCall]) -> TurnScore:
        return score_turn(calls, self.truth, self.tools, self.matching)

    def failure(self, check: Check, problem: str) -> Failure:
        sample = self.sample
        source = sample.trace.source
        place = f"{source.file}, row {source.row}" if source else f"trace {sample.trace.id}"
        return Failure(sample.sample_id, f"{place}, turn {sample.turn_index}", check, problem)


def _sample_problems(grading: _Grading) -> Iterator[tuple[Check, str]]:
    """What is wrong with a sample: its ground truth is not right, or silence is not what it is."""
    try:
        own = grading.sample.own_truth
        grading.truth = GroundTruth.of(grading.sample.gt_calls if own is None else own)
        grading.gold = grading.right_calls()
        grading.gold_score = grading.score(grading.gold)
        empty = grading.score(grading.parse(""))
    except UserError as error:
        yield "ground_truth", error.message
        return
    except Exception as error:  # a grader that fails here would fail on the model's answers
        yield "ground_truth", f"the grader raised {type(error).__name__}: {error}"
        return
    if wrong := _not_perfect(grading.gold_score):
        read = ", ".join(map(_shown, grading.gold)) or "no call"
        wanted = ", ".join(_shown_call(c["name"], c["arguments"]) for c in grading.truth.to_calls())
        text = "" if grading.text is None else f" from the text {_cut(repr(grading.text))}"
        yield (
            "ground_truth",
            f"it scores {wrong}: read {_cut(read)}{text}, "
            f"where {_cut(wanted or 'no call')} is right",
        )
    silent = not grading.truth.any_call and not all(grading.truth.accepted)
    if empty.correct != silent:
        verdict = "right" if empty.correct else "wrong"
        yield "empty_output", f"saying nothing counts as {verdict}"
    elif not silent and any(empty.scores.values()):
        earned = ", ".join(name for name, value in empty.scores.items() if value)
        yield "empty_output", f"saying nothing earns {earned}"
    elif not grading.truth.should_call and empty.scores.get("abstained") != 1:
        yield "empty_output", "saying nothing does not count as abstaining"


def _not_perfect(gold: TurnScore) -> str:
    """The verdict and metrics that a right answer should not have; empty if all is well."""
    faults = {
        name: value
        for name, value in gold.scores.items()
        if name != _SCHEMA and value != float(name not in _LOWER_IS_BETTER)
    }
    said = [f"{name} = {value:g}" for name, value in faults.items()]
    if not gold.correct:
        said.insert(0, f"as wrong ({', '.join(gold.reasons) or 'for no reason'})")
    return ", ".join(said)


def _perturbation_problems(grading: _Grading) -> Iterator[tuple[str, str]]:
    """Each change that was tried, with what the grader makes of it that it should not, or ''."""
    tools_known = grading.tools is not None
    if grading.truth.any_call:
        changes = spoil_any_call(grading.gold[0], tools_known=tools_known)
    elif not grading.truth.calls:
        changes = spoil_silence(tools_known=tools_known)
    else:
        ordered = grading.matching == "positional"
        changes = spoil_calls(grading.gold, tools_known=tools_known, ordered=ordered)
    plain = grading.truth.is_plain
    for spoilt in changes:
        if not plain and spoilt.correct is False and spoilt.change not in _ALWAYS_WRONG:
            continue  # another acceptable answer, for all that is known here
        yield spoilt.change, _misjudged(grading, spoilt, metrics=plain)
    if grading.text is not None and grading.truth.calls and grading.mode == "strict":
        yield "half of a call", _half_problem(grading, grading.text)


_ALWAYS_WRONG = frozenset(
    {"another name", "an argument too many", "broken JSON", "a call", "a broken call"}
)
"""What no alternative makes right."""


def _misjudged(grading: _Grading, spoilt: Spoilt, *, metrics: bool) -> str:
    try:
        score = grading.score(spoilt.calls)
    except Exception as error:
        return f"the grader raised {type(error).__name__}: {error}"
    faults = []
    if score.correct != spoilt.correct or bool(score.reasons) == score.correct:
        faults.append(f"counts as {'right' if score.correct else 'wrong'}")
    if metrics:
        expected = {**grading.gold_score.scores, **spoilt.scores}
        for name in sorted((expected.keys() | score.scores.keys()) - spoilt.free):
            found, wanted = score.scores.get(name), expected.get(name)
            if found is None or wanted is None:
                faults.append(f"{name} is {found}, not {wanted}")
            elif not isclose(found, wanted, abs_tol=1e-9):
                faults.append(f"{name} is {found:.4g}, not {wanted:.4g}")
    return "; ".join(faults)


def _half_problem(grading: _Grading, text: str) -> str:
    """A turn that ends in the middle of its last call is not right."""
    start, end = grading.gold[-1].span
    if not 0 <= start < end <= len(text):
        return f"its span {start}:{end} is no part of the text"
    score = grading.score(grading.parse(text[: (start + end) // 2]))
    return "counts as right" if score.correct else ""


def _shown(call: ParsedToolCall) -> str:
    said = _shown_call(call.name or "?", call.arguments)
    return said if call.status == "ok" else f"{said} [{call.status}]"


def _shown_call(name: str, arguments: Mapping[str, object]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def _cut(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
