"""The ways of writing calls in JSON, by family."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.toolcalls.families import Call, dump
from tests.toolcalls.formats.json_families import Written


def objects(calls: Sequence[Call], ascii_only: bool, key: str = "arguments") -> list[str]:
    return [dump({"name": name, key: arguments}, ascii_only) for name, arguments in calls]


def listed(calls: Sequence[Call], ascii_only: bool) -> str:
    return f"[{', '.join(objects(calls, ascii_only))}]"


def opening(before: str, name: str = "name", key: str = "arguments") -> Callable[[Any], str]:
    """Opens one object of a call behind the text `before`."""

    def opened(called: str | None) -> str:
        named = f'"{name}": {json.dumps(called)}, ' if called else ""
        return f'{before}{{{named}"{key}": '

    return opened


# ------------------------------------------------------------------------------ Hermes and Llama

HERMES_TAGS = ("<tool_call>", "</tool_call>")


def write_hermes(calls: Sequence[Call], ascii_only: bool) -> str:
    bodies = objects(calls, ascii_only)
    return "\n".join(f"<tool_call>\n{body}\n</tool_call>" for body in bodies) + "<|im_end|>\n"


HERMES = Written(
    format="hermes",
    write=write_hermes,
    opening=opening("<tool_call>\n"),
    closing="}\n</tool_call>",
    markers=HERMES_TAGS,
    stop="<|im_end|>",
)
HERMES_LIST = Written(
    format="hermes",
    write=lambda calls, ascii_only: f"<tool_call>{listed(calls, ascii_only)}</tool_call><|im_end|>",
    opening=opening("<tool_call>["),
    closing="}]</tool_call>",
    markers=HERMES_TAGS,
    stop="<|im_end|>",
)
LLAMA3 = Written(
    format="llama3",
    write=lambda calls, ascii_only: (
        f"<|python_tag|>{'; '.join(objects(calls, ascii_only, 'parameters'))}<|eom_id|>"
    ),
    opening=opening("<|python_tag|>", key="parameters"),
    closing="}",
    markers=("<|python_tag|>", "; "),
    stop="<|eom_id|>",
)

LLAMA3_BARE = Written(
    format="llama3",
    write=lambda calls, ascii_only: "\n".join(objects(calls, ascii_only, "parameters")),
    opening=opening("", key="parameters"),
    closing="}",
    markers=("<|python_tag|>", "; "),
    stop="<|eot_id|>",
    bare=True,
)
BARE_JSON = Written(
    format="bare_json",
    write=lambda calls, ascii_only: "\n".join(objects(calls, ascii_only)),
    opening=opening(""),
    closing="}",
    markers=("}{", '{"name": "f", '),
    bare=True,
)

# --------------------------------------------------------------------------------------- Mistral

MISTRAL_MARKERS = ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]", "[THINK]", "[/THINK]")
MISTRAL_THINK = ("[THINK]", "[/THINK]")


def write_mistral_list(calls: Sequence[Call], ascii_only: bool) -> str:
    body = [{"name": n, "arguments": a, "id": f"{i:09d}"} for i, (n, a) in enumerate(calls)]
    return f"[TOOL_CALLS] {dump(body, ascii_only)}</s>"


def write_mistral_v11(calls: Sequence[Call], ascii_only: bool) -> str:
    bodies = [f"{name}[CALL_ID]abcDEF123[ARGS]{dump(args, ascii_only)}" for name, args in calls]
    return "".join(f"[TOOL_CALLS]{body}" for body in bodies) + "</s>"


def write_mistral_v13(calls: Sequence[Call], ascii_only: bool) -> str:
    return "".join(f"[TOOL_CALLS]{n}[ARGS]{dump(a, ascii_only)}" for n, a in calls) + "</s>"


MISTRAL = Written(
    format="mistral",
    write=write_mistral_list,
    opening=opening("[TOOL_CALLS] ["),
    closing="}]",
    markers=MISTRAL_MARKERS,
    stop="</s>",
)
MISTRAL_V11 = Written(
    format="mistral",
    write=write_mistral_v11,
    opening=lambda name: f"[TOOL_CALLS]{name or ''}[CALL_ID]abcDEF123[ARGS]",
    closing="",
    markers=MISTRAL_MARKERS,
    stop="</s>",
)
MISTRAL_V13 = Written(
    format="mistral",
    write=write_mistral_v13,
    opening=lambda name: f"[TOOL_CALLS]{name or ''}[ARGS]",
    closing="",
    markers=MISTRAL_MARKERS,
    think=MISTRAL_THINK,
    stop="</s>",
)

# --------------------------------------------------------------------------------------- harmony

HARMONY_MARKERS = (
    "<|start|>",
    "<|channel|>",
    "<|constrain|>",
    "<|message|>",
    "<|call|>",
    "<|end|>",
)


def harmony_way(header: str) -> Written:
    def write(calls: Sequence[Call], ascii_only: bool) -> str:
        return "<|start|>assistant".join(
            f"{header.format(name)}<|message|>{dump(arguments, ascii_only)}<|call|>"
            for name, arguments in calls
        )

    return Written(
        format="harmony",
        write=write,
        opening=lambda name: f"<|start|>assistant{header.format(name or '')}<|message|>",
        closing="<|call|>",
        markers=HARMONY_MARKERS,
        think=None,
        before="<|channel|>commentary<|message|>Let me look.<|end|><|start|>assistant",
    )


HARMONY = harmony_way("<|channel|>commentary to=functions.{} <|constrain|>json")
HARMONY_TEMPLATE = harmony_way(" to=functions.{}<|channel|>commentary json")
HARMONY_ANALYSIS = harmony_way("<|channel|>analysis to=functions.{} code")

# ------------------------------------------------------------------------------ DeepSeek and Kimi

DEEPSEEK_MARKERS = (
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
    "```",
)
DEEPSEEK_BEGIN, DEEPSEEK_CALL, DEEPSEEK_SEP, DEEPSEEK_CALL_END, DEEPSEEK_END, _ = DEEPSEEK_MARKERS
DEEPSEEK_STOP = "<｜end▁of▁sentence｜>"


def write_deepseek_v3(calls: Sequence[Call], ascii_only: bool) -> str:
    bodies = [
        f"{DEEPSEEK_CALL}function{DEEPSEEK_SEP}{name}\n```json\n{dump(arguments, ascii_only)}\n"
        f"```{DEEPSEEK_CALL_END}"
        for name, arguments in calls
    ]
    return DEEPSEEK_BEGIN + "\n".join(bodies) + DEEPSEEK_END + DEEPSEEK_STOP


def write_deepseek_v3_1(calls: Sequence[Call], ascii_only: bool) -> str:
    bodies = [
        f"{DEEPSEEK_CALL}{name}{DEEPSEEK_SEP}{dump(arguments, ascii_only)}{DEEPSEEK_CALL_END}"
        for name, arguments in calls
    ]
    return DEEPSEEK_BEGIN + "".join(bodies) + DEEPSEEK_END + DEEPSEEK_STOP


DEEPSEEK_V3 = Written(
    format="deepseek_v3",
    write=write_deepseek_v3,
    opening=lambda name: (
        f"{DEEPSEEK_BEGIN}{DEEPSEEK_CALL}function{DEEPSEEK_SEP}{name or ''}\n```json\n"
    ),
    closing=f"\n```{DEEPSEEK_CALL_END}{DEEPSEEK_END}",
    markers=DEEPSEEK_MARKERS,
    stop=DEEPSEEK_STOP,
)
DEEPSEEK_V3_1 = Written(
    format="deepseek_v3_1",
    write=write_deepseek_v3_1,
    opening=lambda name: f"{DEEPSEEK_BEGIN}{DEEPSEEK_CALL}{name or ''}{DEEPSEEK_SEP}",
    closing=DEEPSEEK_CALL_END + DEEPSEEK_END,
    markers=DEEPSEEK_MARKERS,
    stop=DEEPSEEK_STOP,
)

KIMI_MARKERS = (
    "<|tool_calls_section_begin|>",
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "<|tool_calls_section_end|>",
)
KIMI_BEGIN, KIMI_CALL, KIMI_ARGUMENTS, KIMI_CALL_END, KIMI_END = KIMI_MARKERS


def write_kimi(calls: Sequence[Call], ascii_only: bool) -> str:
    bodies = [
        f"{KIMI_CALL}functions.{name}:{i}{KIMI_ARGUMENTS}{dump(args, ascii_only)}{KIMI_CALL_END}"
        for i, (name, args) in enumerate(calls)
    ]
    return f"{KIMI_BEGIN}{''.join(bodies)}{KIMI_END}<|im_end|>"


KIMI = Written(
    format="kimi_k2",
    write=write_kimi,
    opening=lambda name: (
        f"{KIMI_BEGIN}{KIMI_CALL}{f'functions.{name}:0' if name else ''}{KIMI_ARGUMENTS}"
    ),
    closing=KIMI_CALL_END + KIMI_END,
    markers=KIMI_MARKERS,
    stop="<|im_end|>",
)

# -------------------------------------------------------------------------------------- the others

PHI4_MARKERS = ("<|tool_call|>", "<|/tool_call|>", "functools[")
PHI4_MINI = Written(
    format="phi4_mini",
    write=lambda calls, ascii_only: (
        f"<|tool_call|>{listed(calls, ascii_only)}<|/tool_call|><|end|>"
    ),
    opening=opening("<|tool_call|>["),
    closing="}]<|/tool_call|>",
    markers=PHI4_MARKERS,
    stop="<|end|>",
)
PHI4_FUNCTOOLS = Written(
    format="phi4_mini",
    write=lambda calls, ascii_only: f"functools{listed(calls, ascii_only)}<|end|>",
    opening=opening("functools["),
    closing="}]",
    markers=PHI4_MARKERS,
    stop="<|end|>",
)
GRANITE3 = Written(
    format="granite3",
    write=lambda calls, ascii_only: f"<|tool_call|>{listed(calls, ascii_only)}<|end_of_text|>",
    opening=opening("<|tool_call|>["),
    closing="}]",
    markers=("<|tool_call|>", *HERMES_TAGS),
    stop="<|end_of_text|>",
)
GRANITE3_1 = Written(
    format="granite3",
    write=lambda calls, ascii_only: f"<tool_call>{listed(calls, ascii_only)}<|end_of_text|>",
    opening=opening("<tool_call>["),
    closing="}]",
    markers=("<|tool_call|>", *HERMES_TAGS),
    stop="<|end_of_text|>",
)

COHERE_MARKERS = (
    "<|START_ACTION|>",
    "<|END_ACTION|>",
    "<|START_RESPONSE|>",
    "<|END_RESPONSE|>",
    "Action: ```json\n",
    "```",
)
COHERE_THINK = ("<|START_THINKING|>", "<|END_THINKING|>")


def write_cohere(calls: Sequence[Call], ascii_only: bool) -> str:
    actions = [
        f'    {{"tool_call_id": "{index}", "tool_name": {dump(name, ascii_only)}, '
        f'"parameters": {dump(arguments, ascii_only)}}}'
        for index, (name, arguments) in enumerate(calls)
    ]
    lines = ",\n".join(actions)
    return f"<|START_ACTION|>[\n{lines}\n]<|END_ACTION|><|END_OF_TURN_TOKEN|>"


def write_command_r(calls: Sequence[Call], ascii_only: bool) -> str:
    actions = [{"tool_name": name, "parameters": arguments} for name, arguments in calls]
    body = json.dumps(actions, ensure_ascii=ascii_only, indent=4)
    return f"Action: ```json\n{body}```<|END_OF_TURN_TOKEN|>"


COHERE = Written(
    format="cohere",
    write=write_cohere,
    opening=opening("<|START_ACTION|>[\n", "tool_name", "parameters"),
    closing="}\n]<|END_ACTION|>",
    markers=COHERE_MARKERS,
    think=COHERE_THINK,
    stop="<|END_OF_TURN_TOKEN|>",
)
COMMAND_R = Written(
    format="cohere",
    write=write_command_r,
    opening=opening("Action: ```json\n[\n", "tool_name", "parameters"),
    closing="}\n]```",
    markers=COHERE_MARKERS,
    think=COHERE_THINK,
    stop="<|END_OF_TURN_TOKEN|>",
)

NEMOTRON_NANO_V2 = Written(
    format="nemotron_nano_v2",
    write=lambda calls, ascii_only: (
        f"<TOOLCALL>{listed(calls, ascii_only)}</TOOLCALL>\n<SPECIAL_12>\n"
    ),
    opening=opening("<TOOLCALL>["),
    closing="}]</TOOLCALL>",
    markers=("<TOOLCALL>", "</TOOLCALL>"),
    stop="\n<SPECIAL_12>\n",
)

XLAM_MARKERS = ("[TOOL_CALLS]", *HERMES_TAGS, "```json\n", '{"tool_calls": [', "[{")
XLAM = Written(
    format="xlam",
    write=lambda calls, ascii_only: f"{listed(calls, ascii_only)}<|eot_id|>",
    opening=opening("["),
    closing="}]",
    markers=XLAM_MARKERS,
    stop="<|eot_id|>",
    bare=True,
)
XLAM_FENCED = Written(
    format="xlam",
    write=lambda calls, ascii_only: f"```json\n{listed(calls, ascii_only)}\n```<|im_end|>",
    opening=opening("```json\n["),
    closing="}]\n```",
    markers=XLAM_MARKERS,
    stop="<|im_end|>",
    bare=True,
)
XLAM_TAGGED = Written(
    format="xlam",
    write=lambda calls, ascii_only: f"<tool_call>{listed(calls, ascii_only)}</tool_call><|im_end|>",
    opening=opening("<tool_call>["),
    closing="}]</tool_call>",
    markers=XLAM_MARKERS,
    stop="<|im_end|>",
    bare=True,
)
XLAM_1 = Written(
    format="xlam",
    write=lambda calls, ascii_only: f'{{"tool_calls": {listed(calls, ascii_only)}}}<|eot_id|>',
    opening=opening('{"tool_calls": ['),
    closing="}]}",
    markers=XLAM_MARKERS,
    stop="<|eot_id|>",
)

WAYS: dict[str, Written] = {
    name.lower(): way for name, way in globals().copy().items() if isinstance(way, Written)
}
