"""Where request logs keep a request and its response.

| layout | documented by |
|---|---|
| `request`, `response`, each a body or `{"url", "method", "headers", "body", "status"}` | Portkey (portkey.ai/docs, "Insert a log"), Log10, most gateways |
| `request_body`, `response_body`, `request_properties` | Helicone (docs.helicone.ai, "Export") |
| `messages` beside `response`, `choices`, `completion`, ... | LiteLLM (docs.litellm.ai, "StandardLoggingPayload", spend logs), loggers of one's own |
| `input`, `output` | Langfuse (langfuse.com/docs, "Export from UI"), OpenPipe, Opik |
| `inputs`, `outputs` of a run, its tools under `extra.invocation_params` | LangSmith (docs.langchain.com/langsmith, "Log LLM calls") |
| `custom_id`, `body` and `response` (`params` and `result`), joined | batch APIs of OpenAI and Anthropic |
| `gen_ai.*` attributes | OpenTelemetry (see `otel`) |

A body may be JSON text.
"""  # noqa: E501 (a table)

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tooltune.traces.formats.logs import otel
from tooltune.traces.formats.logs.bodies import body_of
from tooltune.traces.jsonio import RowError, show

Row = Mapping[str, Any]

_HTTP = (("request", "response"), ("request_body", "response_body"), ("request", "completion"))
_ASKED = ("messages", "contents")
_ANSWERED = ("response", "choices", "candidates", "completion", "response_body", "generations")
_CHAT_KEYS = ("messages", "contents", "input", "prompt", "body")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its response as the row holds them, and the keys that they stand under."""

    request: Any
    response: Any
    request_key: str
    response_key: str


def find_exchange(row: Any) -> Exchange | None:
    """The request and response of a log's row; None where the row is no log. Parses nothing."""
    if not isinstance(row, Mapping):
        return None
    return next((found for layout in _LAYOUTS if (found := layout(row)) is not None), None)


def _http(row: Row) -> Exchange | None:
    for asked, answered in _HTTP:
        request = row.get(asked)
        text = isinstance(request, str) and request.lstrip().startswith("{")
        chat = isinstance(request, Mapping) and any(key in request for key in _CHAT_KEYS)
        if (text or chat) and (answered in row or (chat and "custom_id" not in row)):
            return Exchange(request, row.get(answered), asked, answered)
    return None


def _batch(row: Row) -> Exchange | None:
    if "custom_id" not in row:
        return None
    for asked, answered in (("body", "response"), ("params", "result")):
        if asked in row or isinstance(row.get(answered), Mapping):
            return Exchange(row.get(asked), row.get(answered), asked, answered)
    return None


def _flat(row: Row) -> Exchange | None:
    asked = next((key for key in _ASKED if row.get(key)), None)
    answered = next((key for key in _ANSWERED if row.get(key)), None)
    body = row.get("proxy_server_request")  # LiteLLM: the request as it came in
    if answered is None or (asked is None and body is None) or _answered(row.get(asked or "")):
        return None
    response = {answered: row[answered]} if answered in ("choices", "candidates") else row[answered]
    if answered == "generations":
        response = {answered: row[answered]}
    return Exchange(row, response, asked or "proxy_server_request", answered)


def _answered(messages: Any) -> bool:
    """Whether the messages end with the assistant's own: a whole conversation, not a request."""
    last = messages[-1] if isinstance(messages, (list, tuple)) and messages else None
    return isinstance(last, Mapping) and last.get("role", last.get("from")) in ("assistant", "gpt")


def _input_output(row: Row) -> Exchange | None:
    for asked, answered in (("input", "output"), ("inputs", "outputs")):
        request, response = row.get(asked), row.get(answered)
        if isinstance(request, str) and request.lstrip().startswith(("{", "[")):
            chat = '"messages"' in request or '"role"' in request
        elif isinstance(request, Mapping):
            chat = any(key in request for key in _CHAT_KEYS)
        else:
            first = request[0] if isinstance(request, (list, tuple)) and request else None
            chat = isinstance(first, Mapping) and ("role" in first or "lc" in first)
        if chat and answered in row and not isinstance(response, (list, tuple)):
            return Exchange(request, response, asked, answered)
    return None


def _span(row: Row) -> Exchange | None:
    attributes = otel.attributes_of(row)
    if attributes is None:
        return None
    return Exchange(attributes, attributes, otel.INPUT, otel.OUTPUT)


_LAYOUTS: tuple[Callable[[Row], Exchange | None], ...] = (
    _batch,
    _http,
    _span,
    _flat,
    _input_output,
)


def request_of(row: Row, found: Exchange) -> dict[str, Any]:
    """The body of the request: an object with `messages`, `contents` or `input`.

    Keys that only stand beside it (tools that LiteLLM and LangSmith log apart) are added.
    Raises `RowError` (`not_a_chat_request`, or as `loads`).
    """
    body = body_of(found.request, found.request_key)
    if isinstance(body, (list, tuple)):
        body = {"messages": body}
    if not isinstance(body, Mapping):
        reason = f"{found.request_key} is {show(body)}; only chat requests can be learnt"
        raise RowError("not_a_chat_request", reason)
    request: dict[str, Any] = {}
    for beside in (row.get("proxy_server_request"), row.get("model_parameters"), *_extra(row)):
        beside = body_of(beside, "proxy_server_request")
        request |= beside if isinstance(beside, Mapping) else {}
    request |= {key: value for key, value in body.items() if value not in (None, "", [], {})}
    if isinstance(request.get("prompt"), (list, tuple)) and "messages" not in request:
        request["messages"] = request["prompt"]
    return request


def _extra(row: Row) -> tuple[Any, ...]:
    extra = row.get("extra")
    return (extra.get("invocation_params"),) if isinstance(extra, Mapping) else ()
