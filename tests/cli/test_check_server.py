"""`tooltune check --server`: prompts compared with those of a running server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import refused, succeeds
from tests.evaluate.prompt_servers import server_of
from tests.evaluate.scripted_server import error_reply, scripted_server


@pytest.mark.parametrize("kind", ["vllm", "llama.cpp", "hosted"])
def test_equal_prompts_are_one_line(
    kind: str, model: Path, data: Path, builtin_tokenizer: Any
) -> None:
    with scripted_server(server_of(kind, builtin_tokenizer)) as server:
        printed = succeeds("check", data, "--model", model, "--server", server.url)
    assert "server    3 of 3 prompts the same" in printed.out
    assert "likely cause" not in printed.out


def test_a_difference_is_shown_with_its_cause_and_as_json(
    model: Path, data: Path, builtin_tokenizer: Any
) -> None:
    script = server_of(
        "vllm", builtin_tokenizer, change=lambda body: body | {"messages": body["messages"][-1:]}
    )
    with scripted_server(script) as server:
        words = ["check", data, "--model", model, "--server", server.url, "--server-model", "tiny"]
        printed = succeeds(*words)
        found = json.loads(succeeds(*words, "--json").out)["server"]
    assert "0 of 3 prompts the same" in printed.out
    assert f"{data}:0 messages[" in printed.out
    assert "ours    '" in printed.out
    assert "likely cause" in printed.out or "no usual cause" in printed.out
    assert [entry["way"] for entry in found] == ["tokenize"] * 3
    assert not any(entry["same"] for entry in found)
    assert all(entry["difference"]["at"] > 0 for entry in found)


def test_it_needs_a_model_and_a_server_that_answers(model: Path, data: Path) -> None:
    assert "--model" in refused("check", data, "--server", "http://127.0.0.1:9")
    assert "no http" in refused("check", data, "--model", model, "--server", "localhost")
    with scripted_server(lambda _: error_reply(401, "no")) as server:
        assert "wants a key" in refused("check", data, "--model", model, "--server", server.url)
