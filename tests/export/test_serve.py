"""Commands are ones that a shell reads as they are meant, and pages name nothing of a machine."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltune.export.parsers import PARSERS
from tooltune.export.serve import ANY_BASE, THIS_FOLDER, Served, serve_commands, serve_page

MODEL = Served("my", THIS_FOLDER, "hermes", "qwen2")
ADAPTER = replace(MODEL, base=ANY_BASE, base_name="tiny", rank=16)


def words(served: Served, server: str) -> list[str]:
    (command,) = [c for c in serve_commands(served) if c.server == server]
    return shlex.split(command.text.replace("\\\n", " "))


def value(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def notes(served: Served, server: str) -> str:
    (command,) = [c for c in serve_commands(served) if c.server == server]
    return " ".join(command.notes)


def test_vllm_gets_the_flags_without_which_it_refuses_tools() -> None:
    line = words(MODEL, "vLLM")
    assert line[:3] == ["vllm", "serve", "$PWD"]
    assert "--enable-auto-tool-choice" in line
    assert value(line, "--tool-call-parser") == "hermes"
    assert "--reasoning-parser" not in line, "it would take the answers of this model for thoughts"
    assert value(words(MODEL, "SGLang"), "--tool-call-parser") == "qwen25"


def test_a_model_that_thinks_gets_its_reasoning_parser() -> None:
    thinks = replace(MODEL, reasons=True)
    assert value(words(thinks, "vLLM"), "--reasoning-parser") == "qwen3"
    assert value(words(thinks, "SGLang"), "--reasoning-parser") == "qwen3"


@pytest.mark.parametrize("family", [name for name, p in PARSERS.items() if p.vllm is None])
def test_where_no_parser_is_known_the_page_says_so_and_the_command_asks_for_none(
    family: str,
) -> None:
    served = replace(MODEL, call_format=family)
    assert "--tool-call-parser" not in words(served, "vLLM")
    assert "--enable-auto-tool-choice" not in words(served, "vLLM")
    assert f"`{family}`" in notes(served, "vLLM")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@given(st.dictionaries(st.text(max_size=6), json_values, min_size=1, max_size=3))
def test_template_arguments_reach_the_servers_as_they_are(kwargs: dict[str, object]) -> None:
    served = replace(MODEL, kwargs=kwargs)
    given_to_vllm = value(words(served, "vLLM"), "--default-chat-template-kwargs")
    assert json.loads(given_to_vllm) == kwargs
    given_to_llama = value(words(served, "llama.cpp"), "--chat-template-kwargs")
    assert json.loads(given_to_llama) == kwargs


@given(st.integers(1, 512))
def test_vllm_makes_room_for_the_rank_of_an_adapter_and_knows_the_number(rank: int) -> None:
    room = int(value(words(replace(ADAPTER, rank=rank), "vLLM"), "--max-lora-rank"))
    assert room >= rank
    assert room in (1, 8, 16, 32, 64, 128, 256, 320, 512)


def test_an_adapter_is_served_on_its_base_with_the_template_and_stops_of_the_training() -> None:
    line = words(ADAPTER, "vLLM")
    assert line[:4] == ["vllm", "serve", "$BASE", "--enable-lora"]
    assert value(line, "--lora-modules") == "my=$PWD"
    assert value(line, "--chat-template") == "$PWD/chat_template.jinja"
    assert value(line, "--generation-config") == "$PWD"


@pytest.mark.parametrize(
    "refused", [{"unusual": ("it is a DoRA adapter",)}, {"rank": 513}], ids=["dora", "rank"]
)
def test_an_adapter_that_vllm_refuses_gets_no_command_but_the_reason(
    refused: dict[str, object],
) -> None:
    (vllm, *_) = serve_commands(replace(ADAPTER, **refused))  # type: ignore[arg-type]
    assert vllm.lines == ()
    assert "without `--adapter`" in " ".join(vllm.notes)


def test_the_page_says_how_to_measure_the_server_and_what_to_leave_out_of_prompts() -> None:
    page = serve_page(replace(MODEL, drops_reasoning=True))
    assert "tooltune eval --engine openai" in page
    assert "without the reasoning of earlier turns" in page
    assert "$BASE" not in page
    assert "`$BASE` stands for the base model, `tiny`:" in serve_page(ADAPTER)
    assert "No parser is known" in serve_page(replace(MODEL, call_format=None))


@pytest.mark.parametrize("served", [MODEL, ADAPTER, replace(MODEL, call_format=None)])
def test_the_page_says_that_the_accuracy_is_of_greedy_answers_and_how_to_ask_for_them(
    served: Served,
) -> None:
    before, _, commands = serve_page(served).partition("## vLLM")
    assert "measured greedily" in before
    assert '`"temperature": 0`' in before
    if served.adapter:
        assert "--generation-config vllm" not in commands
    else:
        assert "`--generation-config vllm`" in notes(served, "vLLM")


@given(st.text(max_size=20))
def test_a_base_of_any_name_stays_code_in_one_line(name: str) -> None:
    page = serve_page(replace(ADAPTER, base_name=name))
    plain = serve_page(replace(ADAPTER, base_name="x"))
    assert len(page.splitlines()) == len(plain.splitlines())
    assert page.count("`") in (plain.count("`"), plain.count("`") - 2)


def test_a_base_that_nothing_names_is_left_unnamed() -> None:
    page = serve_page(replace(ADAPTER, base_name=""))
    assert "`$BASE` stands for the base model: its folder" in page
