"""Every stock chat template: a profile or a reasoned refusal, and exact rows (traps 1 to 6)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from scripts import templates as page
from scripts.template_rows import check_exact, generated_sets, run
from tests import assets
from tests.conftest import _asset
from tests.render.stock_templates import (
    STOCK,
    Stock,
    add_control_strings,
    renderer_of,
    source_of,
    trl_files,
)
from tests.render.strategies import simple_trace
from tooltune.errors import UserError
from tooltune.render import guard
from tooltune.render.representable import RowRejected
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer
from tooltune.toolcalls.parse import FORMATS
from tooltune.traces.types import Message, Tool, ToolCall, Trace

BY_KEY = {stock.key: stock for stock in STOCK}
QUICK = ("qwen2_5", "qwen3_5_think", "llama3_1", "gptoss", "glm4moe", "gemma4_v5", "lfm2_v2")


@cache
def probed(key: str) -> Renderer | UserError:
    try:
        return renderer_of(BY_KEY[key])
    except UserError as error:
        return error


@cache
def generated() -> dict[str, list[Trace]]:
    return generated_sets()


@cache
def telling_rows() -> tuple[int, ...]:
    """The first generated row with parallel calls, the first with two rounds, with no call."""
    calls = [
        [len(m.tool_calls) for m in row.messages if m.tool_calls]
        for row in generated()["generated"]
    ]
    kinds = [[max(n, default=0) > 1, len(n) > 1, not n] for n in calls]
    return tuple(next(i for i, kind in enumerate(kinds) if kind[j]) for j in range(3))


@pytest.fixture(autouse=True, scope="module")
def _trusted() -> Iterator[None]:
    """These are not from strangers, and the guard has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "_try", lambda source: "")
        yield


def renderer(key: str) -> Renderer:
    found = _asset(lambda: probed(key))
    assert isinstance(found, Renderer), found
    return found


@pytest.mark.parametrize("key", BY_KEY)
def test_a_template_has_a_full_profile_or_says_why_it_cannot_be_used(key: str) -> None:
    found = _asset(lambda: probed(key))
    if isinstance(found, UserError):
        assert found.fix
        assert "<think>" in str(found)  # the only such templates: DeepSeek's, see docs/templates.md
        return
    profile = found.profile
    assert profile.tool_calls == ("tool_calls" in profile.stops)
    assert all(stop.id in found.stop_ids for stop in profile.stops.values())
    assert profile.call_format in {None, *FORMATS}


@pytest.mark.parametrize(
    "key", [pytest.param(key, marks=() if key in QUICK else pytest.mark.slow) for key in BY_KEY]
)
def test_rows_are_accepted_exactly_or_refused_by_a_named_code(key: str) -> None:
    """Invariants 1, 3 and 4, and 2 where a parser here reads the family."""
    found = _asset(lambda: probed(key))
    if isinstance(found, UserError):
        return
    for rows in generated().values():
        chosen = [rows[i] for i in telling_rows()]
        outcome = run(found, source_of(BY_KEY[key]), chosen)
        assert outcome.total == len(chosen)
        assert all(outcome.reasons.values())


def test_every_stock_template_of_trl_is_in_the_table() -> None:
    listed = {stock.file for stock in STOCK}
    assert set(trl_files()) <= listed
    assert len({stock.key for stock in STOCK}) == len(STOCK)


def test_the_committed_table_says_what_a_fresh_probe_finds() -> None:
    committed = page.DOCUMENT.read_text(encoding="utf-8").splitlines()
    for stock in STOCK:
        found = _asset(lambda key=stock.key: probed(key))  # type: ignore[misc]
        line = page.found_row(stock, found.profile if isinstance(found, Renderer) else None)
        assert line in committed, f"{stock.key}: run `make templates`"


def test_the_committed_table_accounts_for_every_row() -> None:
    text = page.DOCUMENT.read_text(encoding="utf-8")
    assert "unknown" not in text
    rows = text.split("## Rows")[1].split("## Refusals")[0].splitlines()
    counts = [line.split(" | ")[2:10] for line in rows if line.startswith("| ")][1:]
    assert len(counts) == len(STOCK)
    for cells in counts:
        sums = [int(a) + int(b) for a, b in zip(cells[::2], cells[1::2], strict=True)]
        assert sums == [300, page.N_GENERATED, page.N_GENERATED, page.N_GENERATED]


@pytest.mark.parametrize("key", ["qwen2_5", "qwen3", "llama3_1", "gptoss", "npm-mistral-nemo"])
@pytest.mark.needs_data
def test_all_real_rows_pass_exactly(key: str, shared_data: Path) -> None:
    from tooltune.traces.load import load_traces

    outcome = run(renderer(key), source_of(BY_KEY[key]), list(load_traces(shared_data))[:60])
    assert (outcome.accepted, outcome.refused) == (60, {})


def test_parallel_calls_are_refused_where_a_template_shows_one_or_raises() -> None:
    calls = (ToolCall("get_time", {"city": "Rome"}), ToolCall("get_time", {"city": "Oslo"}))
    trace = Trace(
        (Message("user", "Both?"), Message("assistant", tool_calls=calls)), simple_trace().tools
    )
    for key in ("llama3_1", "llama3_2", "gptoss"):
        with pytest.raises(RowRejected, match="template_drops_parallel_calls") as caught:
            renderer(key).render(trace)
        assert "(line " in caught.value.reason


def test_text_that_a_template_would_turn_into_reasoning_is_refused() -> None:
    """gpt-oss writes the text beside a call into the analysis channel."""
    profile = renderer("gptoss").profile
    assert profile.beside_calls == "reasoning"
    assert not profile.content_beside_calls


def test_text_that_a_template_moves_behind_the_results_is_refused() -> None:
    """Gemma-4's 5th revision writes results inside the turn that called, before its text."""
    profile = renderer("gemma4_v5").profile
    assert profile.beside_calls == "moved"
    assert not profile.content_beside_calls


def test_templates_that_read_only_content_parts_are_given_parts() -> None:
    """SmolVLM's loops over parts and shows nothing of a string."""
    made = renderer("smolvlm")
    assert made.profile.shape.content == "parts"
    plain = Trace((Message("user", "Hi"), Message("assistant", "Hello")))
    (turn,) = made.render(plain).turns
    assert "Hi" in turn.prompt_text
    assert turn.completion_text.endswith("Hello<end_of_utterance>")


def test_a_template_that_wants_call_ids_of_nine_characters_gets_them() -> None:
    made = renderer("npm-mistral-nemo")
    assert made.profile.shape.call_ids == "numbered"
    assert made.profile.call_format == "mistral"
    trace = simple_trace()
    rendered = made.render(trace)
    check_exact(made, source_of(BY_KEY["npm-mistral-nemo"]), rendered)
    assert '"id": "call00001"' in rendered.turns[0].completion_text
    assert '"call_id": "call00001"' in rendered.turns[1].prompt_text


def test_the_system_text_that_mistral_moves_does_not_refuse_the_row() -> None:
    """It stands in the last user message, and only while that is the last message."""
    made = renderer("npm-mistral-nemo")
    trace = Trace((Message("system", "Be brief."), *simple_trace().messages), simple_trace().tools)
    first, second, _ = made.render(trace).turns
    assert "Be brief." in first.prompt_text
    assert "Be brief." not in second.prompt_text


def test_the_stop_of_glm_is_the_next_roles_marker_by_kind_of_turn() -> None:
    stops = renderer("glm4moe").profile.stops
    assert {kind: (stop.text, stop.written) for kind, stop in stops.items()} == {
        "text": ("<|user|>", False),
        "tool_calls": ("<|observation|>", False),
    }


def test_a_template_whose_prompt_opens_thinking_asks_for_reasoning_or_names_the_switch() -> None:
    made = renderer("nemotron_3_nano")
    assert made.profile.reasoning_required
    with pytest.raises(RowRejected, match="enable_thinking: false"):
        made.render(simple_trace())
    thoughtful = made.render(simple_trace(reasoning="What is asked for?"))
    assert "What is asked for?" in thoughtful.turns[0].completion_text


def test_reasoning_that_is_shown_only_beside_calls_is_refused_elsewhere() -> None:
    made = renderer("gemma4")
    assert made.profile.reasoning_beside_calls
    assert not made.profile.reasoning
    messages = simple_trace(reasoning="What is asked for?").messages
    with pytest.raises(RowRejected, match=r"messages\[3\].*reasoning of an answer"):
        made.render(Trace(messages, simple_trace().tools))
    made.render(Trace(messages[:2], simple_trace().tools))


def test_injected_dates_are_noticed() -> None:
    assert renderer("gptoss").profile.injected_date
    assert not renderer("qwen2_5").profile.injected_date


def test_a_message_that_a_template_loses_in_its_place_refuses_the_row() -> None:
    """The probe sees the first system message shown; a later one is dropped by gpt-oss."""
    messages = simple_trace().messages
    later = (*messages[:4], Message("system", "Answer in French."), *messages[4:])
    with pytest.raises(RowRejected, match="text_not_in_prompt"):
        renderer("gptoss").render(Trace(later, simple_trace().tools))


def test_texts_are_looked_for_in_completions_that_no_parser_reads(builtin_tokenizer: Any) -> None:
    template = source_of(BY_KEY["glm4moe"]).replace("content.strip() }}", "content | upper }}")
    template = template.replace("<tool_call>'", "<unheard_of>'")
    made = _on_built_in(builtin_tokenizer, template)
    assert made.profile.call_format is None
    with pytest.raises(RowRejected, match="text_not_recoverable"):
        made.render(simple_trace())


def _on_built_in(tokenizer: Any, template: str) -> Renderer:
    import copy

    own = copy.deepcopy(tokenizer)
    add_control_strings(own, template)
    return Renderer(own, RenderSpec(chat_template=template))


def test_a_string_that_would_read_as_a_number_is_refused_unless_its_type_is_declared() -> None:
    """Trap 16: families that write values as bare text say no types; the schema does."""
    made = renderer("glm4moe")
    declared = simple_trace(city="5")
    tool = Tool({"name": "get_time", "description": "Time.", "parameters": {"type": "object"}})
    city = {"properties": {"city": {"type": "string"}}}
    typed = Tool({**tool.function, "parameters": {**tool.function["parameters"], **city}})
    assert made.render(Trace(declared.messages, (typed,))).turns
    with pytest.raises(RowRejected, match="calls_not_recoverable") as caught:
        made.render(Trace(declared.messages, (tool,)))
    assert "'city' of get_time is \"5\" and reads back as 5; declare its type" in str(caught.value)


def test_assets_of_the_table_exist() -> None:
    used: set[str] = {stock.tokenizer for stock in STOCK if isinstance(stock, Stock)}
    assert used - {"built-in"} <= set(assets.TOKENIZERS)
