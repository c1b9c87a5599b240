"""What to change in a template that cannot say something: short texts, one per refusal's code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_FIRST_CALL = re.compile(r"tool_calls\s*\[\s*0\s*\]|tool_calls\s*\|\s*length")
_CALLS = re.compile(r"\bin\s+[\w.]*\W*tool_calls\b|tool_calls\s*\[\s*0\s*\]")


def find_remedies(findings: Mapping[str, Any], sources: Sequence[str]) -> dict[str, str]:
    """Refusal code -> what to do, for every field that the probe saw the template lose.

    findings: `TemplateProfile.to_dict()`. sources: the template's Jinja texts; a remedy names the
    line to change where it can be found.
    """
    switch = findings["thinking_switch"]
    remedies: dict[str, str] = {}
    if not findings["system"]:
        remedies["template_drops_system"] = (
            "write a leading system message into the template's first user message, or move it "
            "there in the data"
        )
    if not findings["tools"]:
        remedies["template_ignores_tools"] = (
            "set `model.chat_template` to one that renders `tools`, such as that of the model's "
            "later versions, or have it print `tools | tojson` in its system text"
        )
    if not findings["tool_calls"]:
        remedies["template_drops_tool_calls"] = (
            "set `model.chat_template` to one that renders `tool_calls`, or have its assistant "
            "turns print `call.function | tojson` for each"
        )
    elif not findings["parallel_calls"]:
        where = _line(sources, _FIRST_CALL)
        remedies["template_drops_parallel_calls"] = (
            "give each call a turn of its own in the data, or have the template loop over "
            f"`message.tool_calls`{where}"
        )
    if findings["beside_calls"] == "reasoning":
        remedies["template_drops_content"] = "have the template write it where answers go" + _line(
            sources, _CALLS
        )
    elif findings["tool_calls"] and not findings["content_beside_calls"]:
        remedies["template_drops_content"] = (
            "print `message.content` before the calls in the template's assistant turns"
            + _line(sources, _CALLS)
        )
    if findings["tool_results"] == "dropped":
        remedies["template_drops_tool_results"] = (
            "give the template a branch for messages of the role `tool`"
        )
    if switch and not findings["reasoning"]:
        remedies["template_drops_reasoning"] = f"set `model.{switch}`"
    elif not findings["reasoning"] or not findings["reasoning_beside_calls"]:
        remedies["template_drops_reasoning"] = (
            "remove it from the data, or have the template print `message.reasoning_content`"
        )
    if findings["reasoning_required"]:
        remedies["template_rewrites_prompt"] = (
            f"set `model.{switch}`" if switch else "give every turn its reasoning"
        )
    return remedies


def _line(sources: Sequence[str], pattern: re.Pattern[str]) -> str:
    """`" (line 12)"`, the last that matches in the source with tools, if that has several."""
    lines = sources[-1].splitlines()
    numbers = [number for number, line in enumerate(lines, 1) if pattern.search(line)]
    return f" (line {numbers[-1]})" if numbers and len(lines) > 3 else ""
