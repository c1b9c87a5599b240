"""What a stock template makes of calls, by transformers' own `apply_chat_template`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.conftest import _asset
from tests.render.stock_templates import STOCK, source_of, tokenizer_of
from tests.toolcalls.families import Call, tools_for

_BY_KEY = {stock.key: stock for stock in STOCK}


def completion(
    key: str, calls: Sequence[Call], *, content: str = "", reasoning: str | None = None
) -> str:
    """The turn that makes `calls`, as the template `key` writes it behind its own prompt."""
    stock = _BY_KEY[key]
    tokenizer = _asset(lambda: tokenizer_of(stock))
    functions = [{"type": "function", "function": tool} for tool in tools_for(calls)]
    for tool in functions:
        tool["function"]["description"] = "Does a thing."
    turn: dict[str, Any] = {"role": "assistant", "content": content}
    if reasoning is not None:
        turn["reasoning_content"] = reasoning
    turn["tool_calls"] = [
        {"type": "function", "function": {"name": name, "arguments": arguments}}
        for name, arguments in calls
    ]
    question = {"role": "user", "content": "Which?"}

    def render(messages: list[dict[str, Any]], *, prompt: bool) -> str:
        text = tokenizer.apply_chat_template(
            messages,
            tools=functions,
            chat_template=source_of(stock),
            add_generation_prompt=prompt,
            tokenize=False,
            **stock.kwargs,
        )
        assert isinstance(text, str)
        return text

    before, whole = render([question], prompt=True), render([question, turn], prompt=False)
    assert whole.startswith(before)
    return whole[len(before) :]
