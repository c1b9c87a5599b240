"""The leaderboard's own checker, as an independent referee of our scores.

`bfcl_eval` is installed without its dependencies; its checker needs only a table of the models
that it knows, for one flag of theirs, and gets one with a single model in it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

_MODEL = "referee"


@cache
def _modules() -> tuple[Any, Any]:
    name = "bfcl_eval.constants.model_config"
    table = ModuleType(name)
    table.MODEL_CONFIG_MAPPING = {_MODEL: SimpleNamespace(underscore_to_dot=False)}  # type: ignore[attr-defined]
    before = sys.modules.get(name)
    sys.modules[name] = table
    try:
        checker = importlib.import_module("bfcl_eval.eval_checker.ast_eval.ast_checker")
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
    return checker, importlib.import_module("bfcl_eval.constants.enums").Language


def referee_accepts(
    category: str,
    functions: Sequence[Mapping[str, Any]],
    calls: Sequence[tuple[str, Mapping[str, Any]]],
    answers: Sequence[Mapping[str, Any]],
) -> bool:
    """Whether `bfcl_eval` takes `calls` for right; `functions` and `answers` as in its files."""
    checker, language = _modules()
    output = [{name: dict(arguments)} for name, arguments in calls]
    result = checker.ast_checker(
        list(functions), output, list(answers), language.PYTHON, category, _MODEL
    )
    return bool(result["valid"])
