"""Ground truth written as accepted values: `{function: {argument: [value, …]}}`, as BFCL writes it.

The Berkeley Function Calling Leaderboard lists for every argument the values that its checker
(`bfcl_eval/eval_checker/ast_eval/ast_checker.py`) accepts; `""` among them says that the argument
may be left out. Read from that checker: an argument that its function requires must be given all
the same; where `""` is listed, an explicit `""` is accepted of text and `[]` of a list; an object,
alone or in a list, holds lists of accepted values for its own fields, `""` meaning the same there.
The values of those are data, and a list of lists is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tooltune.errors import UserError
from tooltune.toolcalls.choices import OneOf
from tooltune.toolcalls.schema_view import SchemaView, view
from tooltune.toolcalls.tools import Tools, tool_schemas
from tooltune.toolcalls.truth import GroundTruth, TruthCall

_LEFT_OUT = ""


def truth_of_possible_answers(
    answers: Sequence[Mapping[str, Mapping[str, Sequence[Any]]]], tools: Tools
) -> GroundTruth:
    """The ground truth of one turn; an empty list means that nothing should be called.

    `tools` say which arguments are required and what type each has; `dict`, `float` and `tuple`
    may stand for JSON schema's names. In the canonical answer every argument has its first value,
    and is left out where `""` comes first and that is allowed. One whose every value is `""`, of a
    type that has no such value, must not be given.

    Raises `UserError` for answers of another form, among them an argument without any accepted
    value, which no answer could meet, and for a tool without a name.
    """
    schemas = {name: view(schema) for name, schema in tool_schemas(tools).items()}
    calls = []
    for answer in answers:
        if not _is_answer(answer):
            raise UserError(
                "an accepted answer is not {function: {argument: [value, …]}}, with some value for "
                f"every argument: {answer!r:.120}",
                fix="correct the row, or remove it from the evaluation data",
            )
        ((name, arguments),) = answer.items()
        calls.append(_call(name, arguments, schemas.get(name, view(None))))
    return GroundTruth.of([*calls])


def _is_answer(answer: Any) -> bool:
    if not isinstance(answer, Mapping) or len(answer) != 1:
        return False
    (arguments,) = answer.values()
    return isinstance(arguments, Mapping) and all(
        isinstance(values, (list, tuple)) and values for values in arguments.values()
    )


def _call(name: str, listed: Mapping[str, Sequence[Any]], schema: SchemaView) -> TruthCall:
    arguments: dict[str, Any] = {}
    alternatives: dict[str, tuple[Any, ...]] = {}
    optional = set()
    for argument, values in listed.items():
        accepted = _accepted(values, schema.property(argument).types())
        may_lack = _LEFT_OUT in values and not schema.requires(argument)
        if not accepted and may_lack:
            continue
        if may_lack and values[0] == _LEFT_OUT:
            alternatives[argument] = accepted
            continue
        arguments[argument] = accepted[0] if accepted else _LEFT_OUT
        if len(accepted) > 1:
            alternatives[argument] = accepted[1:]
        if may_lack:
            optional.add(argument)
    return TruthCall(name, arguments, alternatives, frozenset(optional))


def _accepted(values: Sequence[Any], types: frozenset[str]) -> tuple[Any, ...]:
    """The values that may be given, those that `""` stands for last."""
    given = [_with_choices(value) for value in values if value != _LEFT_OUT]
    if _LEFT_OUT in values:
        given += [""] if not types or types & {"string", "any"} else []
        given += [[]] if types & {"array", "tuple"} else []
    return tuple(given)


def _with_choices(value: Any) -> Any:
    """An accepted value, the fields of its objects as choices; as deep as the checker looks."""
    if isinstance(value, (list, tuple)):
        return [_fields(item) for item in value]
    return _fields(value)


def _fields(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if not all(isinstance(choices, (list, tuple)) for choices in value.values()):
        return value  # a literal object
    return {
        key: OneOf(tuple(choices), optional=_LEFT_OUT in choices) for key, choices in value.items()
    }
