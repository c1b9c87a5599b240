"""Writers of the families that mark calls up, as their templates write, and calls for them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from tests.toolcalls import families
from tests.toolcalls.families import Call


def as_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def as_python(value: Any) -> str:
    """What `value | string` prints of a scalar."""
    return as_json(value) if isinstance(value, (dict, list)) else str(value)


@dataclass(frozen=True)
class Family:
    """`write_call` writes one call, `around` the text of a turn; `marks` are those of the grammar.

    `ambiguous` matches in values that the grammar cannot say.
    """

    format: str
    write_call: Callable[[str, Mapping[str, str]], str]
    around: Callable[[Sequence[str]], str]
    opener: str
    value_end: str
    call_end: str
    parameter: str
    call: str
    show: Callable[[Any], str] = as_json
    marks: tuple[str, ...] = ()
    stop: str = "<|im_end|>\n"
    reasoning: tuple[str, str] = ("<think>\n", "\n</think>\n\n")
    answer: tuple[str, str] = ("", "")
    tags: dict[str, str] = field(default_factory=dict)

    def write(self, calls: Sequence[Call]) -> str:
        shown = [
            self.write_call(name, {key: self.show(value) for key, value in arguments.items()})
            for name, arguments in calls
        ]
        return self.around(shown)

    @property
    def ambiguous(self) -> re.Pattern[str]:
        follows = f"{self.parameter}|{self.call_end}"
        return re.compile(rf"{self.value_end}\s*(?:{follows})|{self.call}\s*{self.parameter}")

    def can_say(self, value: Any) -> bool:
        return not self.ambiguous.search(self.show(value))


def _qwen(name: str, shown: Mapping[str, str]) -> str:
    inner = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in shown.items())
    return f"<tool_call>\n<function={name}>\n{inner}</function>\n</tool_call>"


def _glm(name: str, shown: Mapping[str, str]) -> str:
    pairs = (f"<arg_key>{k}</arg_key>\n<arg_value>{v}</arg_value>\n" for k, v in shown.items())
    return f"<tool_call>{name}\n{''.join(pairs)}</tool_call>"


def _glm_compact(name: str, shown: Mapping[str, str]) -> str:
    pairs = (f"<arg_key>{k}</arg_key><arg_value>{v}</arg_value>" for k, v in shown.items())
    return f"<tool_call>{name}{''.join(pairs)}</tool_call>"


def _minimax(name: str, shown: Mapping[str, str]) -> str:
    inner = "".join(f'<parameter name="{k}">{v}</parameter>\n' for k, v in shown.items())
    return f'<invoke name="{name}">\n{inner}</invoke>\n'


def _atem(name: str, shown: Mapping[str, str]) -> str:
    inner = "".join(f'<atem:parameter name="{k}">{v}</atem:parameter>\n' for k, v in shown.items())
    return (
        f"<|start|>assistant to={name}<|message|><atem:function_calls>\n"
        f'<atem:invoke name="{name}">\n{inner}</atem:invoke>\n</atem:function_calls>'
    )


_DSML = "<｜DSML｜"


def _dsml(name: str, shown: Mapping[str, str]) -> str:
    inner = "\n".join(
        f'{_DSML}parameter name="{k}" string="{"true" if v[0] == "s" else "false"}">{v[1:]}'
        "</｜DSML｜parameter>"
        for k, v in shown.items()
    )
    return f'{_DSML}invoke name="{name}">\n{inner}\n</｜DSML｜invoke>'


_QWEN = Family(
    format="qwen3_xml",
    write_call=_qwen,
    around="\n".join,
    opener="<tool_call>",
    value_end="</parameter>",
    call_end="</function>",
    parameter=r"<parameter=[^<>\n]*>",
    call=r"<function=[^<>\n]*>",
    marks=("<function=g>", "</function>", "<parameter=x>", "</parameter>"),
)
_GLM = Family(
    format="glm",
    write_call=_glm,
    around=lambda calls: "\n" + "\n".join(calls),
    opener="<tool_call>",
    value_end="</arg_value>",
    call_end="</tool_call>",
    parameter=r"<arg_key>[^<]*</arg_key>\s*<arg_value>",
    call=r"<tool_call>\s*[^<>\[\]{}\n]*",
    marks=("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<tool_call>g\n"),
    stop="<|observation|>",
    reasoning=("\n<think>", "</think>\n"),
)

FAMILIES: Mapping[str, Family] = {
    "qwen3_xml": _QWEN,
    "qwen3_xml, Python's words": Family(**{**vars(_QWEN), "show": as_python}),
    "glm": _GLM,
    "glm, on one line": Family(**{**vars(_GLM), "write_call": _glm_compact, "around": "".join}),
    "minimax_m2": Family(
        format="minimax_m2",
        write_call=_minimax,
        around=lambda calls: (
            f"\n<minimax:tool_call>\n{''.join(calls)}</minimax:tool_call>" if calls else ""
        ),
        opener="<minimax:tool_call>",
        value_end="</parameter>",
        call_end="</invoke>",
        parameter=r'<parameter name="[^"<\n]*">',
        call=r'<invoke name="[^"<\n]*">',
        marks=('<invoke name="g">', "</invoke>", '<parameter name="x">', "</parameter>"),
        stop="[e~[\n",
    ),
    "deepseek_v3_2": Family(
        format="deepseek_v3_2",
        write_call=_dsml,
        around=lambda calls: (
            f"\n\n{_DSML}function_calls>\n" + "\n".join(calls) + "\n</｜DSML｜function_calls>"
            if calls
            else ""
        ),
        opener="<｜DSML｜function_calls>",
        value_end="</｜DSML｜parameter>",
        call_end="</｜DSML｜invoke>",
        parameter=r'<｜DSML｜parameter name="[^"<\n]*"[^>]*>',
        call=r'<｜DSML｜invoke name="[^"<\n]*">',
        show=lambda value: ("s" if isinstance(value, str) else "j") + as_json(value),
        marks=(f'{_DSML}invoke name="g">', "</｜DSML｜invoke>", "</｜DSML｜parameter>"),
        stop="<｜end▁of▁sentence｜>",
    ),
    "atem": Family(
        format="atem",
        write_call=_atem,
        around="<|eom|>".join,
        opener="<atem:function_calls>",
        value_end="</atem:parameter>",
        call_end="</atem:invoke>",
        parameter=r'<atem:parameter name="[^"<\n]*">',
        call=r'<atem:invoke name="[^"<\n]*">',
        marks=('<atem:invoke name="g">', "</atem:invoke>", "</atem:parameter>", "<|eom|>"),
        stop="<|eot|>",
        reasoning=("<|start|>assistant to=self<|message|>", "<|eom|>"),
        answer=("<|start|>assistant to=user<|message|>", "<|eom|>"),
    ),
}

_KEYS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters='<>"'),
    min_size=1,
    max_size=8,
)


def arguments_for(family: Family) -> st.SearchStrategy[dict[str, Any]]:
    """Arguments that the family's grammar can say, its own marks inside their strings."""
    pieces = st.sampled_from([*families.MARKERS, *family.marks]) | families.words
    strings = st.lists(pieces, max_size=4).map("".join)
    scalars = families.scalars | strings
    values = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
        max_leaves=5,
    )
    return st.dictionaries(_KEYS, values.filter(family.can_say), max_size=3)


def calls_for(family: Family) -> st.SearchStrategy[list[Call]]:
    return st.lists(
        st.tuples(families.names, arguments_for(family)),
        min_size=1,
        max_size=3,
        unique_by=lambda call: call[0],
    )


def looks_like_json(value: Any) -> bool:
    """Whether a string, undeclared, would be read as another value."""
    if not isinstance(value, str):
        return False
    if value.strip() in ("True", "False", "None"):
        return True
    try:
        return not isinstance(json.loads(value), str)
    except ValueError:
        return False
