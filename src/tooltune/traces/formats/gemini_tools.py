"""Gemini's tools: lists of function declarations, with schemas in Google's own dialect."""

from __future__ import annotations

from typing import Any

from tooltune.traces.formats.shared.blocks import list_of_objects, renamed
from tooltune.traces.formats.shared.calls import read_tools
from tooltune.traces.formats.shared.choices import pick
from tooltune.traces.formats.shared.schemas import normal_tool
from tooltune.traces.jsonio import RowError
from tooltune.traces.types import Tool

_SNAKE = {"parameters_json_schema": "parametersJsonSchema"}


def read_declarations(tools: Any) -> tuple[Tool, ...]:
    """The functions of a list of tools.

    Raises `RowError` (`unsupported_tool` for search, code execution and the like, or as
    `read_tools`).
    """
    functions = []
    for i, tool in enumerate(list_of_objects(tools or [], "tools")):
        others = [key for key in tool if tool[key] is not None and not _declares(key)]
        if others:
            reason = f"tools[{i}].{others[0]} is no function, but a tool that the server runs"
            raise RowError("unsupported_tool", f"{reason}; remove the row")
        declared = pick(tool, "functionDeclarations") or []
        where = f"tools[{i}].functionDeclarations"
        for j, function in enumerate(list_of_objects(declared, where)):
            function = renamed({k: v for k, v in function.items() if v is not None}, _SNAKE)
            if "parametersJsonSchema" in function:
                function = renamed(function, {"parametersJsonSchema": "parameters"})
            else:
                function = normal_tool(function, f"{where}[{j}]")
            functions.append(function)
    return read_tools(functions, "tools")


def _declares(key: str) -> bool:
    return key in ("functionDeclarations", "function_declarations")
