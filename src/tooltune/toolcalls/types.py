"""What a parser returns: one record per attempted call, and the turn they were found in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "invalid_json", "unclosed", "missing_name", "malformed", "unknown_tool"]


@dataclass(frozen=True, slots=True)
class ParsedToolCall:
    """One attempt at a tool call found in generated text.

    `arguments` is `{}` unless they parsed to an object (`arguments_valid_json`).
    `raw` is the text of the attempt, `span` its character offsets in the parsed text.
    `status` is `"ok"` only for a call that an agent could execute. `repairs` names what the mode
    `recover` mended to make it so (`toolcalls/recover.py`, `tolerant_json.REPAIRS`); none in
    `strict`.
    """

    name: str | None
    arguments: dict[str, Any] = field(default_factory=dict)
    arguments_valid_json: bool = True
    raw: str = ""
    status: Status = "ok"
    span: tuple[int, int] = (0, 0)
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedTurn:
    """Generated text taken apart.

    `reasoning` is the thinking, `None` where there was none or only white space. `content` is
    what remains once reasoning, calls and trailing control tokens are taken away; both have no
    white space at their edges. `format` names the family that read the calls, `None` where the
    text showed no sign of any.
    """

    reasoning: str | None
    content: str
    calls: tuple[ParsedToolCall, ...] = ()
    format: str | None = None
