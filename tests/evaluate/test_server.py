"""The `openai` engine against a scripted server: what is asked, and what comes of the answers."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.scripted_server import (
    MODEL,
    Asked,
    Reply,
    Script,
    chat_reply,
    error_reply,
    is_trial,
    polite,
    scripted_server,
    text_reply,
)
from tooltune.errors import UserError
from tooltune.evaluate.engines.openai import generate_on_server, server_takes_ids
from tooltune.evaluate.server import (
    ServerAnswer,
    ServerOptions,
    ServerRequest,
    api_key_from_environment,
    pace,
)
from tooltune.evaluate.server.answers import read_answer, read_call
from tooltune.evaluate.server.bodies import request_messages
from tooltune.evaluate.server.client import ServerFault

WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}},
}


def question(number: int = 0, **more: Any) -> ServerRequest:
    return ServerRequest(messages=[{"role": "user", "content": f"q{number}"}], **more)


def ask(
    url: str, requests: Sequence[ServerRequest] = (question(),), **options: Any
) -> dict[int, ServerAnswer]:
    answers: dict[int, ServerAnswer] = {}

    def keep(index: int, answer: ServerAnswer) -> None:
        assert index not in answers, "reported twice"
        answers[index] = answer

    generate_on_server(ServerOptions(url, **{"timeout_s": 30.0, **options}), requests, keep)
    return answers


def one(script: Script, request: ServerRequest | None = None, **options: Any) -> ServerAnswer:
    """The answer to one request by a server that is polite otherwise."""
    with scripted_server(polite(script)) as server:
        (answer,) = ask(server.url, [request or question()], **options).values()
    return answer


def call(name: Any, arguments: Any) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}


def test_an_answer_is_text_reasoning_and_the_calls_that_the_server_parsed() -> None:
    given = [call("get_weather", '{"city": "Rome"}'), call("get_time", "")]
    answer = one(
        lambda _: chat_reply(
            "Let me see.",
            tool_calls=given,
            reasoning_content="They ask of Rome.",
            finish_reason="tool_calls",
        )
    )
    assert (answer.text, answer.reasoning) == ("Let me see.", "They ask of Rome.")
    assert answer.calls is not None
    assert [(c.name, c.arguments, c.status) for c in answer.calls] == [
        ("get_weather", {"city": "Rome"}, "ok"),
        ("get_time", {}, "ok"),
    ]
    assert (answer.finish_reason, answer.error, answer.attempts) == ("stop", None, 1)
    assert (answer.prompt_tokens, answer.completion_tokens) == (7, 3)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (call("f", '{"a": 1'), "invalid_json"),
        (call("f", "Rome"), "invalid_json"),
        (call("f", '{"a": 1, "a": 2}'), "invalid_json"),
        (call("f", "[1]"), "malformed"),
        (call("f", 7), "malformed"),
        (call(None, "{}"), "missing_name"),
        (call(" ", "{}"), "missing_name"),
        ({"id": "c1"}, "malformed"),
        (None, "malformed"),
        ("f()", "malformed"),
        (call("f", {"a": 1}), "ok"),
    ],
)
def test_a_call_that_cannot_be_executed_is_an_attempt_with_its_status(
    given: Any, status: str
) -> None:
    answer = one(lambda _: chat_reply(None, tool_calls=[given]))
    assert answer.calls is not None
    (parsed,) = answer.calls
    assert parsed.status == status
    assert json.loads(parsed.raw) == given


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_no_call_makes_the_reader_raise(value: Any) -> None:
    read_call(value)
    read_call({"function": value})
    read_call({"function": {"name": value, "arguments": value}})


@given(JSON, st.sampled_from(["chat", "completion"]))
def test_a_reply_is_an_answer_or_a_named_fault(value: Any, mode: Any) -> None:
    choice = {"message": {"content": value, "tool_calls": value}, "finish_reason": value}
    for reply in (
        {"choices": value},
        {"choices": [value], "usage": value},
        {"choices": [{"message": value, "text": value}]},
        {"choices": [choice | {"text": "t"}]},
    ):
        try:
            assert isinstance(read_answer(reply, mode).text, str)
        except ServerFault as fault:
            assert fault.kind == "bad_answer"


@pytest.mark.parametrize(
    ("reason", "finish", "error"),
    [
        ("stop", "stop", None),
        ("tool_calls", "stop", None),
        ("length", "length", None),
        ({"type": "length", "length": 9}, "length", None),
        (None, "stop", None),
        ("content_filter", "error", "content_filter"),
        ("abort", "error", "aborted"),
    ],
)
def test_why_an_answer_ended_is_kept(reason: Any, finish: str, error: str | None) -> None:
    answer = one(lambda _: chat_reply("x", finish_reason=reason))
    assert (answer.finish_reason, answer.error) == (finish, error)


def test_a_chat_request_is_what_the_chat_api_defines() -> None:
    messages = [
        {"role": "user", "content": "Rome?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"ü": 1}}}],
            "weight": 0.5,
        },
        {"role": "tool", "content": "sunny", "is_error": True},
    ]
    settings = {"tool_choice": "required", "response_format": {"type": "text"}, "other": 1}
    with scripted_server(polite(lambda _: chat_reply("ok"))) as server:
        requests = [
            ServerRequest(messages, [WEATHER], settings=settings, seed=11),
            ServerRequest(messages, [], settings=settings),
        ]
        extra = {"chat_template_kwargs": {"enable_thinking": False}}
        ask(server.url, requests, temperature=0.5, top_p=0.9, seed=3, extra_body=extra)
        bodies = [a.body for a in server.asked if a.body and not is_trial(a)]
        body, without = sorted(bodies, key=lambda b: "tools" not in b)
    assert body["model"] == MODEL
    assert body["tools"] == [WEATHER]
    assert body["tool_choice"] == "required"
    assert "other" not in body
    assert (body["temperature"], body["top_p"], body["seed"]) == (0.5, 0.9, 11)
    assert body["max_tokens"] == 256
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assistant, result = body["messages"][1:]
    assert assistant["tool_calls"][0]["function"]["arguments"] == '{"ü": 1}'
    assert assistant["tool_calls"][0]["id"] == result["tool_call_id"] == "call00001"
    assert "weight" not in assistant
    assert "is_error" not in result
    assert messages[1]["tool_calls"][0] == {  # type: ignore[index]
        "type": "function",
        "function": {"name": "f", "arguments": {"ü": 1}},
    }, "the caller's messages are left alone"
    assert "tools" not in without
    assert "tool_choice" not in without, "a choice among no tools is an error to servers"
    assert without["response_format"] == {"type": "text"}
    assert without["seed"] == 3


def test_ids_of_the_data_are_kept_and_results_answer_the_calls_before_them() -> None:
    def calls(*ids: str | None) -> dict[str, Any]:
        given = [{"function": {"name": "f", "arguments": "{}"}} for _ in ids]
        for entry, own in zip(given, ids, strict=True):
            if own is not None:
                entry["id"] = own  # type: ignore[assignment]
        return {"role": "assistant", "content": None, "tool_calls": given}

    tool = {"role": "tool", "content": "r"}
    sent = request_messages(
        [calls("functions.f:0", None), tool, tool, calls(None), tool | {"tool_call_id": "mine"}]
    )
    ids = [c["id"] for m in sent if m.get("tool_calls") for c in m["tool_calls"]]
    assert ids == ["functions.f:0", "call00002", "call00003"]
    answered = [m["tool_call_id"] for m in sent if m["role"] == "tool"]
    assert answered == ["functions.f:0", "call00002", "mine"]


@pytest.mark.parametrize("prompt", ["<|im_start|>user\nHi", (1, 2, 3)])
def test_completion_mode_sends_our_prompt_and_leaves_the_text_to_our_parser(prompt: Any) -> None:
    text = "<tool_call>\n{}\n</tool_call>"
    with scripted_server(polite(lambda _: text_reply(text, "length"))) as server:
        options = {"stop_ids": (2,), "stop_texts": ("<|im_end|>", "b", "c", "d", "e")}
        requests = [ServerRequest(prompt=prompt)]
        (answer,) = ask(server.url, requests, mode="completion", **options).values()
        (asked,) = [a for a in server.asked if a.question not in ("Hello", "None", "")][-1:]
    assert (answer.text, answer.calls, answer.finish_reason) == (text, None, "length")
    assert asked.path == "/v1/completions"
    assert asked.body["prompt"] == (prompt if isinstance(prompt, str) else [1, 2, 3])
    assert asked.body["skip_special_tokens"] is False
    assert asked.body["add_special_tokens"] is False
    assert asked.body["stop_token_ids"] == [2]
    assert asked.body["stop"] == ["<|im_end|>", "b", "c", "d"], "OpenAI's API takes four"


@pytest.mark.parametrize(
    "refusal",
    ["Unexpected fields in the request: {'skip_special_tokens', 'stop_token_ids'}", "bad request"],
)
def test_keys_that_a_server_does_not_know_are_left_out(refusal: str) -> None:
    def strict(asked: Asked) -> Reply:
        if asked.path.endswith("/models"):
            return Reply({"data": [{"id": MODEL}]})
        known = {"model", "prompt", "max_tokens", "temperature", "stop"}
        if "skip_special" in refusal:
            known |= {"repetition_penalty", "add_special_tokens", "spaces_between_special_tokens"}
        return text_reply("fine") if set(asked.body) <= known else error_reply(422, refusal)

    with scripted_server(strict) as server:
        requests = [ServerRequest(prompt=f"p{i}") for i in range(3)]
        answers = ask(server.url, requests, mode="completion", stop_ids=(2,))
        refused = [a for a in server.asked if "stop_token_ids" in a.body]
    assert [answers[i].text for i in range(3)] == ["fine"] * 3
    assert len(refused) == 1, "asked once, before anything is generated"


def test_a_server_that_wants_max_completion_tokens_gets_them() -> None:
    def modern(asked: Asked) -> Reply:
        if "max_tokens" in asked.body:
            return error_reply(400, "Use 'max_completion_tokens' instead of 'max_tokens'.")
        return polite(lambda _: chat_reply("fine"))(asked)

    with scripted_server(modern) as server:
        (answer,) = ask(server.url, max_new_tokens=99).values()
        assert server.asked[-1].body["max_completion_tokens"] == 99
    assert answer.text == "fine"


@pytest.mark.parametrize("takes", [True, False])
def test_whether_a_server_takes_token_ids_is_found_out(takes: bool) -> None:
    def script(asked: Asked) -> Reply:
        if takes or isinstance(asked.body["prompt"], str):
            return text_reply("fine")
        return error_reply(400, "prompt must be a string.")

    with scripted_server(polite(script)) as server:
        options = ServerOptions(server.url, mode="completion", max_retries=0)
        assert server_takes_ids(options, range(20)) is takes


def test_every_answer_is_reported_once_as_it_comes_and_no_more_are_open_than_allowed() -> None:
    together, others = threading.Barrier(3), threading.Event()
    order: list[int] = []
    seen: list[tuple[int, int]] = []

    def slow(asked: Asked) -> Reply:
        if asked.question in ("q0", "q1", "q2"):
            together.wait(20)
        if asked.question == "q0":
            others.wait(20)
        return chat_reply(asked.question.upper())

    def keep(index: int, answer: ServerAnswer) -> None:
        assert answer.text == f"Q{index}"
        order.append(index)
        if len(order) == 11:
            others.set()

    with scripted_server(polite(slow)) as server:
        generate_on_server(
            ServerOptions(server.url, concurrency=3),
            [question(i) for i in range(12)],
            keep,
            lambda done, total: seen.append((done, total)),
        )
        assert server.busiest == 3
    assert sorted(order) == list(range(12))
    assert order[-1] == 0, "the slow one does not hold up the others"
    assert seen == [(i + 1, 12) for i in range(12)]


def test_a_rate_is_kept_retries_included(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT", 0.001)

    def script(asked: Asked) -> Reply:
        return error_reply(500, "again") if asked.question == "q1" else chat_reply("x")

    with scripted_server(polite(script)) as server:
        start = time.monotonic()
        ask(
            server.url,
            [question(i) for i in range(3)],
            requests_per_minute=240,
            max_retries=2,
            concurrency=3,
        )
        taken, sent = time.monotonic() - start, len(server.asked) - 1
    assert sent == 7  # trial, three questions, two retries, and the trial after a failure
    assert taken >= (sent - 1) * 60 / 240


def test_no_request_means_no_connection() -> None:
    generate_on_server(ServerOptions("http://127.0.0.1:9/v1"), [], lambda *_: None)


def test_it_works_where_a_loop_is_running_as_in_a_notebook() -> None:
    async def cell() -> dict[int, ServerAnswer]:
        with scripted_server(polite(lambda _: chat_reply("x"))) as server:
            return ask(server.url)

    assert asyncio.run(cell())[0].text == "x"


def test_what_the_caller_raises_ends_it_and_comes_back_as_it_was() -> None:
    def full(index: int, answer: ServerAnswer) -> None:
        raise OSError(28, "No space left on device")

    with scripted_server(polite(lambda _: chat_reply("x"))) as server:
        requests = [question(i) for i in range(20)]
        with pytest.raises(OSError, match="No space left"):
            generate_on_server(ServerOptions(server.url, concurrency=2), requests, full)
        assert len(server.questions()) < 6


def test_calls_that_the_server_left_in_the_text_are_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = '<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call>'
    with scripted_server(polite(lambda _: chat_reply(text))) as server:
        requests = [question(i, tools=[WEATHER]) for i in range(3)]
        with caplog.at_level(logging.WARNING):
            answers = ask(server.url, requests)
    assert all(answer.calls == () and answer.text == text for answer in answers.values())
    assert [r.message for r in caplog.records if "leaves tool calls" in r.message] == [
        caplog.records[0].message
    ]


def test_the_key_is_sent_and_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = "a-key-of-no-known-shape"
    monkeypatch.setenv("MY_SERVER", key)
    assert api_key_from_environment("MY_SERVER") == key

    def echo(asked: Asked) -> Reply:
        return error_reply(400, f"no, {asked.headers['authorization'].split()[1]} is not welcome")

    with scripted_server(polite(echo)) as server, caplog.at_level(logging.DEBUG):
        options = {"api_key": key}
        (answer,) = ask(server.url, **options).values()
        assert all(a.headers["authorization"] == f"Bearer {key}" for a in server.asked)
    assert answer.error is not None
    assert answer.error.startswith("refused: HTTP 400: no,")
    assert key not in answer.error + repr(ServerOptions("http://x", api_key=key)) + caplog.text


def test_keys_come_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert api_key_from_environment() is None
    monkeypatch.setenv("OPENAI_API_KEY", "k1\n")
    assert api_key_from_environment() == "k1"
    with pytest.raises(UserError, match="NO_SUCH is not set"):
        api_key_from_environment("NO_SUCH")
    monkeypatch.setenv("OPENAI_API_KEY", "k\u00e9y")
    with pytest.raises(UserError, match="no HTTP header"):
        api_key_from_environment()


@pytest.mark.parametrize(
    ("given", "api", "root"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1", "http://localhost:8000"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1", "http://localhost:8000"),
        ("http://h/v1/chat/completions", "http://h/v1", "http://h"),
        ("https://h/api/openai", "https://h/api/openai", "https://h/api/openai"),
    ],
)
def test_a_url_may_be_given_as_people_have_it(given: str, api: str, root: str) -> None:
    options = ServerOptions(given)
    assert (options.api_url, options.root_url) == (api, root)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base_url": "localhost:8000"}, "no http"),
        ({"base_url": "http://u:secretpassword@"}, "no http"),
        ({"base_url": "http://h:port/v1"}, "no http"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"timeout_s": float("nan")}, "timeout_s is nan"),
        ({"requests_per_minute": 0}, "requests_per_minute is 0"),
        ({"mode": "stream"}, "mode 'stream'"),
        ({"extra_body": {"stream": True}}, "extra_body sets 'stream'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        ServerOptions(**{"base_url": "http://h", **options})
    assert "fix:" in str(refused.value)


def test_answers_come_on_the_thread_of_the_caller() -> None:
    threads = set()
    with scripted_server(polite(lambda _: chat_reply("x"))) as server:
        generate_on_server(
            ServerOptions(server.url),
            [question()],
            lambda *_: threads.add(threading.current_thread()),
        )
    assert threads == {threading.current_thread()}


def test_a_prompt_that_the_server_reads_as_other_tokens_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with scripted_server(polite(lambda _: text_reply("x"))) as server:
        for expected, warnings in ((7, 0), (6, 1)):
            caplog.clear()
            prompts = [ServerRequest(prompt=p, expected_tokens=expected) for p in "ab"]
            ask(server.url, prompts, mode="completion")
            assert len(caplog.records) == warnings, "7 is what the server counts"
