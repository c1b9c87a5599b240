"""Request logs: one row per model call, in the envelope of a gateway or an observability tool.

    {"request": {"messages": [...], "tools": [...]}, "response": {"choices": [...]}}

`envelopes` knows the layouts, `answers` the APIs. A row becomes a trace of the history and the
answer; since each request repeats what came before, rows are stitched into conversations
(`traces.stitch`). A session that the row names becomes the trace's group, `session:NAME`. Ids of
traces (Langfuse, LiteLLM) are not sessions: one conversation may have many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tooltune.traces.formats.logs import otel
from tooltune.traces.formats.logs.answers import read_call, require_finished
from tooltune.traces.formats.logs.bodies import parse_answer
from tooltune.traces.formats.logs.envelopes import Exchange, find_exchange, request_of
from tooltune.traces.formats.openai import read as read_openai
from tooltune.traces.formats.shared.build import require_object
from tooltune.traces.formats.shared.common import is_answered
from tooltune.traces.jsonio import RowError, loads, show
from tooltune.traces.types import Trace

SESSION_KEYS = (
    "session_id",
    "sessionId",
    "conversation_id",
    "conversationId",
    "thread_id",
    "threadId",
    "litellm_session_id",
    "Helicone-Session-Id",
    "helicone-session-id",
    "gen_ai.conversation.id",
    "session.id",
)
_FAILED = ("failure", "failed", "error", "errored", "canceled", "cancelled", "expired")
_OTHER_SPANS = (  # types of Langfuse's observations, of which GENERATION is the model's
    *("SPAN", "EVENT", "AGENT", "TOOL", "CHAIN", "RETRIEVER", "EVALUATOR", "EMBEDDING"),
    "GUARDRAIL",
)


def recognise(row: Any) -> str | None:
    """A request and a response in one of the layouts of `envelopes`."""
    found = find_exchange(row)
    if found is None or is_answered(row):
        return None
    return f"a request under {found.request_key!r} and its response under {found.response_key!r}"


def read(row: Any) -> Trace:
    """Read one row. Raises `RowError` with the code and the place of what is wrong."""
    row = require_object(row)
    found = find_exchange(row)
    if found is None:
        keys = ", ".join(show(key, 20) for key in list(row)[:8]) or "no keys"
        reason = f"no request and response (found: {keys}); rename the keys, as request, response"
        raise RowError("not_a_request_log", reason)
    _require_model_call(row)
    trace, request = _read_exchange(row, found)
    session = session_of(row, request)
    return trace if session is None else replace(trace, group=f"session:{session}")


def _read_exchange(row: Mapping[str, Any], found: Exchange) -> tuple[Trace, Mapping[str, Any]]:
    """The trace, and the request (or the span's attributes) that may name a session."""
    _require_success("", row)
    if found.request_key == otel.INPUT:
        request, answer = otel.read_span(found.request)
        if not answer:
            raise RowError("no_response", f"{otel.OUTPUT} is empty; remove the row")
        require_finished(answer[-1].get("finish_reason"), f"{otel.OUTPUT}[0].finish_reason")
        messages = [*request["messages"], *answer]
        return read_openai({**request, "messages": messages}), found.request
    if found.request is None:
        reason = (
            f"a line of a batch's output holds the answer to {show(row.get('custom_id'))} alone; "
            "put the body of the input line with this custom_id beside it, under 'body'"
        )
        raise RowError("batch_output_alone", reason)
    response = parse_answer(found.response, found.response_key)
    _require_success(f"{found.response_key}.", response)
    if isinstance(response, Mapping) and found.response_key == "result":
        response = response.get("message")  # Anthropic's batches
    elif isinstance(response, Mapping) and "body" in response:
        response = parse_answer(response["body"], f"{found.response_key}.body")
        _require_success(f"{found.response_key}.body.", response)
    request = request_of(row, found)
    try:
        return read_call(request, response, found.response_key), request
    except RowError as error:
        raise RowError(error.code, f"{found.request_key} and its answer: {error.reason}") from None


def _require_model_call(row: Mapping[str, Any]) -> None:
    """Raise `RowError("not_a_model_call", ...)` for other spans of an observability export."""
    for key, known in (("run_type", ("llm",)), ("type", None)):
        kind = row.get(key)
        if isinstance(kind, str) and (kind in _OTHER_SPANS if known is None else kind not in known):
            reason = f"{key} is {show(kind)}: what it holds is in the model calls; remove the row"
            raise RowError("not_a_model_call", reason)


def _require_success(where: str, part: Any) -> None:
    """Raise `RowError("request_failed", ...)` where a part of the envelope tells of an error."""
    if not isinstance(part, Mapping):
        return
    if part.get("error"):
        raise _failed(f"{where}error", part["error"])
    for key in ("status", "status_code", "statusCode", "response_status", "level", "type"):
        value = part.get(key)
        if isinstance(value, str) and value.lower() in _FAILED:
            raise _failed(f"{where}{key}", value)
        code = str(value) if isinstance(value, (int, str)) else ""
        if key not in ("level", "type") and len(code) == 3 and code >= "400" and code.isdigit():
            raise _failed(f"{where}{key}", value)


def _failed(where: str, what: Any) -> RowError:
    reason = f"{where} is {show(what)}: nothing was answered; remove the row"
    return RowError("request_failed", reason)


def session_of(row: Mapping[str, Any], request: Mapping[str, Any]) -> str | None:
    """The session that the envelope, its metadata or the request names."""
    for place in _places(row, request):
        for key in SESSION_KEYS:
            value = place.get(key)
            if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
                return str(value)
    return None


def _places(row: Mapping[str, Any], request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    extra = row.get("extra")
    extra = extra if isinstance(extra, Mapping) else {}
    if "run_type" not in row:  # the session_id of a LangSmith run is its project
        yield row
    beside = [row.get(key) for key in ("metadata", "request_properties", "properties")]
    for value in (*beside, extra.get("metadata"), request, request.get("metadata")):
        if isinstance(value, str) and value.lstrip().startswith("{"):
            value = loads(value, "metadata")
        if isinstance(value, Mapping):
            yield value
