"""All that the reference's parser reads is read here, without naming the family.

It knows four syntaxes (Hermes' tags, Llama's tag, Mistral's list, harmony), then any JSON object
with a name; the texts are of all kinds that it reads as a call.
"""

from __future__ import annotations

import json

import pytest

from tooltune.toolcalls import parse_tool_calls

ARGUMENTS = {"city": "Zürich", "days": 2, "deep": {"a": [{"b": None}]}, "text": '} <b> " ]'}
CALL = json.dumps({"name": "f", "arguments": ARGUMENTS}, ensure_ascii=False)
ONE = [("f", ARGUMENTS)]
BODY = json.dumps(ARGUMENTS)

READ_BY_THE_REFERENCE = {
    "a tag": (f"<tool_call>{CALL}</tool_call>", ONE),
    "a tag with white space": (f"<tool_call>\n  {CALL}\n</tool_call><|im_end|>\n", ONE),
    "text around": (f"Let me see.\n<tool_call>\n{CALL}\n</tool_call>\nDone.", ONE),
    "two tags": (f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>", ONE * 2),
    "a list in a tag": (f"<tool_call>[{CALL}, {CALL}]</tool_call>", ONE * 2),
    "parameters for arguments": (
        f"<tool_call>{CALL.replace('arguments', 'parameters')}</tool_call>",
        ONE,
    ),
    "no arguments": ('<tool_call>{"name": "f"}</tool_call>', [("f", {})]),
    "arguments in a string": (
        f"<tool_call>{json.dumps({'name': 'f', 'arguments': BODY})}</tool_call>",
        ONE,
    ),
    "Llama's tag": (f"<|python_tag|>{CALL.replace('arguments', 'parameters')}<|eom_id|>", ONE),
    "Llama's tag without an end": (f"<|python_tag|>{CALL}", ONE),
    "Llama's tag and text": (f"So: <|python_tag|> {CALL} and so on", ONE),
    "two of Llama's tags": (f"<|python_tag|>{CALL}<|python_tag|>{CALL}<|eom_id|>", ONE * 2),
    "Mistral's list": (f"[TOOL_CALLS][{CALL}]</s>", ONE),
    "Mistral's list of two": (f"[TOOL_CALLS] [{CALL}, {CALL}]", ONE * 2),
    "harmony, recipient behind the channel": (
        f"<|channel|>commentary to=functions.f<|message|>{BODY}<|call|>",
        ONE,
    ),
    "harmony, constrained": (
        f"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{BODY}<|call|>",
        ONE,
    ),
    "harmony, recipient before the channel": (
        f"<|start|>assistant to=functions.f<|channel|>commentary<|message|>{BODY}<|call|>",
        ONE,
    ),
    "harmony, the start left to the prompt": (
        f" to=functions.f<|channel|>commentary <|constrain|>json<|message|>{BODY}",
        ONE,
    ),
    "harmony behind an analysis": (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary "
        f"to=functions.get-time_2<|message|>{BODY}<|call|>",
        [("get-time_2", ARGUMENTS)],
    ),
    "an object": (CALL, ONE),
    "an object in text": (f"I call {CALL} now.", ONE),
    "an object in a fence": (f"```json\n{CALL}\n```", ONE),
    "two objects": (f"{CALL}\n{CALL}", ONE * 2),
}


@pytest.mark.parametrize("kind", READ_BY_THE_REFERENCE)
def test_what_the_reference_reads_is_read(kind: str) -> None:
    text, expected = READ_BY_THE_REFERENCE[kind]
    calls = parse_tool_calls(text)
    assert [(call.name, call.arguments) for call in calls] == expected
    assert all(call.arguments_valid_json and call.status == "ok" for call in calls)


@pytest.mark.parametrize("text", ["<tool_call>{oops}</tool_call>", "<|python_tag|>{'x': 1}"])
def test_what_the_reference_reports_as_broken_is_reported(text: str) -> None:
    (call,) = parse_tool_calls(text)
    assert (call.name, call.arguments, call.arguments_valid_json) == (None, {}, False)
