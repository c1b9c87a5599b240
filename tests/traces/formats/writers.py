"""Write a trace in the format of each chat API, so that reading it back can be compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

from hypothesis import strategies as st

from tests.traces.strategies import NAMES, json_objects, traces
from tooltune.traces import Message, Trace
from tooltune.traces.frozen import thaw

Row = dict[str, Any]
CHOICE = {"type": "function", "function": {"name": "search"}}


@st.composite
def api_traces(draw: st.DrawFn) -> Trace:
    """Traces that every API can say: no weights, no empty system text; with settings and errors."""
    trace = draw(traces())
    messages = tuple(
        replace(
            m,
            weight=1.0,
            content="Be brief." if m.role == "system" else m.content,
            is_error=m.role == "tool" and draw(st.booleans()),
        )
        for m in trace.messages
    )
    choice = draw(st.sampled_from([None, "auto", "required", "none", CHOICE]))
    settings: Row = {} if choice is None else {"tool_choice": choice}
    if choice in ("auto", "required") and draw(st.booleans()):
        settings["parallel_tool_calls"] = draw(st.booleans())
    if draw(st.booleans()):
        schema = {"name": draw(NAMES), "schema": draw(json_objects())}
        settings["response_format"] = {"type": "json_schema", "json_schema": schema}
    return Trace(messages, trace.tools, settings)


def anthropic(trace: Trace) -> Row:
    row: Row = {"messages": []}
    for is_tool, group in groupby(trace.messages, lambda m: m.role == "tool"):
        if is_tool:
            row["messages"].append({"role": "user", "content": [_anthropic(m) for m in group]})
            continue
        for m in group:
            if m.role == "system":
                row["system"] = m.content
            elif m.tool_calls or m.reasoning is not None:
                row["messages"].append({"role": m.role, "content": list(_anthropic_blocks(m))})
            else:
                row["messages"].append({"role": m.role, "content": m.content})
    functions = [thaw(tool.function) for tool in trace.tools]
    row["tools"] = [
        {("input_schema" if k == "parameters" else k): v for k, v in f.items()} for f in functions
    ]
    if choice := trace.settings.get("tool_choice"):
        names = {"auto": "auto", "required": "any", "none": "none"}
        tool = {"type": "tool", "name": "search"}
        row["tool_choice"] = {"type": names[choice]} if isinstance(choice, str) else tool
    if "parallel_tool_calls" in trace.settings:
        single = not trace.settings["parallel_tool_calls"]
        row["tool_choice"]["disable_parallel_tool_use"] = single
    if shape := _flat_format(trace):
        row["output_config"] = {"format": shape}
    return row


def _anthropic(m: Message) -> Row:
    block = {"type": "tool_result", "tool_use_id": m.tool_call_id, "content": m.content}
    return {**block, "is_error": True} if m.is_error else block


def _anthropic_blocks(m: Message) -> Iterator[Row]:
    if m.reasoning is not None:
        yield {"type": "thinking", "thinking": m.reasoning}
    if m.content:
        yield {"type": "text", "text": m.content}
    for call in m.tool_calls:
        arguments = thaw(call.arguments)
        yield {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}


def responses(trace: Trace) -> Row:
    """Everything behind the last user message is the output. Errors have no form there."""
    items = [(m, item) for m in trace.messages for item in _items(m)]
    last_user = max(i for i, (m, _) in enumerate(items) if m.role == "user")
    row: Row = {
        "input": [item for _, item in items[: last_user + 1]],
        "output": [item for _, item in items[last_user + 1 :]],
        "tools": [{"type": "function", **thaw(tool.function)} for tool in trace.tools],
    }
    for key in ("tool_choice", "parallel_tool_calls"):
        if key in trace.settings:
            row[key] = thaw(trace.settings[key])
    if row.get("tool_choice") == CHOICE:
        row["tool_choice"] = {"type": "function", "name": "search"}
    if shape := _flat_format(trace):
        row["text"] = {"format": shape}
    return row


def _items(m: Message) -> Iterator[Row]:
    if m.role == "tool":
        yield {"type": "function_call_output", "call_id": m.tool_call_id, "output": m.content}
        return
    if m.reasoning is not None:
        content = [{"type": "reasoning_text", "text": m.reasoning}]
        yield {"type": "reasoning", "summary": [], "content": content}
    if m.content is not None:
        kind = "output_text" if m.role == "assistant" else "input_text"
        part = {"type": kind, "text": m.content}
        yield {"type": "message", "role": m.role, "content": [part]}
    for call in m.tool_calls:
        arguments = json.dumps(call.arguments)
        item = {"type": "function_call", "call_id": call.id, "name": call.name}
        yield {**item, "arguments": arguments, "status": "completed"}


def gemini(trace: Trace) -> Row:
    row: Row = {"contents": []}
    for m in trace.messages:
        if m.role == "system":
            row["systemInstruction"] = {"parts": [{"text": m.content}]}
        else:
            role = "model" if m.role == "assistant" else "user"
            row["contents"].append({"role": role, "parts": list(_gemini_parts(m))})
    declared = [
        {("parametersJsonSchema" if k == "parameters" else k): v for k, v in tool.function.items()}
        for tool in trace.tools
    ]
    row["tools"] = [{"functionDeclarations": declared}] if declared else []
    if choice := trace.settings.get("tool_choice"):
        modes = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
        only = {"mode": "ANY", "allowedFunctionNames": ["search"]}
        config = {"mode": modes[choice]} if isinstance(choice, str) else only
        row["toolConfig"] = {"functionCallingConfig": config}
    return row


def _gemini_parts(m: Message) -> Iterator[Row]:
    if m.role == "tool":
        response = {"error" if m.is_error else "output": m.content}
        yield {"functionResponse": {"id": m.tool_call_id, "name": m.name, "response": response}}
        return
    if m.reasoning is not None:
        yield {"text": m.reasoning, "thought": True}
    if m.content is not None:
        yield {"text": m.content}
    for call in m.tool_calls:
        arguments = thaw(call.arguments)
        yield {"functionCall": {"id": call.id, "name": call.name, "args": arguments}}


def content_parts(trace: Trace) -> Row:
    row = trace.to_openai()
    for m, turn in zip(trace.messages, row["messages"], strict=True):
        turn.clear()
        turn |= {"role": m.role, "content": list(_parts(m))}
    return row


def _parts(m: Message) -> Iterator[Row]:
    if m.role == "tool":
        output = {"type": "error-text" if m.is_error else "text", "value": m.content}
        labels = {"toolCallId": m.tool_call_id, "toolName": m.name}
        yield {"type": "tool-result", **labels, "output": output}
        return
    if m.reasoning is not None:
        yield {"type": "reasoning", "text": m.reasoning}
    if m.content is not None:
        yield {"type": "text", "text": m.content}
    for call in m.tool_calls:
        labels = {"toolCallId": call.id, "toolName": call.name}
        yield {"type": "tool-call", **labels, "input": thaw(call.arguments)}


def hermes(trace: Trace) -> Row:
    """As chat templates of this family print it; without tools there is no tagged system text."""
    tools = "\n".join(json.dumps(tool.function) for tool in trace.tools)
    block = f"# Tools\n\nFunctions stand in <tools></tools> tags:\n<tools>\n{tools}\n</tools>\n\n"
    block += 'Call them so:\n<tool_call>\n{"name": <name>, "arguments": <arguments>}\n</tool_call>'
    turns = [{"from": m.role, "value": _hermes(m)} for m in trace.messages]
    if trace.tools and trace.messages[0].role == "system":
        turns[0]["value"] += f"\n\n{block}"
    elif trace.tools:
        turns.insert(0, {"from": "system", "value": block})
    return {"conversations": turns, **thaw(trace.settings)}


def _hermes(m: Message) -> str:
    if m.role == "tool":
        result = json.dumps({"name": m.name, "content": m.content})
        return f"<tool_response>\n{result}\n</tool_response>"
    thought = "" if m.reasoning is None else f"<think>\n{m.reasoning}\n</think>\n\n"
    calls = [
        f"\n<tool_call>\n{json.dumps({'name': c.name, 'arguments': c.arguments})}\n</tool_call>"
        for c in m.tool_calls
    ]
    return thought + (m.content or "") + "".join(calls)


def _flat_format(trace: Trace) -> Row | None:
    shape = trace.settings.get("response_format")
    return None if shape is None else {"type": "json_schema", **thaw(shape["json_schema"])}


def _map(trace: Trace, change: Callable[[Message], Message]) -> Trace:
    return Trace(tuple(map(change, trace.messages)), trace.tools, trace.settings)


def without_errors(trace: Trace) -> Trace:
    return _map(trace, lambda m: replace(m, is_error=False))


def without_format(trace: Trace) -> Trace:
    kept = ("tool_choice",)
    settings = {key: trace.settings[key] for key in kept if key in trace.settings}
    return Trace(trace.messages, trace.tools, settings)


def as_hermes_can(trace: Trace) -> Trace:
    """No ids, no marks of errors, and texts without white space at their edges."""

    def change(m: Message) -> Message:
        text = m.content if m.role == "tool" else (m.content or "").strip()
        if m.tool_calls or m.reasoning is not None:
            text = text or None
        return replace(
            m,
            content=text,
            reasoning=None if m.reasoning is None else m.reasoning.strip(),
            tool_calls=tuple(replace(call, id=None) for call in m.tool_calls),
            tool_call_id=None,
            is_error=False,
        )

    return _map(trace, change)


# Each writer, and what of a trace its format can say.
WRITERS: dict[str, tuple[Callable[[Trace], Row], Callable[[Trace], Trace]]] = {
    "anthropic": (anthropic, lambda trace: trace),
    "responses": (responses, without_errors),
    "gemini": (gemini, without_format),
    "content_parts": (content_parts, lambda trace: trace),
    "hermes": (hermes, as_hermes_can),
}
