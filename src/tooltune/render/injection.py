"""Control strings inside the data: the way a user message can pose as the assistant (trap 14).

A *control string* is a token or marker that this template itself uses. A row whose text holds one
is rejected: tokenized, it would become a real control token. Special tokens that the template does
not use cannot be mistaken for structure; they are kept, but read as ordinary characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tooltune.traces.types import Trace

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
_OPEN, _CLOSE = "\ue000", "\ue001"


@dataclass(frozen=True, slots=True)
class ControlStrings:
    """`forbidden` strings reject a row; `escaped` ones are encoded as ordinary characters."""

    forbidden: re.Pattern[str]
    escaped: re.Pattern[str]


@dataclass(slots=True)
class Placeholders:
    """Stand-ins for escaped strings while a template runs; put back after it."""

    originals: list[str] = field(default_factory=list)

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
        restored = _STAND_IN.sub(lambda match: self.originals[int(match.group(1))], text)
        if _BROKEN.search(restored):
            raise ValueError("the chat template changes text that spells out a special token")
        return restored

    def holds(self, text: str) -> bool:
        return _OPEN in text and _STAND_IN.search(text) is not None

    def _stand_in(self, match: re.Match[str]) -> str:
        self.originals.append(match.group())
        return f"{_OPEN}{len(self.originals) - 1}{_CLOSE}"


_STAND_IN = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
# A stand-in that a template took apart, or wrote as a JSON escape: no data holds these characters.
_BROKEN = re.compile(rf"[{_OPEN}{_CLOSE}]|\\ue00[01]")


def control_strings(tokenizer: Any, template_texts: Sequence[str]) -> ControlStrings:
    """Sort the tokenizer's added tokens by what the template does with them.

    template_texts: the template's source and probe renders; a token that occurs in one is used.
    """
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    forbidden = {m for m in _TEXT_MARKERS if any(m in text for text in template_texts)}
    escaped = set()
    for token in added.values():
        content = token.content
        if not (token.special or _MARKER_SHAPE.fullmatch(content)):
            continue  # an ordinary word or white space that happens to be an added token
        if any(content in text for text in template_texts):
            forbidden.add(content)
        elif token.special:
            escaped.add(content)
    # The stand-ins' own characters are private-use; data that holds one cannot be told apart.
    return ControlStrings(_any_of({*forbidden, _OPEN, _CLOSE}), _any_of(escaped))


def find_forbidden(trace: Trace, controls: ControlStrings) -> tuple[str, str] | None:
    """The first control string in untrusted text, as (field, string), or None."""
    for where, text in untrusted_strings(trace):
        match = controls.forbidden.search(text)
        if match:
            return where, match.group()
    return None


def untrusted_strings(trace: Trace) -> Iterator[tuple[str, str]]:
    """Every string of a trace that reaches the template, with the name of its field."""
    for i, message in enumerate(trace.messages):
        where = f"messages[{i}]"
        for key in ("content", "reasoning", "tool_call_id", "name"):
            text = getattr(message, key)
            if text:
                yield f"{where}.{key}", text
        for j, call in enumerate(message.tool_calls):
            yield f"{where}.tool_calls[{j}].name", call.name
            if call.id:
                yield f"{where}.tool_calls[{j}].id", call.id
            yield from _strings(f"{where}.tool_calls[{j}].arguments", call.arguments)
    for i, tool in enumerate(trace.tools):
        yield from _strings(f"tools[{i}]", tool.function)


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


def _any_of(strings: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(strings, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
