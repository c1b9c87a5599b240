"""Every family has its line, and what transformers parses is what transformers says it parses."""

from __future__ import annotations

import pytest

from tooltune.export.parsers import (
    NONE,
    PARSERS,
    TRANSFORMERS_PARSES,
    parsers_of,
    transformers_parses,
)
from tooltune.toolcalls.parse import FORMATS


def test_every_family_has_its_line_and_no_other_stands_there() -> None:
    assert set(PARSERS) == set(FORMATS)


def test_a_template_without_a_known_family_has_no_parser() -> None:
    assert parsers_of(None) == NONE
    assert not transformers_parses(None, "qwen3")


@pytest.mark.parametrize(
    ("family", "model_type", "vllm", "reasoning"),
    [
        ("hermes", "qwen2", "hermes", "qwen3"),
        ("pythonic", "llama", "pythonic", None),
        ("pythonic", "llama4", "llama4_pythonic", None),
        ("qwen3_xml", "qwen3_5", "qwen3_xml", "qwen3"),
        ("qwen3_xml", "nemotron_h", "qwen3_coder", "nemotron_v3"),
    ],
)
def test_a_kind_of_model_can_ask_for_another_parser_than_its_family(
    family: str, model_type: str, vllm: str, reasoning: str | None
) -> None:
    parsers = parsers_of(family, model_type)
    assert (parsers.vllm, parsers.vllm_reasoning) == (vllm, reasoning)


def test_transformers_parses_the_models_that_its_own_table_names() -> None:
    from transformers.cli.serving import utils

    theirs = {kind for kinds in utils._RESPONSE_TEMPLATE_FALLBACKS for kind in kinds}
    ours = {kind for kinds in TRANSFORMERS_PARSES.values() for kind in kinds}
    assert ours == theirs
    assert transformers_parses("hermes", "qwen3")
    assert not transformers_parses("hermes", "llama")
