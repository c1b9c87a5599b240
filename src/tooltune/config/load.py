"""File and overrides to a valid `Config`, or one error that lists everything wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tooltune.config.checks import config_problems, source_problems
from tooltune.config.defaults import with_defaults
from tooltune.config.hints import VALUE_FIXES, unknown_keys
from tooltune.config.layers import merged, nested, with_long_forms
from tooltune.config.overrides import parse_overrides
from tooltune.config.problems import Problem, as_error, from_validation, show
from tooltune.config.schema import Config
from tooltune.config.yamlfile import KeyPath, YamlFile, parse_yaml
from tooltune.errors import UserError

SHORTEST = "three lines are enough: `model: NAME`, `dataset: {path: FILE}`, `peft: {dim: 16}`"


def load_config(
    path: Path | None, overrides: Sequence[str] = (), base: Mapping[str, Any] | None = None
) -> Config:
    """The configuration of one run: `base`, under the YAML file at `path`, under `overrides`.

    `overrides` are command-line arguments such as `--optimizer.lr=1e-5`. Raises UserError with
    every problem found: its line or argument, key, value, what is wrong and what to write.
    """
    file = YamlFile(values={}, lines={}, repeated=()) if path is None else _read(path)
    given = parse_overrides(overrides)
    values = merged(with_long_forms(base or {}), with_long_forms(file.values))
    values = merged(values, nested((item.path, item.value) for item in given))
    values = with_defaults(values, path)

    problems = [_repeated(*found) for found in file.repeated]
    config, found = _validated(values)
    problems += found
    if problems or config is None:
        raise as_error(
            problems,
            file=None if path is None else str(path),
            lines=file.lines,
            overridden={item.path: item.text for item in given},
        )
    return config


def _validated(values: Mapping[str, Any]) -> tuple[Config | None, list[Problem]]:
    problems: list[Problem] = []
    unknown: list[KeyPath] = []
    for path, message, fix in unknown_keys(values, Config):
        unknown.append(path)
        problems.append(Problem(path, message, fix, _shown(values, path)))
    problems += source_problems(values)
    try:
        config = Config.model_validate(_without(values, set(unknown)))
    except ValidationError as error:
        return None, problems + [_hinted(one) for one in from_validation(error)]
    if not problems:
        problems += config_problems(config)
    return config, problems


def _read(path: Path) -> YamlFile:
    if path.is_dir():
        raise UserError(f"{path} is a directory, not a config", fix="name the YAML file in it")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist", fix="check the path, or write that file: " + SHORTEST
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start})", fix="save it as UTF-8"
        ) from None
    file = parse_yaml(text, str(path))
    if file.values is None:
        raise UserError(f"{path} is empty", fix=SHORTEST)
    if not isinstance(file.values, dict):
        raise UserError(f"{path} holds no `key: value` lines", fix=SHORTEST)
    return file


def _repeated(path: KeyPath, first: int, line: int) -> Problem:
    message = f"stands twice, in lines {first} and {line}: only one of them would count"
    return Problem(path, message, "delete one")


def _hinted(problem: Problem) -> Problem:
    """A refused value with what to write instead, where the value is known from elsewhere."""
    if problem.fix is None and problem.path in VALUE_FIXES:
        return replace(problem, fix=VALUE_FIXES[problem.path])
    return problem


def _shown(values: Any, path: KeyPath) -> str | None:
    for part in path:
        inside = values.items() if isinstance(values, Mapping) else enumerate(values)
        values = next((value for key, value in inside if str(key) == part), None)
    return None if isinstance(values, dict | list) else show(values)


def _without(values: Any, unknown: set[KeyPath], above: KeyPath = ()) -> Any:
    """`values` less the unknown keys, so that each of them is reported once."""
    if isinstance(values, list | tuple):
        return [_without(value, unknown, (*above, str(i))) for i, value in enumerate(values)]
    if not isinstance(values, Mapping):
        return values
    return {
        str(key): _without(value, unknown, (*above, str(key)))
        for key, value in values.items()
        if (*above, str(key)) not in unknown
    }
