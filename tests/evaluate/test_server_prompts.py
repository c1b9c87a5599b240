"""Our prompt beside a server's: equal where it is, shown and explained where it is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.evaluate.prompt_servers import Body, Change, server_of
from tests.evaluate.scripted_server import Reply, scripted_server
from tooltune.errors import UserError
from tooltune.evaluate.server import ServerOptions, causes
from tooltune.evaluate.server.prompts import PromptComparison, compare_prompts, first_difference
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer
from tooltune.traces.types import Message, Tool, ToolCall, Trace

KINDS = ["vllm", "llama.cpp", "hosted"]
WAYS = {"vllm": "tokenize", "llama.cpp": "apply-template", "hosted": "usage"}


def tool(name: str) -> Tool:
    city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    return Tool({"name": name, "description": f"The {name} of a city.", "parameters": city})


TRACE = Trace(
    (
        Message("system", "You are terse."),
        Message("user", "Weather in Zürich?"),
        Message("assistant", "One moment.", (ToolCall("get_weather", {"city": "Zürich"}, "c1"),)),
        Message("tool", '{"sky": "clear"}', tool_call_id="c1"),
        Message("assistant", "Clear."),
        Message("user", "And the time?"),
        Message("assistant", None, (ToolCall("get_time", {"city": "Zürich"}, "c2"),)),
    ),
    (tool("get_weather"), tool("get_time")),
)


def compare(
    kind: str,
    tokenizer: Any,
    traces: list[Trace] | None = None,
    spec: RenderSpec | None = None,
    **served: Any,
) -> list[PromptComparison]:
    with scripted_server(server_of(kind, tokenizer, **served)) as server:
        options = ServerOptions(server.url, max_retries=0, timeout_s=10)
        return compare_prompts(options, Renderer(tokenizer, spec), traces or [TRACE])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["builtin", "qwen2.5", "qwen3"])
def test_equal_prompts_are_found_to_be_equal(
    kind: str, name: str, tokenizers: dict[str, Any]
) -> None:
    (found,) = compare(kind, tokenizers[name])
    assert (found.way, found.same, found.turn) == (WAYS[kind], True, 6)
    assert found.ours == found.theirs > 50
    assert (found.difference, found.cause, found.error) == (None, None, None)


def without_tools(body: Body) -> Body:
    return {key: value for key, value in body.items() if key != "tools"}


def reversed_tools(body: Body) -> Body:
    return body | {"tools": body["tools"][::-1]}


def described_tools(body: Body) -> Body:
    for entry in body["tools"]:
        entry["function"]["strict"] = None
    return body


def without_system(body: Body) -> Body:
    return body | {"messages": body["messages"][1:]}


def other_system(body: Body) -> Body:
    return body | {"messages": [{"role": "system", "content": "Be kind."}, *body["messages"][1:]]}


def silent_calls(body: Body) -> Body:
    for message in body["messages"]:
        if message.get("tool_calls"):
            message["content"] = ""
    return body


@pytest.mark.parametrize("kind", ["vllm", "llama.cpp"])
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (without_tools, causes.NO_TOOLS),
        (reversed_tools, causes.TOOL_ORDER),
        (described_tools, causes.TOOL_JSON),
        (without_system, causes.NO_SYSTEM),
        (other_system, causes.SYSTEM),
        (silent_calls, causes.BESIDE_CALLS),
    ],
)
def test_a_difference_is_shown_as_text_with_its_cause(
    kind: str, change: Change, cause: str, qwen25: Any
) -> None:
    (found,) = compare(kind, qwen25, change=change)
    assert not found.same
    assert found.cause == cause
    difference = found.difference
    assert difference is not None
    ours = Renderer(qwen25).render(TRACE).turns[-1].prompt_text
    assert ours[: difference.at].endswith(difference.before)
    assert ours[difference.at :].startswith(difference.ours)
    assert difference.ours[:1] != difference.theirs[:1]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (without_tools, causes.NO_TOOLS),
        (without_system, causes.NO_SYSTEM),
        (silent_calls, causes.BESIDE_CALLS),
    ],
)
def test_where_only_the_length_is_known_the_cause_that_fits_it_is_said(
    change: Change, cause: str, qwen25: Any
) -> None:
    (found,) = compare("hosted", qwen25, change=change)
    assert (found.way, found.same, found.difference) == ("usage", False, None)
    assert found.cause is not None
    assert cause in found.cause.split("; or ")
    assert found.ours != found.theirs


@pytest.mark.parametrize("kind", KINDS)
def test_the_thinking_switch_is_a_cause(kind: str, qwen3: Any) -> None:
    spec = RenderSpec(chat_template_kwargs={"enable_thinking": False})
    (found,) = compare(kind, qwen3, spec=spec)
    assert not found.same
    assert found.cause is not None
    assert causes.THINKING in found.cause.split("; or ")  # of the same length may be another


@pytest.mark.parametrize(
    ("edit", "cause"),
    [
        (lambda text: text.replace("terse.", "terse. Today is 2026-02-03."), causes.SYSTEM),
        (lambda text: text.removesuffix("<|im_start|>assistant\n"), causes.NO_HEADER),
        (lambda text: text.replace("\n\n", "\n"), causes.SPACES),
        (lambda text: text.replace("time?", "date?"), None),
    ],
)
def test_other_templates_of_a_server_are_told_apart(
    edit: Callable[[str], str], cause: str | None, qwen25: Any
) -> None:
    (found,) = compare("llama.cpp", qwen25, change_text=edit)
    assert not found.same
    assert found.cause == cause


def test_the_date_is_a_cause(qwen25: Any) -> None:
    dated = Trace((Message("system", "Today is 2026-01-31."), *TRACE.messages[1:]), TRACE.tools)
    (found,) = compare(
        "vllm", qwen25, [dated], change_text=lambda text: text.replace("2026-01-31", "2026-02-01")
    )
    assert found.cause == causes.DATE
    assert found.difference is not None
    assert found.difference.ours.startswith("1-31.")
    assert found.difference.theirs.startswith("2-01.")


@pytest.mark.parametrize("kind", KINDS)
def test_a_doubled_beginning_is_a_cause(kind: str, real_tokenizer: Callable[[str], Any]) -> None:
    llama = real_tokenizer("llama-3.1")
    trace = Trace((Message("user", "Hi?"), Message("assistant", "Hi.")))
    spec = RenderSpec(date="2026-01-31")
    (same,) = compare(kind, llama, [trace], spec, change_text=_frozen)
    assert same.same
    doubled = _frozen_and(lambda text: llama.bos_token + text)
    (found,) = compare(kind, llama, [trace], spec, change_text=doubled)
    assert not found.same
    assert found.theirs == found.ours + 1
    assert found.cause == causes.BEGINNING


def _frozen(text: str) -> str:
    return re.sub(r"Today Date: .*", "Today Date: 31 Jan 2026", text)


def _frozen_and(edit: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: edit(_frozen(text))


def test_a_prompt_that_the_server_refuses_is_said_and_the_others_are_compared(qwen25: Any) -> None:
    polite = server_of("hosted", qwen25)

    def script(asked: Any) -> Reply:
        if asked.path.endswith("completions") and asked.question == "Again?":
            return Reply({"error": {"message": "roles must alternate"}}, 400)
        return polite(asked)

    odd = Trace((Message("user", "Again?"), Message("assistant", "No.")))
    with scripted_server(script) as server:
        options = ServerOptions(server.url, max_retries=0)
        refused, same = compare_prompts(options, Renderer(qwen25), [odd, TRACE])
    assert refused.error == "refused: HTTP 400: roles must alternate"
    assert not refused.same
    assert same.same


def test_no_more_traces_are_compared_than_asked_for_and_none_is_an_error(qwen25: Any) -> None:
    assert len(compare("vllm", qwen25, [TRACE] * 5)) == 3
    bad = Trace((Message("user", "<|im_start|>"), Message("assistant", "x")))
    with pytest.raises(UserError, match="no trace can be rendered"):
        compare("vllm", qwen25, [bad])


def test_the_first_difference_of_texts() -> None:
    assert first_difference("same", "same") is None
    longer = first_difference("abc", "abcd")
    assert longer is not None
    assert (longer.at, longer.before, longer.ours, longer.theirs) == (3, "abc", "", "d")
