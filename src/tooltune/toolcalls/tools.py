"""The tools of a sample, in whichever form they come: OpenAI dictionaries, bare ones, `Tool`s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from tooltune.errors import UserError
from tooltune.traces.types import Tool

Tools: TypeAlias = Sequence[Mapping[str, Any] | Tool]


def tool_schemas(tools: Tools) -> dict[str, Mapping[str, Any]]:
    """The JSON schema of each tool's arguments, by tool name (`{}` where it gives none).

    Raises `UserError` for an entry without a name.
    """
    schemas: dict[str, Mapping[str, Any]] = {}
    for index, tool in enumerate(tools):
        function = tool.function if isinstance(tool, Tool) else tool
        if isinstance(function, Mapping) and isinstance(function.get("function"), Mapping):
            function = function["function"]
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str) or not name:
            raise UserError(
                f"tools[{index}] has no name, so no call can be checked against it",
                fix='write it as {"type": "function", "function": {"name": …, "parameters": …}}',
            )
        schemas[name] = function.get("parameters") or {}
    return schemas
