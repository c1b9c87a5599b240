"""Both engines on one model: `transformers serve` with the built-in model, and this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.evaluate.real_server import save_served_model, transformers_serve
from tooltune.errors import UserError
from tooltune.evaluate.engines import Request, generate_batched
from tooltune.evaluate.engines.openai import generate_on_server, server_takes_ids
from tooltune.evaluate.server import ServerAnswer, ServerOptions, ServerRequest, causes
from tooltune.evaluate.server.prompts import compare_prompts
from tooltune.models.load import load_model, load_tokenizer
from tooltune.render.turns import Renderer
from tooltune.toolcalls.parse import parse_turn
from tooltune.traces.types import Message, Tool, ToolCall, Trace

pytestmark = pytest.mark.slow  # loads the built-in model twice

MAX_NEW_TOKENS = 40
WEATHER = Tool(
    {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    }
)


def exchange(city: str) -> tuple[Message, ...]:
    return (
        Message("user", f"What is the weather in {city}?"),
        Message("assistant", None, (ToolCall("get_weather", {"city": city}, id="call00001"),)),
        Message("tool", '{"sky": "clear"}', tool_call_id="call00001", name="get_weather"),
        Message("assistant", f"It is clear in {city}."),
    )


HISTORY = (*exchange("Rome")[:3], *exchange("Bern")[:3], *exchange("Zürich")[:3])
TRACES = [
    Trace((*HISTORY, *exchange("Paris")[:2]), (WEATHER,)),  # it has seen how to call
    Trace((*exchange("Oslo")[:2],), (WEATHER,)),  # it has not
    Trace((Message("user", "Who wrote Hamlet?"), Message("assistant", "Shakespeare."))),
]
BESIDE = Trace(
    (
        Message("user", "Rome?"),
        Message("assistant", "Let me look.", (ToolCall("get_weather", {"city": "Rome"}, "c1"),)),
        *exchange("Rome")[2:],
    ),
    (WEATHER,),
)


@dataclass(frozen=True)
class Served:
    url: str
    folder: Path
    tokenizer: Any
    requests: list[ServerRequest]
    prompts: list[tuple[str, tuple[int, ...]]]
    expected: list[str]  # what this process generates, special tokens left out
    cut: list[bool]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = save_served_model(tmp_path_factory.mktemp("served") / "model")
    tokenizer = load_tokenizer(folder)
    renderer = Renderer(tokenizer)
    turns = [renderer.render(trace).turns[-1] for trace in TRACES]
    generations = generate_batched(
        load_model(folder),
        [Request(turn.prompt_ids) for turn in turns],
        stop_ids=frozenset(renderer.stop_ids),
        max_new_tokens=MAX_NEW_TOKENS,
    )
    requests = []
    for trace, turn in zip(TRACES, turns, strict=True):
        row = trace.to_openai()
        requests.append(ServerRequest(row["messages"][: turn.index], row.get("tools")))
    with transformers_serve(folder, folder.parent / "serve.log") as url:
        yield Served(
            url,
            folder,
            tokenizer,
            requests,
            [(turn.prompt_text, turn.prompt_ids) for turn in turns],
            [tokenizer.decode(g.token_ids, skip_special_tokens=True) for g in generations],
            [g.finish_reason == "length" for g in generations],
        )


def ask(served: Served, requests: list[ServerRequest], **options: Any) -> list[ServerAnswer]:
    answers: dict[int, ServerAnswer] = {}
    server = ServerOptions(
        served.url,
        model=str(served.folder),
        max_new_tokens=MAX_NEW_TOKENS,
        concurrency=2,
        max_retries=1,
        **options,
    )
    generate_on_server(server, requests, lambda i, answer: answers.update({i: answer}))
    return [answers[i] for i in range(len(requests))]


def test_in_completion_mode_the_text_is_that_of_this_process(served: Served) -> None:
    requests = [ServerRequest(prompt=text) for text, _ in served.prompts]
    answers = ask(served, requests, mode="completion")
    assert [answer.text for answer in answers] == served.expected
    assert all(answer.calls is None and answer.error is None for answer in answers)
    assert [answer.finish_reason == "length" for answer in answers] == served.cut
    assert [answer.prompt_tokens for answer in answers] == [len(ids) for _, ids in served.prompts]


def test_in_chat_mode_the_server_renders_and_parses_as_we_do(served: Served) -> None:
    answers = ask(served, served.requests)
    assert [answer.error for answer in answers] == [None] * len(TRACES)
    assert [answer.prompt_tokens for answer in answers] == [len(ids) for _, ids in served.prompts]
    for answer, text in zip(answers, served.expected, strict=True):
        ours = parse_turn(text, format="hermes")
        assert answer.calls is not None
        theirs = [(c.name, c.arguments, c.status) for c in answer.calls]
        assert theirs == [(c.name, c.arguments, c.status) for c in ours.calls]
        assert answer.text.strip() == ours.content


def test_a_call_that_the_server_parsed_is_the_call_that_we_parse(served: Served) -> None:
    # Greedily it begins with <tool_response>, of the history: forbidden that word, it calls.
    response = served.tokenizer("response", add_special_tokens=False)["input_ids"]
    (answer,) = ask(served, served.requests[:1], extra_body={"logit_bias": {response[0]: -100.0}})
    generated = load_model(served.folder).generate(
        torch.tensor([served.prompts[0][1]]),
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
        sequence_bias={tuple(response): -100.0},
    )
    text = served.tokenizer.decode(generated[0][len(served.prompts[0][1]) :])
    (ours,) = parse_turn(text, format="hermes").calls
    assert answer.calls is not None
    (theirs,) = answer.calls
    assert (ours.name, ours.arguments, ours.status) == ("get_weather", {"city": "Paris"}, "ok")
    assert (theirs.name, theirs.arguments, theirs.status) == (
        ours.name,
        ours.arguments,
        ours.status,
    )
    assert answer.text == ""


def test_the_prompts_of_this_server_are_found_to_be_as_long_as_ours(served: Served) -> None:
    options = ServerOptions(served.url, model=str(served.folder), max_retries=0)
    same, _, other = compare_prompts(
        options, Renderer(served.tokenizer), [TRACES[1], TRACES[2], BESIDE]
    )
    assert (same.way, same.same, same.ours) == ("usage", True, same.theirs)
    assert not other.same
    assert other.ours > other.theirs
    assert other.cause == causes.BESIDE_CALLS, "this server drops them"


def test_this_server_takes_text_alone(served: Served) -> None:
    options = ServerOptions(served.url, model=str(served.folder), mode="completion", max_retries=0)
    assert not server_takes_ids(options, served.prompts[0][1])


def test_a_model_that_it_does_not_have_is_said(served: Served) -> None:
    options = ServerOptions(served.url, model="other", max_retries=1)
    with pytest.raises(UserError, match="pinned to"):
        generate_on_server(options, served.requests, lambda *_: None)
