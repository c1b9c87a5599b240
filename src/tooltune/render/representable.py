"""Can this template say this row? Each "no" has a code that names the field."""

from __future__ import annotations

import unicodedata

from tooltune.render.profile import TemplateProfile
from tooltune.toolcalls.parse import parse_turn
from tooltune.traces.frozen import thaw
from tooltune.traces.types import Message, Trace


class RowRejected(Exception):
    """A row that cannot be trained exactly. `code` is stable; `reason` is for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


def check_representable(trace: Trace, profile: TemplateProfile) -> None:
    """Refuse a row with a field that the probe saw the template ignore (trap 2).

    Raises: RowRejected.
    """
    if trace.tools and not profile.tools:
        raise RowRejected(
            "template_ignores_tools",
            "the chat template does not render `tools`; set `model.chat_template` to one that does",
        )
    for i, message in enumerate(trace.messages):
        _check_message(message, f"messages[{i}]", profile)


def _check_message(message: Message, where: str, profile: TemplateProfile) -> None:
    calls = message.tool_calls
    if message.role == "system" and message.content and not profile.system:
        raise RowRejected("template_drops_system", f"{where}: the template drops system messages")
    if message.role == "tool" and profile.tool_results == "dropped":
        raise RowRejected(
            "template_drops_tool_results", f"{where}: the template drops tool results"
        )
    if calls and not profile.tool_calls:
        raise RowRejected(
            "template_drops_tool_calls",
            f"{where}.tool_calls: the template does not render calls; set `model.chat_template`",
        )
    if len(calls) > 1 and not profile.parallel_calls:
        raise RowRejected(
            "template_drops_parallel_calls",
            f"{where}.tool_calls: the template renders only one call a turn",
        )
    if calls and (message.content or "").strip() and not profile.content_beside_calls:
        raise RowRejected(
            "template_drops_content",
            f"{where}.content: the template drops text beside a call",
        )
    if (message.reasoning or "").strip() and not profile.reasoning:
        raise RowRejected(
            "template_drops_reasoning",
            f"{where}.reasoning_content: the template does not render reasoning; remove it from "
            "the data or set `model.chat_template`",
        )


def check_completion(
    message: Message,
    completion: str,
    profile: TemplateProfile,
    index: int,
) -> None:
    """Invariant 2: the completion parses back to the message's calls, text and reasoning.

    `completion` is the text that the tokens spell, so after the tokenizer's normaliser. Compared
    modulo edge white space and unicode normal form. Families without a parser here are not
    checked.

    Raises: RowRejected.
    """
    if profile.call_format is None:
        return
    parsed = parse_turn(completion, format=profile.call_format)
    expected = [(call.name, thaw(call.arguments)) for call in message.tool_calls]
    found = [(call.name, call.arguments) for call in parsed.calls]
    if _folded(expected) != _folded(found):
        what = "does not show the calls as they are" if expected else "reads as a tool call"
        raise RowRejected("calls_not_recoverable", f"messages[{index}]: the rendered turn {what}")
    for field, said, read in (
        ("content", message.content, parsed.content),
        ("reasoning_content", message.reasoning, parsed.reasoning),
    ):
        if _folded((said or "").strip()) != _folded((read or "").strip()):
            raise RowRejected(
                "text_not_recoverable",
                f"messages[{index}].{field}: the rendered turn does not show this text as it is",
            )


def _folded(value: object) -> object:
    """Fold what a tokenizer's normaliser may fold; keep types apart (True is not 1)."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, dict):
        return {_folded(key): _folded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_folded(item) for item in value]
    return (type(value).__name__, value)
