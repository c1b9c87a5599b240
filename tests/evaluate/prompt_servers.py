"""Scripted servers that render a chat, each kind telling of its prompt in its own way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.evaluate.scripted_server import (
    MODEL,
    Asked,
    Reply,
    Script,
    chat_reply,
    is_trial,
)

Body = dict[str, Any]
Change = Callable[[Body], Body]


def rendered(tokenizer: Any, body: Body, **arguments: Any) -> str:
    """The prompt as a server makes it of a request's body."""
    messages = json.loads(json.dumps(body["messages"]))
    for message in messages:
        for call in message.get("tool_calls") or []:
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    text = tokenizer.apply_chat_template(
        messages,
        tools=body.get("tools"),
        add_generation_prompt=True,
        tokenize=False,
        **{**arguments, **body.get("chat_template_kwargs", {})},
    )
    assert isinstance(text, str)
    return text


def server_of(
    kind: str,
    tokenizer: Any,
    change: Change = lambda body: body,
    change_text: Callable[[str], str] = lambda text: text,
    **arguments: Any,
) -> Script:
    """A script of `kind` "vllm", "llama.cpp" or "hosted" that changes what it is sent."""

    def prompt(body: Body) -> str:
        return change_text(rendered(tokenizer, change(json.loads(json.dumps(body))), **arguments))

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    def script(asked: Asked) -> Reply:
        path, body = asked.path, asked.body
        if path == "/v1/models":
            return Reply({"data": [{"id": MODEL}]})
        if path == "/v1/chat/completions":
            count = 1 if is_trial(asked) else len(ids(prompt(body)))
            return chat_reply("ok", usage={"prompt_tokens": count, "completion_tokens": 1})
        if kind == "vllm" and path == "/tokenize":
            tokens = ids(prompt(body))
            return Reply({"count": len(tokens), "max_model_len": 2048, "tokens": tokens})
        if kind == "llama.cpp" and path == "/apply-template":
            return Reply({"prompt": prompt(body)})
        if kind == "llama.cpp" and path == "/tokenize":
            assert body["parse_special"]
            return Reply({"tokens": ids(body["content"])})
        return Reply({"error": "not found"}, 404)

    return script
