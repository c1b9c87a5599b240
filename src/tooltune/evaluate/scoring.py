"""Outputs to records of `samples.jsonl`: parse and score them, again and again if need be.

A record is a question (what was asked, and what would be right), an output, and the verdict. It
holds all that scoring reads, so that neither the data nor the model is needed a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_args

from tooltune.errors import UserError
from tooltune.evaluate.outputs import Output
from tooltune.evaluate.prepare import Key, Prepared
from tooltune.toolcalls.match import Matching
from tooltune.toolcalls.parse import FORMATS, Mode, parse_turn
from tooltune.toolcalls.score import check_ground_truth, score_sample, skipped_turn
from tooltune.toolcalls.truth import GroundTruth, Truth
from tooltune.toolcalls.types import ParsedToolCall

Record = dict[str, Any]

_FROM_OUTPUT = {
    field.name
    for field in fields(Output)
    if field.name not in ("dataset", "sample_id", "prompt_id")
}
_NO_QUESTION = _FROM_OUTPUT | {"parsed_as", "server_calls", "verdict"}
"""Keys of a record that an answer or its verdict wrote; all others are the question's."""


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """How outputs are read and judged.

    parser: a name in `FORMATS` instead of the one that the model's template declares, or of what
    a server parsed. mode: see `parse_turn`. matching: see `match_calls`.

    Raises: UserError for a value that does not exist.
    """

    parser: str | None = None
    mode: Mode = "strict"
    matching: Matching = "optimal"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("parser", self.parser, (None, *FORMATS)),
            ("mode", self.mode, get_args(Mode)),
            ("matching", self.matching, get_args(Matching)),
        ):
            if value not in known:
                names = ", ".join(each for each in known if each is not None)
                raise UserError(f"there is no {name} {value!r}", fix=f"use one of {names}")


def make_question(item: Prepared, call_format: str | None) -> Record:
    """The part of a record that is known before anything is generated.

    `call_format` is the family that the model's template declares (None: detect).
    """
    sample = item.sample
    public = sample.public()
    question = {
        "sample_id": sample.sample_id,
        "example_id": public["example_id"],
        "turn_index": public["turn_index"],
        "group": sample.trace.group,
        "dataset": sample.dataset,
        "kind": "call" if sample.calls_tools else "abstain",
        "prompt_id": item.prompt_id,
        "prompt_tokens": len(item.prompt_ids or ()),
        "prompt_messages": public["prompt_messages"],
        "tools": public["tools"],
        "gt_tool_calls": public["gt_tool_calls"],
        "gt_text": sample.gt_text,
        "call_format": call_format,
    }
    if sample.own_truth is not None and not sample.own_truth.is_plain:
        question["ground_truth"] = sample.own_truth.to_dict()
    return question


def check_questions(
    questions: Sequence[Record], *, exclude_broken: bool = False
) -> tuple[list[Record], list[Record]]:
    """Those that can be judged and those that cannot, as far as the records themselves tell.

    The latter are `{"sample_id", "example_id", "turn_index", "dataset", "reason"}`.

    Raises: UserError for the first that cannot, unless `exclude_broken`; and where none is left.
    """
    sound: list[Record] = []
    broken: list[Record] = []
    for question in questions:
        try:
            check_ground_truth(_truth(question), question["tools"])
        except UserError as error:
            if not exclude_broken:
                raise UserError(
                    f"sample {question['sample_id']} cannot be scored: {error.message}",
                    fix=f"{error.fix}; or leave such samples out, and count them "
                    "(--exclude-broken, exclude_broken=True)",
                ) from error
            about = {key: question[key] for key in _ABOUT_BROKEN}
            broken.append({**about, "reason": error.message})
        else:
            sound.append(question)
    if broken and not sound:
        raise UserError(
            f"none of the {len(broken)} samples can be scored, such as {broken[0]['sample_id']}: "
            f"{broken[0]['reason']}",
            fix="correct the data",
        )
    return sound, broken


_ABOUT_BROKEN = ("sample_id", "example_id", "turn_index", "dataset")


def score_outputs(
    questions: Iterable[Record],
    outputs: Mapping[Key, Output],
    options: ScoringOptions | None = None,
    *,
    repeats: int = 1,
) -> list[Record]:
    """One record for each question and repeat, in that order, whatever the order of the outputs.

    No text of an output raises. Raises: UserError for faults of the data (`check_questions` finds
    them earlier); GraderError where scoring itself fails; KeyError for a question without its
    outputs.
    """
    options = options or ScoringOptions()
    return [
        _record(question, outputs[question["dataset"], question["sample_id"], repeat], options)
        for question in questions
        for repeat in range(repeats)
    ]


def rescore_records(records: Iterable[Record], options: ScoringOptions) -> list[Record]:
    """Records of samples.jsonl scored again; those that another version wrote, too."""
    return [_record(*split_record(record), options) for record in records]


def split_record(record: Record) -> tuple[Record, Output]:
    """The question and the output of which a record was made."""
    question = {key: value for key, value in record.items() if key not in _NO_QUESTION}
    values = {key: record[key] for key in _FROM_OUTPUT & record.keys()}
    values |= {"calls": record.get("server_calls"), "repeat": record.get("repeat", 0)}
    values |= {key: record.get(key, "") for key in ("dataset", "sample_id", "prompt_id")}
    values.setdefault("text", "")
    question.setdefault("call_format", None)
    try:
        return question, Output.from_dict(values)
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(
            f"sample {record.get('sample_id')} cannot be scored again: {error}",
            fix="run the evaluation again",
        ) from error


def _record(question: Record, output: Output, options: ScoringOptions) -> Record:
    record = {
        **question,
        "repeat": output.repeat,
        "text": output.text,
        "token_ids": None if output.token_ids is None else list(output.token_ids),
        "tokens": output.tokens,
        "reasoning": output.reasoning,
        "server_calls": None if output.calls is None else [asdict(call) for call in output.calls],
        "finish_reason": output.finish_reason,
        "skip_reason": output.skip_reason,
        "detail": output.detail,
        "teacher_forced_exact": output.teacher_forced_exact,
        "draft_nll": output.to_dict()["draft_nll"],
        "draft_id": output.draft_id,
        "ties": output.ties,
        "parsed_as": None,
    }
    if output.skip_reason is not None:
        verdict = asdict(skipped_turn(output.skip_reason))
        return {**record, "calls": [], "finish_reason": "skipped", "verdict": verdict}
    tools, truth = question["tools"], _truth(question)
    calls, parsed_as = _calls(question, output, options)
    score = score_sample(question["sample_id"], calls, truth, tools, options.matching)
    return {
        **record,
        "parsed_as": parsed_as,
        "calls": [_shown(call) for call in calls],
        "verdict": asdict(score),
    }


def _truth(question: Record) -> Truth:
    """The plain calls where they say all: a broken one is then reported as it stands."""
    full = question.get("ground_truth")
    return question["gt_tool_calls"] if full is None else GroundTruth.from_dict(full)


def _calls(
    question: Record, output: Output, options: ScoringOptions
) -> tuple[Sequence[ParsedToolCall], str | None]:
    """The attempts in an output, and the family that read them ("server": who generated did)."""
    tools = question["tools"]
    known = None if tools is None else [*tools, *_undeclared(question["gt_tool_calls"], tools)]
    if output.calls is not None and options.parser is None:
        names = None if known is None else {tool.get("function", tool)["name"] for tool in known}
        return [_of_known_tool(call, names) for call in output.calls], "server"
    declared = options.parser or question["call_format"]
    turn = parse_turn(output.text, declared, known, options.mode)
    return turn.calls, turn.format


def _of_known_tool(call: ParsedToolCall, names: set[str] | None) -> ParsedToolCall:
    unknown = names is not None and call.status == "ok" and call.name not in names
    return replace(call, status="unknown_tool") if unknown else call


def _undeclared(truth: Sequence[Record], tools: Sequence[Record]) -> list[Record]:
    """Tools that the ground truth calls and the row does not list: not the model's fault."""
    listed = {tool["function"]["name"] for tool in tools}
    return [{"name": call["name"]} for call in truth if call["name"] not in listed]


def _shown(call: ParsedToolCall) -> Record:
    return {key: value for key, value in asdict(call).items() if key in _CALL_KEYS and value != ()}


_CALL_KEYS = ("name", "arguments", "status", "raw", "span", "repairs")
