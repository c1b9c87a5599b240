"""Requests as servers take them: the body of a turn, and which keys a server does not know."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tooltune.evaluate.server.types import ServerOptions, ServerRequest

_SETTINGS = ("tool_choice", "parallel_tool_calls", "response_format")
_NOT_SENT = ("weight", "is_error")  # what our rows know beside OpenAI's keys

# Keys beyond OpenAI's that a server may not know; without them the answer is the same or nearly so.
# repetition_penalty: vLLM and SGLang else take the one that a model ships.
_EXTRAS: dict[str, dict[str, Any]] = {
    "chat": {"repetition_penalty": 1.0},
    "completion": {
        "repetition_penalty": 1.0,
        "skip_special_tokens": False,  # else the markers of most call formats vanish
        "spaces_between_special_tokens": False,
        "add_special_tokens": False,  # our prompt has its own beginning
    },
}
_MOST_STOPS = 4  # strings that OpenAI's API takes


@dataclass(frozen=True, slots=True)
class RequestForm:
    """How one server wants its requests: the model's name there, and what it does not take."""

    model: str
    length_key: str = "max_tokens"
    left_out: frozenset[str] = frozenset()

    def without(self, refusal: str, body: Mapping[str, Any]) -> RequestForm | None:
        """The form to try after a refusal in these words; None where nothing is left to give up."""
        if self.length_key == "max_tokens" and "max_completion_tokens" in refusal:
            return replace(self, length_key="max_completion_tokens")
        extras = {key for key in (*_EXTRAS["completion"], "stop_token_ids") if key in body}
        named = {key for key in extras if re.search(rf"\b{key}\b", refusal)}
        if not extras:
            return None
        return replace(self, left_out=self.left_out | (named or extras))


def request_path(server: ServerOptions) -> str:
    """The URL of the endpoint of the server's mode."""
    return server.api_url + ("/chat/completions" if server.mode == "chat" else "/completions")


def request_body(
    server: ServerOptions, form: RequestForm, request: ServerRequest
) -> dict[str, Any]:
    """The JSON body that asks for one turn; `extra_body` has the last word."""
    body: dict[str, Any] = {"model": form.model, **_question(server, request)}
    body[form.length_key] = server.max_new_tokens
    seed = server.seed if request.seed is None else request.seed
    for key, value in (
        ("temperature", server.temperature),
        ("top_p", server.top_p),
        ("seed", seed),
    ):
        if value is not None:
            body[key] = value
    extras = dict(_EXTRAS[server.mode])
    if server.mode == "completion" and server.stop_ids:
        extras["stop_token_ids"] = list(server.stop_ids)
    body |= {key: value for key, value in extras.items() if key not in form.left_out}
    return {**body, **server.extra_body}


def _question(server: ServerOptions, request: ServerRequest) -> dict[str, Any]:
    if server.mode == "completion":
        if request.prompt is None:
            raise ValueError("completion mode needs a prompt")
        prompt = request.prompt if isinstance(request.prompt, str) else list(request.prompt)
        stops = list(server.stop_texts[:_MOST_STOPS])
        return {"prompt": prompt, **({"stop": stops} if stops else {})}
    question: dict[str, Any] = {"messages": request_messages(request.messages)}
    settings = {key: request.settings[key] for key in _SETTINGS if key in request.settings}
    if request.tools:
        question["tools"] = [dict(tool) for tool in request.tools]
    else:  # a choice among no tools is an error to servers
        settings = {key: settings[key] for key in settings if key == "response_format"}
    return {**question, **settings}


def request_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages as the chat API defines them: arguments as JSON text, an id for every call.

    Ids that the data give are kept; a result without one answers the calls before it in order.
    """
    sent: list[dict[str, Any]] = []
    waiting: list[str] = []
    calls = 0
    for message in messages:
        plain = {key: value for key, value in message.items() if key not in _NOT_SENT}
        if plain.get("tool_calls"):
            waiting = []
            plain["tool_calls"] = [dict(call) for call in plain["tool_calls"]]
            for call in plain["tool_calls"]:
                calls += 1
                call["id"] = call.get("id") or f"call{calls:05d}"  # nine characters, for Mistral
                call["type"] = "function"
                call["function"] = _with_json_text(call["function"])
                waiting.append(call["id"])
        elif plain.get("role") == "tool":
            first = waiting[0] if waiting else f"call{calls:05d}"
            answered = plain.get("tool_call_id") or first
            if answered in waiting:
                waiting.remove(answered)
            plain["tool_call_id"] = answered
        sent.append(plain)
    return sent


def _with_json_text(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments", {})
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {**function, "arguments": arguments}
