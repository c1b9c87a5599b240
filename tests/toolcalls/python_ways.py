"""The ways of writing calls as Python or as Gemma's own syntax, by family."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from tests.toolcalls import families
from tests.toolcalls.families import Call
from tests.toolcalls.formats.python_family import calls_with, python_call, values_of
from tests.toolcalls.way import Way

Write = Callable[[Sequence[Call]], str]


def in_list(before: str, behind: str, show: Callable[[Any], str] = repr) -> Write:
    def write(calls: Sequence[Call]) -> str:
        return before + f"[{', '.join(python_call(call, show) for call in calls)}]" + behind

    return write


def in_lines(
    before: str, behind: str, line: str = "{}", show: Callable[[Any], str] = repr
) -> Write:
    def write(calls: Sequence[Call]) -> str:
        lines = [line.format(python_call(call, show)) for call in calls]
        return before + "\n".join(lines) + behind

    return write


def python_way(format: str, write: Write, marks: tuple[str, ...], **more: Any) -> Way:
    signs = ("[f(a='", ")]", ")\n", "', b='", "'", '"""', "\\'", *marks)
    calls = calls_with(families.values | st.sampled_from(signs))
    return Way(format, write, calls, (*marks, "')]", '")'), **more)


PYTHON_START = ("<|python_start|>", "<|python_end|>")
LFM2 = ("<|tool_call_start|>", "<|tool_call_end|>")
OLMO3 = ("<function_calls>", "</function_calls>")


def gemma_value(value: Any, quote: str) -> str:
    """A value as Gemma's grammar writes it."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return f"{quote}{value}{quote}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{gemma_value(v, quote)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(gemma_value(item, quote) for item in value) + "]"
    return str(value)


def gemma_way(format: str, opener: str, closer: str, quote: str, **more: Any) -> Way:
    def write(calls: Sequence[Call]) -> str:
        return "".join(f"{opener}call:{n}{gemma_value(a, quote)}{closer}" for n, a in calls)

    # What the grammar can say: no quote marker in a text, no structure in a bare key.
    strings = families.strings.map(lambda text: text.replace(quote[:2], "<"))
    strings |= st.sampled_from([opener, closer, "call:f{", "{a:", "}", "[1,"])
    keys = st.from_regex(r"[A-Za-z_$][A-Za-z0-9_ $.-]{0,8}", fullmatch=True).map(str.strip)
    return Way(
        format,
        write,
        calls_with(values_of(strings, keys)),
        (opener, closer, "call:f{"),
        not_in_strings=(quote,),
        **more,
    )


PYTHON_WAYS: dict[str, Way] = {
    "pythonic": python_way("pythonic", in_list("", "<|eot_id|>"), (), is_bare=True),
    "pythonic, JSON's words": python_way(
        "pythonic", in_list("", "<|eot_id|>", json.dumps), (), is_bare=True
    ),
    "pythonic, marked": python_way(
        "pythonic", in_list("<|python_start|>", "<|python_end|><|eot|>"), PYTHON_START
    ),
    "lfm2": python_way("lfm2", in_list(LFM2[0], LFM2[1] + "<|im_end|>\n"), LFM2),
    "lfm2, one a line": python_way("lfm2", in_lines(LFM2[0], LFM2[1]), LFM2),
    "olmo3": python_way("olmo3", in_lines(OLMO3[0], OLMO3[1] + "<|im_end|>"), OLMO3),
    "olmo3, JSON's words": python_way(
        "olmo3", in_lines(f"{OLMO3[0]}\n", f"\n{OLMO3[1]}", show=json.dumps), OLMO3
    ),
    "gemma3": python_way(
        "gemma3", in_lines("```tool_code\n", "\n```<end_of_turn>\n"), ("```", "```tool_code\n")
    ),
    "gemma3, printed": python_way(
        "gemma3", in_lines("```tool_code\n", "\n```", "print({})"), ("```", "```tool_code\n")
    ),
    "gemma3, a list": python_way(
        "gemma3", in_list("", "<end_of_turn>"), ("```", "```tool_code\n"), is_bare=True
    ),
    "functiongemma": gemma_way(
        "functiongemma", "<start_function_call>", "<end_function_call>", "<escape>"
    ),
    "gemma4": gemma_way(
        "gemma4",
        "<|tool_call>",
        "<tool_call|>",
        '<|"|>',
        think=("<|channel>thought\n", "<channel|>"),
    ),
}
