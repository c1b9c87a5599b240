"""Can this template say this row? Each "no" has a code that names the field."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from tooltune.render.profile import TemplateProfile
from tooltune.toolcalls.parse import parse_turn
from tooltune.toolcalls.scan import CONTROL_TOKENS
from tooltune.traces.frozen import thaw
from tooltune.traces.types import Message, Tool, Trace


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
        raise _refusal(
            "template_ignores_tools", "the chat template does not render `tools`", profile
        )
    for i, message in enumerate(trace.messages):
        _check_message(message, f"messages[{i}]", profile)


def _check_message(message: Message, where: str, profile: TemplateProfile) -> None:
    calls = message.tool_calls
    if message.role == "system" and message.content and not profile.system:
        said = f"{where}: the template does not show system messages"
        raise _refusal("template_drops_system", said, profile)
    if message.role == "tool" and profile.tool_results == "dropped":
        said = f"{where}: the template does not show tool results"
        raise _refusal("template_drops_tool_results", said, profile)
    if calls and not profile.tool_calls:
        said = f"{where}.tool_calls: the template does not show calls"
        raise _refusal("template_drops_tool_calls", said, profile)
    if len(calls) > 1 and not profile.parallel_calls:
        said = f"{where}.tool_calls: the template can show only one call a turn"
        raise _refusal("template_drops_parallel_calls", said, profile)
    if calls and (message.content or "").strip() and not profile.content_beside_calls:
        ways = {"reasoning": "writes it as reasoning", "moved": "moves it behind the results"}
        way = ways.get(profile.beside_calls, "drops it")
        said = f"{where}.content: text beside a call, and the template {way}"
        raise _refusal("template_drops_content", said, profile)
    shown = profile.reasoning_beside_calls if calls else profile.reasoning
    if (message.reasoning or "").strip() and not shown:
        kind = "a turn with calls" if calls else "an answer"
        does = "leaves no room for" if profile.thinking_switch else "does not show"
        said = f"{where}.reasoning_content: the template {does} the reasoning of {kind}"
        raise _refusal("template_drops_reasoning", said, profile)


def _refusal(code: str, said: str, profile: TemplateProfile) -> RowRejected:
    """A refusal that ends in what the probe knows to do about it."""
    remedy = profile.remedies.get(code)
    return RowRejected(code, f"{said}; {remedy}" if remedy else said)


def check_prompts(trace: Trace, prompts: Sequence[str], end: int | None = None) -> None:
    """Tools, and what was not said by the model before message `end`, must stand in some prompt.

    `end` is the last turn of the trace where it is not given.

    The probe saw where a template shows each role; this notices what it loses elsewhere, as a
    second system message, or rewrites. What the assistant said earlier is the template's to
    shorten: inference shows the same.

    Raises: RowRejected.
    """
    for i, tool in enumerate(trace.tools):
        if not any(tool.name in prompt for prompt in reversed(prompts)):
            raise RowRejected(
                "text_not_in_prompt",
                f"tools[{i}].name: the template does not show this tool; remove it, or set "
                "`model.chat_template`",
            )
    end = max(trace.turns, default=0) if end is None else end
    for i, message in enumerate(trace.messages[:end]):
        if message.role == "assistant" or not message.content:
            continue
        if not any(_shows(prompt, message.content) for prompt in reversed(prompts)):
            raise RowRejected(
                "text_not_in_prompt",
                f"messages[{i}].content: the template drops or rewrites this {message.role} "
                "message; change the data, or set `model.chat_template`",
            )


_PYTHON_ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r"})


def _shows(render: str, text: str) -> bool:
    """Whether `text` stands in a render, as it is or as a JSON or Python string spells it."""
    text = text.strip()
    return (
        text in render
        or json.dumps(text, ensure_ascii=False)[1:-1] in render
        or json.dumps(text)[1:-1] in render
        or repr(text)[1:-1] in render
        or text.translate(_PYTHON_ESCAPES) in render
    )


def check_completion(
    message: Message,
    completion: str,
    profile: TemplateProfile,
    index: int,
    tools: Sequence[Tool] = (),
) -> None:
    """Invariant 2: the completion parses back to the message's calls, text and reasoning.

    `tools` are the trace's: families that write values as bare text read them by their schemas.
    `completion` is the text that the tokens spell, so after the tokenizer's normaliser. Compared
    modulo edge white space and unicode normal form. For families without a parser here, every text
    of the message must stand in the completion.

    Raises: RowRejected.
    """
    if profile.call_format is None:
        _check_shown(message, completion, index)
        return
    stop = profile.stops["tool_calls" if message.tool_calls else "text"].text
    if stop not in CONTROL_TOKENS:  # parsers know the families' stops; another is text to them
        completion = completion.removesuffix(stop)
    parsed = parse_turn(completion, profile.call_format, tools or None)
    expected = [(call.name, thaw(call.arguments)) for call in message.tool_calls]
    found = [(call.name, call.arguments) for call in parsed.calls]
    if _folded(expected) != _folded(found):
        what = "does not show the calls as they are" if expected else "reads as a tool call"
        what += _first_difference(expected, found)
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


def _first_difference(
    expected: Sequence[tuple[str, dict[str, Any]]],
    found: Sequence[tuple[str | None, dict[str, Any]]],
) -> str:
    """The first argument that reads back as another value, and what to do about it."""
    for (name, said), (_, read) in zip(expected, found, strict=False):
        for key, value in said.items():
            if key in read and _folded(value) != _folded(read[key]):
                return (
                    f": {key!r} of {name} is {_short(value)} and reads back as "
                    f"{_short(read[key])}; declare its type in the tool's `parameters`, or change "
                    "the value"
                )
    return ""


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


_SHOWN = 60  # characters of a value that a reason quotes


def _check_shown(message: Message, completion: str, index: int) -> None:
    completion = unicodedata.normalize("NFC", completion)
    for field, text in (("content", message.content), ("reasoning_content", message.reasoning)):
        if not _shows(completion, unicodedata.normalize("NFC", text or "")):
            raise RowRejected(
                "text_not_recoverable",
                f"messages[{index}].{field}: the rendered turn does not show this text as it is",
            )
    for call in message.tool_calls:
        texts = [call.name, *_strings(thaw(call.arguments))]
        if not all(_shows(completion, unicodedata.normalize("NFC", text)) for text in texts):
            raise RowRejected(
                "calls_not_recoverable",
                f"messages[{index}]: the rendered turn does not show the calls as they are",
            )


def _strings(value: object) -> Iterator[str]:
    """Keys and strings of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (str(key), *_strings(item))
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _folded(value: object) -> object:
    """Fold what a tokenizer's normaliser may fold; keep types apart (True is not 1)."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, dict):
        return {_folded(key): _folded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_folded(item) for item in value]
    return (type(value).__name__, value)
