"""`tooltune eval --engine openai`: a server's answers are kept, continued and scored like ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import refused, succeeds
from tests.evaluate.scripted_server import (
    MODEL,
    Asked,
    Reply,
    chat_reply,
    error_reply,
    polite,
    scripted_server,
    text_reply,
)
from tooltune.evaluate.evaluation_file import load_evaluation


@pytest.fixture(scope="module")
def truth(evaluations: tuple[Path, Path]) -> dict[str, Any]:
    """The right calls by the last message of the prompt."""
    return {
        json.dumps(record["prompt_messages"][-1]["content"]): record["gt_tool_calls"]
        for record in load_evaluation(evaluations[0])
    }


def right(truth: dict[str, Any], asked: Asked) -> Reply:
    calls = [
        {
            "id": f"call_{i}",
            "type": "function",
            "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
        }
        for i, call in enumerate(truth[json.dumps(asked.question)])
    ]
    return chat_reply(None if calls else "Hello.", tool_calls=calls)


def words_of(url: str, data: Path, out: Path, *more: str) -> list[str]:
    words = ["eval", "--engine", "openai", "--base-url", url, "--model", MODEL, "--limit", "6"]
    return [*words, "--data", str(data), "--out", str(out), *more]


def test_calls_that_a_server_parsed_are_scored(
    truth: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    with scripted_server(polite(lambda asked: right(truth, asked))) as server:
        out = succeeds(*words_of(server.url, data, tmp_path, "--json")).out
    metrics = json.loads(out)
    assert metrics["tool_call/accuracy"] == metrics["tool_call/abstain_accuracy"] == 1
    assert (metrics["n_samples"], metrics["generated_tokens"]) == (6, 18)
    assert {record["parsed_as"] for record in load_evaluation(tmp_path)} == {"server"}


def test_template_arguments_and_sampling_reach_the_server(
    truth: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(asked: Asked) -> Reply:
        bodies.append(asked.body)
        return right(truth, asked)

    more = ["--chat-template-kwargs", '{"enable_thinking": false}', "--temperature", "0.5"]
    with scripted_server(polite(answer)) as server:
        succeeds(*words_of(server.url, data, tmp_path, "--do-sample", "--top-k", "7", *more))
    assert bodies
    for body in bodies:
        assert body["chat_template_kwargs"] == {"enable_thinking": False}
        assert (body["temperature"], body["top_k"]) == (0.5, 7)


@pytest.mark.parametrize("option", [("--chat-template", "x.jinja"), ("--tokenizer", "a/b")])
def test_in_chat_mode_nothing_is_rendered_here(
    option: tuple[str, str], data: Path, tmp_path: Path
) -> None:
    said = refused(*words_of("http://127.0.0.1:9/v1", data, tmp_path, *option))
    assert f"{option[0]}: in chat mode the server renders" in said


def test_requests_that_failed_are_counted_as_wrong_and_asked_again_the_next_time(
    truth: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    question = sorted(truth)[0]

    def failing(asked: Asked) -> Reply:
        if json.dumps(asked.question) == question:
            return error_reply(400, "not this one")
        return right(truth, asked)

    with scripted_server(polite(failing)) as server:
        metrics = json.loads(succeeds(*words_of(server.url, data, tmp_path, "--json")).out)
    skipped = metrics["tool_call/_skipped"] + metrics["tool_call/_abstain_skipped"]
    assert skipped >= 1
    (failed, *_) = [r for r in load_evaluation(tmp_path) if r["skip_reason"] is not None]
    assert (failed["skip_reason"], failed["finish_reason"]) == ("refused", "skipped")
    assert "not this one" in failed["detail"]
    with scripted_server(polite(lambda asked: right(truth, asked))) as server:
        printed = succeeds(*words_of(server.url, data, tmp_path, "--json"))
        assert len(server.questions()) == skipped
    assert f"{6 - skipped:.0f} were there" in printed.err
    assert json.loads(printed.out)["tool_call/accuracy"] == 1


def test_completion_mode_sends_our_prompts_and_reads_the_text_itself(
    model: Path, data: Path, tmp_path: Path
) -> None:
    def answer(asked: Asked) -> Reply:
        if isinstance(asked.body["prompt"], list):
            return error_reply(400, "prompt must be a string")
        return text_reply('<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>')

    more = ["--server-mode", "completion", "--tokenizer", str(model)]
    with scripted_server(polite(answer)) as server:
        succeeds(*words_of(server.url, data, tmp_path, *more))
        asked = server.questions()
    records = load_evaluation(tmp_path)
    assert all(record["prompt_tokens"] > 0 for record in records)
    assert {record["parsed_as"] for record in records} == {"hermes"}
    assert any("<|im_start|>assistant" in prompt for prompt in asked)


def test_a_sampled_answer_carries_a_seed_of_its_own(
    truth: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    more = ["--temperature", "0.7", "--top-k", "5", "--repeats", "2", "--no-abstain"]
    with scripted_server(polite(lambda asked: right(truth, asked))) as server:
        succeeds(*words_of(server.url, data, tmp_path, *more, "--limit", "2"))
        bodies = [asked.body for asked in server.asked if asked.body.get("seed") is not None]
    assert len({body["seed"] for body in bodies}) >= 4
    assert {(body["temperature"], body["top_k"]) for body in bodies} == {(0.7, 5)}
    assert [record["repeat"] for record in load_evaluation(tmp_path)] == [0, 1, 0, 1]


def test_a_server_that_is_not_there_is_one_message(data: Path, tmp_path: Path) -> None:
    assert "http://127.0.0.1:9" in refused(*words_of("http://127.0.0.1:9", data, tmp_path))
