"""A world: tools that really execute on a state, and what people ask of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any

import jsonschema
from jsonschema.exceptions import best_match

from tooltune.traces.frozen import thaw
from tooltune.traces.types import Tool
from tooltune.worlds.pools import MONTHS, Draw, Side, minutes_of
from tooltune.worlds.requests import Request

Json = dict[str, Any]
State = dict[str, Any]
Function = Callable[[State, Json], Json]

STRING: Json = {"type": "string"}
INTEGER: Json = {"type": "integer"}
NUMBER: Json = {"type": "number"}
BOOLEAN: Json = {"type": "boolean"}
STRINGS: Json = {"type": "array", "items": {"type": "string"}}
DATE: Json = {"type": "string", "description": "such as May 3"}
TIME: Json = {"type": "string", "description": "HH:MM"}


class ToolError(Exception):
    """A call that the world refuses: bad arguments or an impossible request.

    `details` are further keys of the JSON error object, such as what would have been possible.
    """

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details

    def to_json(self) -> Json:
        """`{"error": message, ...details}`, the tool result that an agent sees."""
        return {"error": str(self), **self.details}


@dataclass(frozen=True, slots=True)
class World:
    """A domain with tools that execute.

    `topic` completes "an assistant for …". `populate` fills a fresh state (JSON values only) with
    entities of the drawing side. `functions` has one function a tool: it may change the state and
    returns a JSON object, or raises `ToolError`.
    """

    name: str
    topic: str
    tools: tuple[Tool, ...]
    functions: Mapping[str, Function]
    populate: Callable[[Draw], State]
    requests: tuple[Request, ...] = field(repr=False)

    def new(self, rng: Random, side: Side = "train") -> State:
        """A fresh state; the same `rng` state and side give the same world."""
        return self.populate(Draw(rng, side))

    def tool(self, name: str) -> Tool:
        """The tool called `name`; raises `ToolError` where this world has none."""
        for candidate in self.tools:
            if candidate.name == name:
                return candidate
        raise ToolError(f"There is no tool {name!r}.")

    def execute(self, state: State, name: str, arguments: Mapping[str, Any]) -> Json:
        """Run one call on `state` (changed in place) and return its JSON result.

        Raises `ToolError`, the state untouched, for an unknown tool, for arguments that the
        tool's schema does not allow, and for what the world cannot do.
        """
        tool = self.tool(name)
        problem = best_match(_validator(tool).iter_errors(thaw(arguments)))
        if problem is not None:
            where = ".".join(str(part) for part in problem.absolute_path) or "arguments"
            raise ToolError(f"{where}: {problem.message}")
        return self.functions[name](state, thaw(arguments))


def tool(
    name: str, description: str, required: Mapping[str, Json], optional: Mapping[str, Json] = {}
) -> Tool:
    """A tool with an OpenAI function schema; every property has its JSON schema."""
    return Tool(
        {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": {**required, **optional},
                "required": list(required),
            },
        }
    )


def choice(*options: str) -> Json:
    """The schema of a string that is one of `options`."""
    return {"type": "string", "enum": list(options)}


def check_date(text: str) -> None:
    """Raise `ToolError` unless `text` is a day of this year written like `May 3`."""
    month, _, day = text.partition(" ")
    if month not in MONTHS or not re.fullmatch(r"[1-9]|[12]\d|30", day):
        raise ToolError(f"{text!r} is no date. Write it like May 3.")


def check_time(text: str) -> int:
    """Minutes since midnight; raises `ToolError` unless `text` is a time written `HH:MM`."""
    try:
        return minutes_of(text)
    except ValueError:
        raise ToolError(f"{text!r} is no time. Write HH:MM.") from None


def find(table: Mapping[str, Any], key: str, what: str) -> Any:
    """`table[key]`, or a `ToolError` that says there is no such `what`."""
    if key not in table:
        raise ToolError(f"There is no {what} {key}.")
    return table[key]


@lru_cache(maxsize=256)
def _validator(tool: Tool) -> jsonschema.Draft202012Validator:
    schema = {**thaw(tool.parameters), "additionalProperties": False}
    return jsonschema.Draft202012Validator(schema)
