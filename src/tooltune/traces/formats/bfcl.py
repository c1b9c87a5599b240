"""BFCL rows: a question, its functions, and the calls that are accepted as its answer.

The Berkeley Function Calling Leaderboard's data (package `bfcl-eval`, `bfcl_eval/data`) keeps
questions and answers in two files of the same name, joined by `id`:

    BFCL_v4_simple_python.json                  {"id", "question": [[{role, content}]], "function"}
    possible_answer/BFCL_v4_simple_python.json  {"id", "ground_truth": [{f: {param: [accepted]}}]}

`rows_with_answers` puts `ground_truth` into the question rows of such a pair. The trace is an
*evaluation sample*: its last turn is one accepted answer, made of the first accepted value of
every parameter ("" as an accepted value says that an optional parameter may be left out; where it
comes first, the parameter is). Other accepted values are not kept, so exact matching is stricter
than BFCL's own checker. A `ground_truth` of call texts (the `exec` files) is read too.

Rejected with a code of their own: questions without an answer, the irrelevance files among them
(`no_ground_truth`: the right answer is any text without a call, which is not invented here), and
the multi-turn, memory and web-search files, whose tools are programs (`needs_execution`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tooltune.traces.formats.bfcl_answers import read_ground_truth
from tooltune.traces.formats.shared.build import build_trace, has_turns, require_object
from tooltune.traces.formats.shared.calls import read_tools
from tooltune.traces.formats.shared.pairing import Entry
from tooltune.traces.formats.shared.parts import read_text
from tooltune.traces.formats.shared.schemas import normal_tools
from tooltune.traces.jsonio import RowError, show
from tooltune.traces.types import Message, Role, Tool, Trace

_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
_EXECUTED = ("involved_classes", "initial_config", "missed_function")


def read(row: Any) -> Trace:
    """Read one row. Raises `RowError` with the code and the place of what is wrong."""
    row = require_object(row)
    entries, tools = read_question(row)
    if row.get("ground_truth") is None:
        reason = "no ground_truth; join the row of possible_answer/ with the same id"
        raise RowError("no_ground_truth", f"{reason} (irrelevance files have none: leave them out)")
    calls = read_ground_truth(row["ground_truth"], tools)
    answer = Entry(Message("assistant", tool_calls=calls), "ground_truth")
    return build_trace(row, [*entries, answer], tools, "question")


def read_question(row: Mapping[str, Any]) -> tuple[list[Entry], tuple[Tool, ...]]:
    """What a row asks and the tools that it gives, whether or not it has an answer.

    Raises `RowError` (`needs_execution` for rows whose tools are programs, and what is wrong).
    """
    executed = next((key for key in _EXECUTED if key in row), None)
    if executed:
        reason = f"the row has {executed}: its tools are programs that BFCL runs"
        raise RowError("needs_execution", f"{reason}; evaluate it with bfcl-eval, or leave it out")
    entries = [_read_message(message, where) for message, where in _question(row.get("question"))]
    return entries, read_tools(normal_tools(row.get("function"), "function"), "function")


def recognise(row: Any) -> str | None:
    """A row whose `question` is a list, with `function` or the keys of executed rows."""
    if not isinstance(row, Mapping) or has_turns(row) or not isinstance(row.get("question"), list):
        return None
    key = next((key for key in ("function", *_EXECUTED) if key in row), None)
    return f"the row has a list of turns under question, and {key}" if key else None


def possible_answers_path(path: Path) -> Path | None:
    """The answer file of a question file (`possible_answer/` + its name), where there is one."""
    answers = path.parent / "possible_answer" / path.name
    return answers if answers.is_file() else None


def rows_with_answers(path: Path, read_rows: Callable[[Path], Iterable[Any]]) -> Iterable[Any]:
    """The rows of a file, joined with its answer file where it has one."""
    answers = possible_answers_path(path)
    rows = read_rows(path)
    return rows if answers is None else join_possible_answers(rows, read_rows(answers))


def join_possible_answers(rows: Iterable[Any], answers: Iterable[Any]) -> Iterator[Any]:
    """Question rows with the `ground_truth` of the answer row that has their `id`.

    A row that is no BFCL question, has no id or answer, or a ground truth of its own, is passed on
    as it is, so that `read` tells what it lacks. A row whose id two answers have is replaced by a
    `RowError` (`repeated_id`), as file readers give rows that cannot be read. Holds the answers in
    memory.
    """
    truths: dict[str, Any] = {}
    repeated: set[str] = set()
    for answer in answers:
        if isinstance(answer, Mapping) and isinstance(answer.get("id"), str):
            if answer["id"] in truths:
                repeated.add(answer["id"])
            truths[answer["id"]] = answer.get("ground_truth")
    for row in rows:
        if recognise(row) and isinstance(row.get("id"), str) and row.get("ground_truth") is None:
            if row["id"] in repeated:
                reason = f"two rows of possible_answer/ have the id {show(row['id'])}; keep one"
                row = RowError("repeated_id", reason)
            elif row["id"] in truths:
                row = {**row, "ground_truth": truths[row["id"]]}
        yield row


def _question(value: Any) -> Iterator[tuple[Any, str]]:
    """The messages of the only turn, with their paths; older files leave out the inner list."""
    if not isinstance(value, (list, tuple)) or not value:
        reason = f"question is {show(value, 30)}; write [[{{role, content}}]]"
        raise RowError("messages_not_a_list", reason)
    if isinstance(value[0], Mapping):
        yield from ((message, f"question[{i}]") for i, message in enumerate(value))
        return
    if len(value) > 1 or not isinstance(value[0], (list, tuple)):
        reason = f"question has {len(value)} turns, but only one ground truth"
        raise RowError("needs_execution", f"{reason}; evaluate it with bfcl-eval, or leave it out")
    yield from ((message, f"question[0][{i}]") for i, message in enumerate(value[0]))


def _read_message(message: Any, where: str) -> Entry:
    if not isinstance(message, Mapping):
        reason = f"{where} is {show(message, 30)}; write an object with a role and a content"
        raise RowError("turn_not_an_object", reason)
    name = message.get("role")
    role = _ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        reason = f"{where}.role is {show(name, 30)}; write one of {', '.join(_ROLES)}"
        raise RowError("unknown_role", reason)
    return Entry(Message(role, read_text(message.get("content"), f"{where}.content")), where)
