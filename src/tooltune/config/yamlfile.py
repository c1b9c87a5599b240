"""YAML to plain values and back: safe tags only, numbers as people write them, line numbers kept.

Numbers follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema), so
`1e-5` is a number and `010`, `1:30` and dates do not turn into something else. Booleans keep the
`yes`/`no`/`on`/`off` of YAML 1.1 too, which people write.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from tooltune.errors import UserError

KeyPath = tuple[str, ...]

_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_REPLACED_TAGS = {_INT, _FLOAT, "tag:yaml.org,2002:timestamp"}
# Up to 18 digits: beyond that nobody means a number, and int() refuses 5,000 digits.
_INT_RE = re.compile(r"[-+]?[0-9][0-9_]{0,17}$")
_FLOAT_RE = re.compile(
    r"(?:[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_NUMBER_STARTS = list("-+0123456789.")


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own way to say it)
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED_TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Dumper(yaml.SafeDumper):
    """Quotes every string that YAML 1.1 or our own reading would take for something else."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(_INT, _INT_RE, _NUMBER_STARTS)
    _kind.add_implicit_resolver(_FLOAT, _FLOAT_RE, _NUMBER_STARTS)


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(str(loader.construct_scalar(node)).replace("_", ""))


_Loader.add_constructor(_INT, _construct_int)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Line ends other than \n come back as \n from any style but the double-quoted one.
    style = '"' if re.search("[\r\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


@dataclass(frozen=True)
class YamlFile:
    """The values of a file, the line (from 1) of each key, and keys written twice."""

    values: Any
    lines: dict[KeyPath, int]
    repeated: tuple[tuple[KeyPath, int, int], ...]  # path, first line, repeated line


def parse_yaml(text: str, name: str) -> YamlFile:
    """Parse one YAML document; `name` is the file that an error speaks of.

    Raises UserError where the text is no YAML or asks for Python objects.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[KeyPath, int] = {}
        repeated: list[tuple[KeyPath, int, int]] = []
        if node is not None:
            _walk(node, (), lines, repeated)
        values = None if node is None else loader.construct_document(node)
    except yaml.constructor.ConstructorError as error:
        raise UserError(
            f"{_place(name, error)}: {error.problem}",
            fix="a config holds plain values only: delete the tag (the word after '!')",
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        said = (
            getattr(error, "problem", None)
            or "is nested too deeply, or an anchor holds itself, or a character is not allowed"
        )
        raise UserError(
            f"{_place(name, error)} is not YAML: {said}",
            fix="check the indentation (spaces, no tabs) and the ':' and quotes of that line",
        ) from None
    finally:
        loader.dispose()
    return YamlFile(values=values, lines=lines, repeated=tuple(repeated))


def parse_scalar(text: str) -> Any:
    """The value of one override: number, truth value, null, quoted text, or [list] or {mapping}.

    All else is the text itself, whatever YAML would make of a `#` or `: ` in a path.
    """
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        return text
    if isinstance(value, str | dict | list):
        return value if text.lstrip().startswith(("[", "{", "'", '"')) else text
    return text if value is None and text not in ("null", "~", "Null", "NULL") else value


def dump_yaml(values: Any) -> str:
    """YAML text in the order of the dicts, which `parse_yaml` reads back as the same values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _place(name: str, error: BaseException) -> str:
    mark = getattr(error, "problem_mark", None)
    return name if mark is None else f"{name}, line {mark.line + 1}"


def _walk(
    node: yaml.Node,
    path: KeyPath,
    lines: dict[KeyPath, int],
    repeated: list[tuple[KeyPath, int, int]],
) -> None:
    """Note the line of each key below `node`. RecursionError where an anchor holds itself."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, str(index)), lines, repeated)
    if not isinstance(node, yaml.MappingNode):
        return
    here: dict[KeyPath, int] = {}
    for key, value in node.value:
        below = (*path, str(key.value))
        line = key.start_mark.line + 1
        if below in here:
            repeated.append((below, here[below], line))
        here[below] = line
        _walk(value, below, lines, repeated)
    lines.update(here)
