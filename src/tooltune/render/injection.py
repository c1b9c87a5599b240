"""Control strings inside the data: the way a user message can pose as the assistant (trap 14).

A *control string* is a token or marker that this template itself uses. By default a row whose text
holds one is rejected: tokenized, it would become a real control token. Special tokens that the
template does not use cannot be mistaken for structure; they are kept, but read as ordinary
characters, as under `escape` all control strings are. `allow` leaves all to the tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tooltune.render.spec import ControlTokens
from tooltune.render.strings import any_of
from tooltune.traces.types import Message, Tool, ToolCall

# Markers of calls, results and thinking that templates write as plain text where the vocabulary
# has no token for them: in data they fool a parser just as much.
_TEXT_MARKERS = (
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
    "<|python_tag|>",
)
_MARKER_SHAPE = re.compile(r"[<\[].*\w.*[>\]]", re.DOTALL)
_PIPED = re.compile(r"<[|\uff5c].+[|\uff5c]>")  # <|fim_prefix|>: not marked special by Qwen, but is
_OPEN, _CLOSE = "\ue000", "\ue001"


@dataclass(frozen=True, slots=True)
class ControlStrings:
    """Patterns of the strings that reject a row, and of those read as ordinary characters.

    `strings` are all of them together: tokens of the tokenizer and plain text markers.
    """

    forbidden: re.Pattern[str]
    escaped: re.Pattern[str]
    strings: frozenset[str]

    def under(self, policy: ControlTokens) -> ControlStrings:
        """What is rejected and what is escaped where the found strings are treated by `policy`."""
        if policy == "reject":
            return self
        escaped = self.strings if policy == "escape" else ()
        return replace(self, forbidden=any_of(()), escaped=any_of(escaped))


@dataclass(slots=True)
class Placeholders:
    """Stand-ins for escaped strings while a template runs; put back after it.

    Equal strings get equal ones: templates compare texts (a result's call id with its call's).
    `count` says how many special tokens were hidden.
    """

    count: int = 0
    _numbers: dict[str, int] = field(default_factory=dict)

    def hide(self, value: Any, pattern: re.Pattern[str]) -> Any:
        """Return a JSON value with each match in each of its strings replaced by a stand-in."""
        if isinstance(value, str):
            return pattern.sub(self._stand_in, value)
        if isinstance(value, Mapping):
            return {self.hide(k, pattern): self.hide(v, pattern) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.hide(item, pattern) for item in value]
        return value

    def restore(self, text: str) -> str:
        """Put the strings back.

        Raises: ValueError where the template changed a stand-in, so that it cannot be put back.
        """
        if _BROKEN.search(_STAND_IN.sub("", text)):
            raise ValueError("the chat template changes text that spells out a special token")
        originals = list(self._numbers)
        return _STAND_IN.sub(lambda match: originals[int(match.group(1))], text)

    def holds(self, text: str) -> bool:
        return _OPEN in text and _STAND_IN.search(text) is not None

    def _stand_in(self, match: re.Match[str]) -> str:
        original = match.group()
        self.count += original not in (_OPEN, _CLOSE)
        return f"{_OPEN}{self._numbers.setdefault(original, len(self._numbers))}{_CLOSE}"


_STAND_IN = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
# A stand-in that a template took apart, or wrote as a JSON escape: no data holds these characters.
_BROKEN = re.compile(rf"[{_OPEN}{_CLOSE}]|\\ue00[01]")


def control_strings(tokenizer: Any, template_texts: Sequence[str]) -> ControlStrings:
    """Sort the tokenizer's added tokens by what the template does with them.

    template_texts: the template's source and probe renders; a token that occurs in one is used.
    """
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    forbidden = {m for m in _TEXT_MARKERS if any(m in text for text in template_texts)}
    escaped = {_OPEN, _CLOSE}  # of stand-ins: data that holds them must not pose as one
    for token in added.values():
        content = token.content
        special = token.special or _PIPED.fullmatch(content)
        if not (special or _MARKER_SHAPE.fullmatch(content)):
            continue  # an ordinary word or white space that happens to be an added token
        if any(content in text for text in template_texts):
            forbidden.add(content)
        elif special:
            escaped.add(content)
    return ControlStrings(any_of(forbidden), any_of(escaped), frozenset(forbidden | escaped))


@dataclass(frozen=True, slots=True)
class Found:
    """What texts hold: the first forbidden string as (field, string), and whether any escaped."""

    forbidden: tuple[str, str] | None
    escaped: bool


def find_controls(strings: Iterable[tuple[str, str]], controls: ControlStrings) -> Found:
    """Look through (field, text) pairs."""
    forbidden, escaped = None, False
    for where, text in strings:
        if forbidden is None and (match := controls.forbidden.search(text)):
            forbidden = where, match.group()
        escaped = escaped or controls.escaped.search(text) is not None
    return Found(forbidden, escaped)


def strings_of_messages(messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
    """Every string of messages that reaches the template, with the name of its field."""
    for i, message in enumerate(messages):
        where = f"messages[{i}]"
        for key in TEXT_FIELDS:
            text = getattr(message, key)
            if text:
                yield f"{where}.{key}", text
        for j, call in enumerate(message.tool_calls):
            yield f"{where}.tool_calls[{j}].name", call.name
            if call.id:
                yield f"{where}.tool_calls[{j}].id", call.id
            yield from _strings(f"{where}.tool_calls[{j}].arguments", call.arguments)


def strings_of_tools(tools: Sequence[Tool]) -> Iterator[tuple[str, str]]:
    """Every string of tool schemas, keys included."""
    for i, tool in enumerate(tools):
        yield from _strings(f"tools[{i}]", tool.function)


def hide_in_message(message: Message, hidden: Placeholders, pattern: re.Pattern[str]) -> Message:
    """`message` with stand-ins in every field that `strings_of_messages` lists."""
    changed = {key: hidden.hide(getattr(message, key), pattern) for key in TEXT_FIELDS}
    changed["tool_calls"] = tuple(
        ToolCall(*(hidden.hide(part, pattern) for part in (call.name, call.arguments, call.id)))
        for call in message.tool_calls
    )
    return replace(message, **changed)


TEXT_FIELDS = ("content", "reasoning", "tool_call_id", "name")


def _strings(where: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield f"{where} key", str(key)
            yield from _strings(f"{where}.{key}", item)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _strings(f"{where}[{i}]", item)
