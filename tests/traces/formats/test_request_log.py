"""Request logs: every layout of an envelope gives the same trace, or says why it gives none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings

from tests.traces.strategies import json_values, traces
from tooltune.traces import FORMATS, Message, RowError, Tool, ToolCall, Trace, detect, read_row

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Bern"}'},
}
HISTORY = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather?"}]
ANSWER = {"role": "assistant", "content": None, "tool_calls": [CALL]}
REQUEST = {"model": "m", "messages": HISTORY, "tools": [TOOL], "tool_choice": "auto"}
RESPONSE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": ANSWER, "finish_reason": "tool_calls"}],
}
EXPECTED = Trace(
    (
        Message("system", "Be brief."),
        Message("user", "Weather?"),
        Message("assistant", None, (ToolCall("weather", {"city": "Bern"}, id="call_1"),)),
    ),
    (Tool(TOOL["function"]),),  # type: ignore[arg-type]
    {"tool_choice": "auto"},
)


def chunk(finish: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "choices": [choice]}


CHUNKS = [
    chunk(role="assistant", content=None),
    chunk(tool_calls=[{"index": 0, "id": "call_1", "function": {"name": "weather"}}]),
    chunk(index=1, content="another choice"),
    chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"city": '}}]),
    chunk(tool_calls=[{"index": 0, "function": {"arguments": '"Bern"}'}}]),
    chunk("tool_calls"),
    {"object": "chat.completion.chunk", "choices": [], "usage": {}},
]
EVENTS = "".join(f"data: {json.dumps(one)}\n\n" for one in CHUNKS) + "data: [DONE]\n\n"
HTTP = {
    "request": {"url": "/v1/chat/completions", "method": "POST", "body": REQUEST},
    "response": {"status": 200, "headers": {}, "body": RESPONSE},
}
WITHOUT_MESSAGES = {key: value for key, value in REQUEST.items() if key != "messages"}

ENVELOPES: dict[str, dict[str, Any]] = {
    "request and response": {"request": REQUEST, "response": RESPONSE},
    "HTTP bodies (Portkey)": {**HTTP, "metadata": {"trace_id": "t"}},
    "bodies as text": {
        "request": {"body": json.dumps(REQUEST)},
        "response": {"status": 200, "body": json.dumps(RESPONSE)},
    },
    "columns of text": {"request": json.dumps(REQUEST), "response": json.dumps(RESPONSE)},
    "Helicone": {
        "request_body": REQUEST,
        "response_body": RESPONSE,
        "response_status": 200,
        "request_properties": {},
    },
    "flat with choices": {**REQUEST, "choices": RESPONSE["choices"]},
    "flat with response": {**REQUEST, "response": RESPONSE},
    "flat with a message": {**REQUEST, "completion": ANSWER},
    "LiteLLM payload": {
        "id": "1",
        "status": "success",
        "messages": HISTORY,
        "response": RESPONSE,
        "model_parameters": WITHOUT_MESSAGES,
        "error_str": None,
    },
    "LiteLLM spend log": {
        "request_id": "1",
        "messages": {},
        "proxy_server_request": json.dumps(REQUEST),
        "response": json.dumps(RESPONSE),
    },
    "Langfuse": {"type": "GENERATION", "level": "DEFAULT", "input": REQUEST, "output": ANSWER},
    "Langfuse as text": {
        "type": "GENERATION",
        "input": json.dumps(REQUEST),
        "output": json.dumps(ANSWER),
    },
    "OpenPipe": {"input": REQUEST, "output": RESPONSE, "tags": {}},
    "LangSmith of OpenAI's client": {"run_type": "llm", "inputs": REQUEST, "outputs": RESPONSE},
    "LangSmith of LangChain": {
        "run_type": "llm",
        "session_id": "the project",
        "inputs": {
            "messages": [
                [
                    {"lc": 1, "id": ["x", "SystemMessage"], "kwargs": {"content": "Be brief."}},
                    {"lc": 1, "id": ["x", "HumanMessage"], "kwargs": {"content": "Weather?"}},
                ]
            ]
        },
        "outputs": {
            "generations": [
                [
                    {
                        "text": "",
                        "message": {
                            "lc": 1,
                            "id": ["x", "AIMessage"],
                            "kwargs": {
                                "content": "",
                                "tool_calls": [
                                    {"name": "weather", "args": {"city": "Bern"}, "id": "call_1"}
                                ],
                            },
                        },
                    }
                ]
            ]
        },
        "extra": {"invocation_params": WITHOUT_MESSAGES, "metadata": {}},
    },
    "batch": {
        "custom_id": "1",
        "method": "POST",
        "body": REQUEST,
        "response": {"status_code": 200, "request_id": "r", "body": RESPONSE},
        "error": None,
    },
    "chunks": {"request": REQUEST, "response": CHUNKS},
    "a stream's text": {"request": {"body": REQUEST}, "response": {"body": EVENTS}},
    "Ollama": {"request": REQUEST, "response": {"message": ANSWER, "done": True}},
}
PARTS = [{"type": "tool_call", "id": "call_1", "name": "weather", "arguments": {"city": "Bern"}}]
SPAN = {
    "gen_ai.operation.name": "chat",
    "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
    "gen_ai.input.messages": [
        {"role": "user", "parts": [{"type": "text", "content": "Weather?"}]},
    ],
    "gen_ai.output.messages": [{"role": "assistant", "parts": PARTS, "finish_reason": "tool_call"}],
    "gen_ai.tool.definitions": [TOOL],
}
AS_TEXT = {k: v if isinstance(v, str) else json.dumps(v) for k, v in SPAN.items()}
SPANS: dict[str, dict[str, Any]] = {
    "in the row": SPAN,
    "in attributes": {"name": "chat m", "attributes": SPAN},
    "as JSON text": {"attributes": AS_TEXT},
    "OTLP": {"attributes": [{"key": k, "value": {"stringValue": v}} for k, v in AS_TEXT.items()]},
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_every_envelope_gives_the_same_trace(name: str) -> None:
    row = ENVELOPES[name]
    assert detect(row).name == "request_log"
    trace = read_row(row)
    assert trace == EXPECTED
    assert trace.group == trace.id


@pytest.mark.parametrize("name", SPANS)
def test_every_spelling_of_a_span_gives_the_same_trace(name: str) -> None:
    assert detect(SPANS[name]).name == "request_log"
    trace = read_row(SPANS[name])
    assert (trace.messages, trace.tools) == (EXPECTED.messages, EXPECTED.tools)


def test_results_and_reasoning_of_spans_are_read() -> None:
    result = {"type": "tool_call_response", "id": "call_1", "response": {"sky": "blue"}}
    history = [
        *SPAN["gen_ai.input.messages"],
        {"role": "assistant", "parts": PARTS},
        {"role": "tool", "parts": [result]},
    ]
    thought = {"type": "reasoning", "content": "Easy."}
    answer = {"role": "assistant", "parts": [thought, {"type": "text", "content": "Blue."}]}
    row = {**SPAN, "gen_ai.input.messages": history, "gen_ai.output.messages": [answer, answer]}
    trace = read_row(row)
    assert trace.messages[3:] == (
        Message("tool", '{"sky": "blue"}', tool_call_id="call_1", name="weather"),
        Message("assistant", "Blue.", reasoning="Easy."),
    )


@given(traces())
@settings(max_examples=50)
def test_a_trace_cut_into_request_and_response_is_read_back(trace: Trace) -> None:
    row = trace.to_openai()
    *history, answer = row["messages"]
    request = {**row, "messages": history}
    choices = [{"index": 1, "message": {"content": "other"}}, {"index": 0, "message": answer}]
    for response in ({"choices": choices}, answer):
        assert read_row({"request": request, "response": response}) == trace


def test_anthropic_requests_are_read_as_such() -> None:
    request = {
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": "Weather?"}],
        "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
    }
    use = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Bern"}}
    response = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, use],
        "stop_reason": "tool_use",
    }
    joined = {
        "custom_id": "1",
        "params": request,
        "result": {"type": "succeeded", "message": response},
    }
    for row in ({"request": request, "response": response}, joined):
        trace = read_row(row)
        assert trace.messages[2].reasoning == "Hm."
        assert trace.messages[2].tool_calls == EXPECTED.messages[2].tool_calls
        assert trace.tools == EXPECTED.tools


def test_responses_requests_are_read_as_such() -> None:
    request = {
        "instructions": "Be brief.",
        "input": "Weather?",
        "tools": [{"type": "function", **TOOL["function"]}],  # type: ignore[dict-item]
    }
    item = {
        "type": "function_call",
        "call_id": "call_1",
        "name": "weather",
        "arguments": '{"city": "Bern"}',
    }
    response = {"object": "response", "status": "completed", "error": None, "output": [item]}
    for row in ({"request": request, "response": response}, {"input": request, "output": response}):
        assert detect(row).name == "request_log"
        assert read_row(row).messages == EXPECTED.messages


def test_gemini_requests_are_read_as_such() -> None:
    request = {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "Weather?"}]}],
        "tools": [{"functionDeclarations": [{"name": "weather"}]}],
    }
    call = {"functionCall": {"name": "weather", "args": {"city": "Bern"}}}
    candidate = {"content": {"role": "model", "parts": [call]}, "finishReason": "STOP"}
    trace = read_row({"request": request, "response": {"candidates": [candidate]}})
    assert trace.messages[2].tool_calls == (ToolCall("weather", {"city": "Bern"}),)
    assert trace.messages[0] == EXPECTED.messages[0]


def test_text_that_is_json_is_what_the_model_said() -> None:
    for said in ('{"city": "Bern"}', '{"message": "hi"}', "[1, 2]", "{not json"):
        row = {"input": HISTORY, "output": said}
        assert read_row(row).messages[-1] == Message("assistant", said)


@pytest.mark.parametrize(
    "row",
    [
        {"session_id": "7"},
        {"sessionId": 7},
        {"metadata": {"conversation_id": "7"}},
        {"metadata": '{"thread_id": "7"}'},
        {"request_properties": {"Helicone-Session-Id": "7"}},
        {"request": {**REQUEST, "litellm_session_id": "7"}},
        {"request": {**REQUEST, "metadata": {"session_id": "7"}}},
        {"extra": {"metadata": {"session_id": "7"}}},
    ],
)
def test_a_session_that_the_row_names_is_the_group(row: dict[str, Any]) -> None:
    trace = read_row({"request": REQUEST, "response": RESPONSE, **row})
    assert trace.group == "session:7"
    assert trace.id == EXPECTED.id


def test_the_conversation_of_a_span_is_its_group() -> None:
    assert read_row({"attributes": {**SPAN, "gen_ai.conversation.id": "7"}}).group == "session:7"


def test_ids_of_traces_and_projects_are_no_sessions() -> None:
    for row in ({"traceId": "7"}, {"trace_id": "7"}, {"run_type": "llm", "session_id": "7"}):
        trace = read_row({"input": REQUEST, "output": RESPONSE, **row})
        assert trace.group == trace.id


def both(request: Any = REQUEST, response: Any = RESPONSE, **row: Any) -> dict[str, Any]:
    return {"request": request, "response": response, **row}


def finished(reason: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": ANSWER, "finish_reason": reason}]}


CASES: list[tuple[dict[str, Any], str, str]] = [
    (both(response=None), "no_response", "response is empty"),
    ({"request": REQUEST}, "no_response", "response is empty"),
    (both(response={"status": 429, "body": {}}), "request_failed", "response.status is 429"),
    (both(status_code="503"), "request_failed", "status_code is '503'"),
    (both(status="failure"), "request_failed", "status is 'failure'"),
    (both(error="timeout"), "request_failed", "error is 'timeout'"),
    (both(response={"error": {"message": "x"}}), "request_failed", "response.error"),
    (both(response='{"error": {"message": "x"}}'), "request_failed", "response.error"),
    (both(response={"type": "error", "error": {}}), "request_failed", "response.type is 'error'"),
    (both(response={"body": {"error": "x"}}), "request_failed", "response.body.error is 'x'"),
    (
        {"input": HISTORY, "output": "x", "level": "ERROR"},
        "request_failed",
        "level is 'ERROR'",
    ),
    (
        {"custom_id": "1", "params": REQUEST, "result": {"type": "expired"}},
        "request_failed",
        "result.type is 'expired'",
    ),
    (
        {"id": "b", "custom_id": "7", "response": {"status_code": 200, "body": RESPONSE}},
        "batch_output_alone",
        "answer to '7' alone",
    ),
    ({"custom_id": "7", "method": "POST", "body": REQUEST}, "no_response", "response is empty"),
    (both(response=finished("length")), "incomplete_response", "finish_reason is 'length'"),
    (both(response=finished("content_filter")), "incomplete_response", "cut off"),
    (both(response=CHUNKS[:4]), "incomplete_response", "without a finish_reason"),
    (both(response="data: {"), "invalid_json", "event 0"),
    (
        both(response='data: {"type": "response.output_text.delta"}'),
        "streamed_response",
        "other events",
    ),
    (
        both(response={"role": "assistant", "content": [], "stop_reason": "max_tokens"}),
        "incomplete_response",
        "stop_reason is 'max_tokens'",
    ),
    (
        both(response={"candidates": [{"content": {}, "finishReason": "SAFETY"}]}),
        "incomplete_response",
        "finishReason is 'SAFETY'",
    ),
    (
        both(response={"status": "incomplete", "output": [{}]}),
        "incomplete_response",
        "status is 'incomplete'",
    ),
    (both({"input": "text"}, {"data": [{"embedding": [1]}]}), "not_a_chat_request", "no answer"),
    (
        both({"prompt": "Once"}, {"choices": [{"index": 0, "text": "upon"}]}),
        "not_a_chat_request",
        "choices has no message",
    ),
    (both({"messages": "x", "a": 1}), "invalid_json", "messages"),
    (both('{"messages": '), "invalid_json", "request"),
    (both(response={"choices": [{"message": {"content": 5}}]}), "content_not_text", "request and"),
    (
        {"run_type": "chain", "inputs": REQUEST, "outputs": {"messages": [ANSWER]}},
        "not_a_model_call",
        "run_type is 'chain'",
    ),
    ({"type": "SPAN", "input": REQUEST, "output": ANSWER}, "not_a_model_call", "type is 'SPAN'"),
    (
        {**SPAN, "gen_ai.output.messages": []},
        "no_response",
        "gen_ai.output.messages is empty",
    ),
    (
        {**SPAN, "gen_ai.output.messages": [{"parts": [], "finish_reason": "length"}]},
        "incomplete_response",
        "finish_reason is 'length'",
    ),
    (
        {**SPAN, "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "blob"}]}]},
        "unsupported_part",
        "gen_ai.input.messages[0].parts[0] is of type 'blob'",
    ),
]


@pytest.mark.parametrize(("row", "code", "place"), CASES)
def test_a_request_without_a_whole_answer_is_rejected_with_its_reason(
    row: dict[str, Any], code: str, place: str
) -> None:
    assert detect(row).name == "request_log"
    with pytest.raises(RowError) as caught:
        read_row(row)
    assert (caught.value.code, place in caught.value.reason) == (code, True), caught.value


def test_what_is_no_log_is_left_to_other_formats() -> None:
    conversation = {"messages": [*HISTORY, ANSWER]}
    items = [{"type": "message", "role": "assistant", "content": "!"}]
    for row in (
        conversation,
        {**conversation, "response": "beside a whole conversation"},
        {"instruction": "x", "input": "y", "output": "z"},
        {"input": [{"role": "user", "content": "?"}], "output": items},
        {"request": "what is it?", "response": "this"},
    ):
        assert FORMATS["request_log"].recognise(row) is None
    with pytest.raises(RowError, match="not_a_request_log"):
        read_row(conversation, "request_log")
    assert FORMATS["request_log"].per_request


ANTHROPIC_ANSWER = {
    "role": "assistant",
    "content": [{"type": "text", "text": "!"}],
    "stop_reason": "end_turn",
}
GEMINI_ANSWER = {"candidates": [{"content": {"parts": [{"text": "!"}]}, "finishReason": "STOP"}]}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "?"}]}]}
WHOLE = [
    *ENVELOPES.values(),
    *SPANS.values(),
    both(response=ANTHROPIC_ANSWER),
    both(GEMINI, GEMINI_ANSWER),
    both({"input": "?"}, {"status": "completed", "output": [{"type": "message", **ANSWER}]}),
]
WRONG: list[Any] = [None, 5, True, "x", "{", "[", "{}", [], {}, [5], [{}], {"a": 1}]


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a row with each of its keys."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], (dict, list)):
            yield from places(node[key])


@pytest.mark.parametrize("number", range(len(WHOLE)))
def test_a_row_with_any_value_damaged_is_read_or_rejected(number: int) -> None:
    row = json.loads(json.dumps(WHOLE[number]))
    for node, key in places(row):
        right = node[key]
        for wrong in WRONG:
            node[key] = wrong
            try:
                trace = read_row(row, "request_log")
            except RowError as error:
                assert error.reason
            else:
                assert trace.turns
        node[key] = right
    assert row == json.loads(json.dumps(WHOLE[number]))


@given(json_values())
def test_any_value_is_read_or_rejected(value: Any) -> None:
    for row in (value, both(value), both(response=value), {"attributes": value, **SPAN}):
        try:
            assert read_row(row, "request_log").turns
        except RowError as error:
            assert error.reason
