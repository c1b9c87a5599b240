"""Put the answer of a model call behind its request: one row of the API's own format.

The answer's shape tells the API (the references of OpenAI, Anthropic, Google and Ollama):
`choices` (chat completions, of which the one with index 0 is read: the others are alternatives),
`candidates` (Gemini), `output` items (Responses), `content` blocks (Anthropic), `message`
(Ollama), `generations` (LangChain), a list of messages, or the message or text alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tooltune.traces.formats import anthropic, gemini, openai, responses
from tooltune.traces.formats.logs import langchain
from tooltune.traces.formats.shared.calls import parse_text
from tooltune.traces.jsonio import RowError, show
from tooltune.traces.types import Trace

Request = Mapping[str, Any]

_UNFINISHED = {  # reasons for which an answer stopped where the model would have gone on
    "length",
    "content_filter",
    "error",
    "max_tokens",
    "model_context_window_exceeded",
    "pause_turn",
    "incomplete",
    "failed",
    "in_progress",
    "cancelled",
}
_GEMINI_FINISHED = ("STOP", "FINISH_REASON_UNSPECIFIED", None)


def read_call(request: Request, answer: Any, where: str) -> Trace:
    """The trace of a request and what `bodies.parse_answer` gave; `where` names the answer.

    Raises `RowError` (`no_response`, `incomplete_response`, `not_a_chat_request`, or as the
    reader of the API's format).
    """
    if not answer:
        raise RowError("no_response", f"{where} is empty; log the response, or remove the row")
    if isinstance(answer, str):
        return _chat(request, [{"role": "assistant", "content": answer}])
    if isinstance(answer, (list, tuple)):
        if langchain.is_langchain(answer):
            return _chat(request, langchain.read_messages(answer))
        return _chat(request, list(answer))
    for key, read in _READERS.items():
        if isinstance(answer, Mapping) and answer.get(key):
            return read(request, answer, where)
    raise RowError("not_a_chat_request", f"{where} is {show(answer)}, no answer of a chat model")


def _chat(request: Request, answer: list[Any]) -> Trace:
    """Read messages in the format that recognises the whole of them."""
    messages = parse_text(request.get("messages"), "messages")
    if not isinstance(messages, (list, tuple)) or not messages:
        found = ", ".join(show(key, 20) for key in list(request)[:8]) or "no keys"
        reason = f"the request has no messages (found: {found}); only chat requests can be learnt"
        raise RowError("not_a_chat_request", reason)
    if langchain.is_langchain(messages):
        messages = langchain.read_messages(messages)
    row = {**request, "messages": [*messages, *answer]}
    return _reader_of(row)(row)


def _reader_of(row: Request) -> Callable[[Any], Trace]:
    from tooltune.traces.formats import FORMATS  # which has this format too

    for format in FORMATS.values():
        if not format.per_request and format.recognise(row) is not None:
            return format.read
    return openai.read  # says what is wrong


def _choices(request: Request, response: Request, where: str) -> Trace:
    choices = response["choices"]
    choices = choices if isinstance(choices, (list, tuple)) else ()
    choices = [choice for choice in choices if isinstance(choice, Mapping)]
    choice = next((c for c in choices if c.get("index", 0) == 0), None)
    message = choice.get("message") if choice is not None else None
    if choice is None or not isinstance(message, Mapping):
        reason = f"{where}.choices has no message with index 0; only chat completions can be learnt"
        raise RowError("not_a_chat_request", reason)
    require_finished(choice.get("finish_reason"), f"{where}.choices[0].finish_reason")
    return _chat(request, [{"role": "assistant", **message}])


def _candidates(request: Request, response: Request, where: str) -> Trace:
    candidates = response["candidates"]
    first = candidates[0] if isinstance(candidates, (list, tuple)) else None
    content = first.get("content") if isinstance(first, Mapping) else None
    if first is None or not isinstance(content, Mapping):
        reason = f"{where}.candidates[0] has no content; remove the row"
        raise RowError("no_response", reason)
    finish = first.get("finishReason", first.get("finish_reason"))
    if finish not in _GEMINI_FINISHED:
        raise _incomplete(finish, f"{where}.candidates[0].finishReason")
    contents = request.get("contents")
    if isinstance(contents, str):
        contents = {"role": "user", "parts": [{"text": contents}]}
    contents = [contents] if isinstance(contents, Mapping) else contents
    contents = contents if isinstance(contents, (list, tuple)) else ()
    config = request.get("config")  # google-genai's Python client nests the rest
    inner = {**(config if isinstance(config, Mapping) else {}), **request}
    return gemini.read({**inner, "contents": [*contents, {"role": "model", **content}]})


def _output(request: Request, response: Request, where: str) -> Trace:
    if isinstance(response["output"], str):
        return _chat(request, [{"role": "assistant", "content": response["output"]}])
    require_finished(response.get("status"), f"{where}.status")
    return responses.read({**request, "output": response["output"]})


def _message(request: Request, response: Request, where: str) -> Trace:
    message = response["message"]
    if not isinstance(message, Mapping):
        return _chat(request, [{"role": "assistant", "content": message}])
    reason = response.get("finish_reason", response.get("done_reason"))
    require_finished(reason, f"{where}.done_reason")
    return _chat(request, [{"role": "assistant", **message}])


def _role(request: Request, response: Request, where: str) -> Trace:
    for key in ("stop_reason", "finish_reason"):
        require_finished(response.get(key), f"{where}.{key}")
    if response.get("type") != "message" and "stop_reason" not in response:
        return _chat(request, [response])
    answer = {"role": "assistant", "content": response.get("content")}
    messages = parse_text(request.get("messages"), "messages")
    messages = messages if isinstance(messages, (list, tuple)) else ()
    return anthropic.read({**request, "messages": [*messages, answer]})


def _generations(request: Request, response: Request, where: str) -> Trace:
    answer = langchain.read_generations(response["generations"])
    if not answer:
        raise RowError("no_response", f"{where}.generations holds no message; remove the row")
    return _chat(request, answer)


def _messages(request: Request, response: Request, where: str) -> Trace:
    messages = response["messages"]
    return read_call(request, messages if isinstance(messages, list) else None, f"{where}.messages")


def _text(request: Request, response: Request, where: str) -> Trace:
    return _chat(request, [{"role": "assistant", "content": response["content"]}])


_READERS: dict[str, Callable[[Request, Request, str], Trace]] = {
    "choices": _choices,
    "candidates": _candidates,
    "output": _output,
    "role": _role,
    "message": _message,
    "generations": _generations,
    "messages": _messages,
    "content": _text,
}


def require_finished(reason: Any, where: str) -> None:
    """Raise `RowError("incomplete_response", ...)` for an answer that was cut off."""
    if isinstance(reason, str) and reason.lower() in _UNFINISHED:
        raise _incomplete(reason, where)


def _incomplete(reason: Any, where: str) -> RowError:
    return RowError(
        "incomplete_response",
        f"{where} is {show(reason)}: the answer was cut off, and an end that the model did not "
        "choose must not be learnt; remove the row",
    )
