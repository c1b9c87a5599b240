"""The single-turn Python part of the Berkeley Function Calling Leaderboard, version 4.

Data comes from an installed `bfcl-eval` (https://pypi.org/project/bfcl-eval/, Apache-2.0), of
which only the files under `bfcl_eval/data` are read: nothing of it is imported. A question with
accepted answers is a turn that should call, with every accepted value as an alternative; one of an
irrelevance file is a turn that should not; one of `live_relevance` should call something, and
nobody says what.

Scores are ours: `accuracy` compares exactly and `accuracy_normalised` folds what means the same,
where the leaderboard's own checker folds case and punctuation.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tooltune.errors import UserError
from tooltune.evaluate.samples import EvalSample
from tooltune.evaluate.suites.suite import Suite
from tooltune.toolcalls.possible_answers import truth_of_possible_answers
from tooltune.toolcalls.truth import ANY_CALL, NO_CALL, GroundTruth
from tooltune.traces.files import file_rows
from tooltune.traces.formats.bfcl import possible_answers_path, read_question
from tooltune.traces.jsonio import RowError
from tooltune.traces.types import Source, Tool, Trace

CATEGORIES = (
    "simple_python",
    "multiple",
    "parallel",
    "parallel_multiple",
    "irrelevance",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
    "live_relevance",
)
_FILE = "BFCL_v4_{}.json"
_OTHERS = {
    "simple_java": "its accepted answers are Java expressions",
    "simple_javascript": "its accepted answers are JavaScript expressions",
    "multi_turn_*": "its tools are programs that only bfcl-eval runs",
    "memory": "its tools are programs that only bfcl-eval runs",
    "web_search": "its tools are programs that only bfcl-eval runs",
    "format_sensitivity": "it varies the prompt, which a chat template fixes",
}


def load_samples(parts: Sequence[str], folder: Path | None = None) -> Suite:
    """The samples of the categories `parts` (shell patterns), each a set named `bfcl_CATEGORY`.

    `folder` holds the data files; by default that of the installed `bfcl-eval`. A question whose
    accepted answers no call could meet is left out, and listed in `excluded`.

    Raises `UserError` for a category that does not exist or cannot be scored here, and where
    `bfcl-eval` is not installed or lacks a file.
    """
    categories = _categories(parts)
    folder = _installed() if folder is None else folder
    samples: list[EvalSample] = []
    excluded: list[tuple[str, str]] = []
    for category in categories:
        for source, row, answers in _questions(folder, category):
            messages, tools = read_question(row)
            try:
                truth = _truth(category, answers, tools)
            except UserError as error:
                excluded.append((row["id"], str(error).partition("\n")[0]))
                continue
            trace = Trace(
                tuple(entry.message for entry in messages), tools, id=row["id"], source=source
            )
            turn = len(trace.messages)
            samples.append(EvalSample(trace, turn, None, f"bfcl_{category}", own_truth=truth))
    return Suite(samples, excluded)


def _categories(parts: Sequence[str]) -> list[str]:
    chosen: dict[str, None] = {}
    for part in parts:
        found = [name for name in CATEGORIES if fnmatchcase(name, part)]
        if not found:
            why = next((why for name, why in _OTHERS.items() if fnmatchcase(part, name)), None)
            said = f"cannot be scored here: {why}" if why else "is no part of BFCL"
            raise UserError(
                f"bfcl:{part} {said}",
                fix=f"use some of {', '.join(CATEGORIES)}, or a pattern such as live_*",
            )
        chosen |= dict.fromkeys(found)
    if not chosen:
        raise UserError(
            "no part of BFCL was named", fix=f"write bfcl:PART,PART with {', '.join(CATEGORIES)}"
        )
    return list(chosen)


def _installed() -> Path:
    spec = importlib.util.find_spec("bfcl_eval")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise UserError(
            "the suite bfcl reads its questions from the package bfcl-eval, which is not installed",
            fix="pip install --no-deps bfcl-eval (its dependencies are not needed)",
        )
    return Path(places[0]) / "data"


def _questions(folder: Path, category: str) -> list[tuple[Source, Mapping[str, Any], Any]]:
    """Place, question row and accepted answers (None where there are none) of a category."""
    path = folder / _FILE.format(category)
    if not path.is_file():
        raise UserError(
            f"{path} is missing", fix="install the version 4 of the data: pip install -U bfcl-eval"
        )
    answer_path = possible_answers_path(path)
    answers = {
        row["id"]: row.get("ground_truth")
        for row in (file_rows(answer_path) if answer_path else ())
        if isinstance(row, Mapping) and "id" in row
    }
    questions = []
    for number, row in enumerate(file_rows(path)):
        if isinstance(row, RowError):
            raise UserError(f"{path}:{number}: {row.reason}", fix="install bfcl-eval again")
        questions.append((Source(str(path), number), row, answers.get(row["id"])))
    return questions


def _truth(category: str, answers: Any, tools: Sequence[Tool]) -> GroundTruth:
    if category.endswith("irrelevance"):
        return NO_CALL
    if category.endswith("relevance"):
        return ANY_CALL
    if not isinstance(answers, (list, tuple)) or not answers:
        raise _Unsatisfiable("no accepted answer is given")
    return truth_of_possible_answers([_declared(answer, tools) for answer in answers], tools)


def _declared(answer: Mapping[str, Any], tools: Sequence[Tool]) -> dict[str, Any]:
    """An accepted answer without the optional arguments that its function does not even have.

    Raises `UserError` where the answer and the function contradict each other, so that the
    leaderboard's checker, too, takes no call for right.
    """
    told: dict[str, Any] = {}
    for name, arguments in answer.items():
        schema = next((tool.parameters for tool in tools if tool.name == name), None)
        properties = (schema or {}).get("properties") or {}
        kept = {key: values for key, values in arguments.items() if key in properties}
        must = [key for key, values in arguments.items() if key not in kept and "" not in values]
        lacking = [key for key in (schema or {}).get("required") or () if key not in arguments]
        never = [key for key, values in kept.items() if not values]
        if never:
            raise _Unsatisfiable(f"no value is accepted for {never[0]!r} of {name}")
        if must:
            raise _Unsatisfiable(f"{name} must be given {must[0]!r}, which it does not have")
        if lacking:
            raise _Unsatisfiable(f"{name} requires {lacking[0]!r}, for which no value is accepted")
        told[name] = kept
    return told


class _Unsatisfiable(UserError):
    """Accepted answers that no call meets."""

    def __init__(self, why: str) -> None:
        super().__init__(why, fix="leave the question out")
