from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.toolcalls import families
from tests.toolcalls.formats.json_ways import WAYS
from tooltune.errors import UserError
from tooltune.toolcalls import ParsedToolCall, parse_tool_calls, parse_turn
from tooltune.toolcalls.json_text import MAX_DEPTH
from tooltune.traces.types import Tool

GOOD = '{"name": "f", "arguments": {"x": 1}}'


def statuses(text: str, format: str | None = None) -> list[str]:
    return [call.status for call in parse_tool_calls(text, format)]


def only(text: str, format: str | None = None) -> ParsedToolCall:
    (call,) = parse_tool_calls(text, format)
    return call


# ---------------------------------------------------------------- what was written is read back


prose = st.text(st.sampled_from("abc ,.\n:\"'é5{}[]"), max_size=30)


@pytest.mark.parametrize("way", ["hermes", "hermes_list", "llama3", "mistral", "mistral_v11"])
@settings(max_examples=25)
@given(thought=prose, before=prose, calls=families.calls)
def test_text_and_reasoning_beside_calls_are_kept_apart(way, thought, before, calls):
    format = WAYS[way].format
    text = f"<think>\n{thought}\n</think>\n\n{before}\n{WAYS[way].write(calls, False)}"
    for turn in (parse_turn(text, format), parse_turn(text.removeprefix("<think>\n"), format)):
        assert turn.reasoning == (thought.strip() or None)
        assert turn.content == before.strip()
        assert [call.name for call in turn.calls] == [name for name, _ in calls]


@given(st.lists(st.sampled_from(families.MARKERS) | families.words, max_size=12).map("".join))
@example("<think>")
@example("</think></think>")
@example("<|start|>" * 3)
@example("[TOOL_CALLS]x[CALL_ID]")
@example('<tool_call>{"name": "\\ud800", "arguments": {}}</tool_call>')
def test_no_text_makes_any_parser_raise_and_every_span_is_the_raw_text(text):
    for format in (None, "hermes", "llama3", "mistral", "harmony", "bare_json"):
        turn = parse_turn(text, format)
        spans = [call.span for call in turn.calls]
        assert spans == sorted(spans)
        for call in turn.calls:
            assert call.raw == text[slice(*call.span)]
            assert call.arguments_valid_json or call.arguments == {}
            assert call.status != "ok" or call.name


@given(st.data())
def test_every_truncation_of_a_call_is_an_attempt_that_is_not_ok(data):
    text = f"<tool_call>\n{GOOD}\n</tool_call>"
    cut = data.draw(st.integers(len("<tool_call>"), len(text) - 1))
    assert statuses(text[:cut]) == ["unclosed"]


# ------------------------------------------------------------------------------------- hermes


def test_a_closer_and_braces_inside_a_string_do_not_end_the_call():
    text = '<tool_call>{"name": "f", "arguments": {"x": "</tool_call> }}{"}}</tool_call>'
    assert only(text).arguments == {"x": "</tool_call> }}{"}


def test_a_closed_call_is_kept_beside_an_unclosed_one():
    text = f'<tool_call>{GOOD}</tool_call> and <tool_call>{{"name": "g", "argu'
    assert statuses(text) == ["ok", "unclosed"]


def test_an_unclosed_call_does_not_swallow_the_one_behind_it():
    broken = GOOD.removesuffix("}")
    assert statuses(f"<tool_call>{broken}\n<tool_call>{GOOD}</tool_call>") == ["unclosed", "ok"]


def test_whole_json_without_its_closer_is_unclosed_but_readable():
    call = only(f"<tool_call>\n{GOOD}\n<|im_end|>")
    assert (call.name, call.arguments, call.status) == ("f", {"x": 1}, "unclosed")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"name": "f", "arguments": {"x": 1}}}', "invalid_json"),
        ('{"name": "f", "arguments": {"x": 1}', "invalid_json"),
        ("{'name': 'f', 'arguments': {}}", "invalid_json"),
        ('{"name": "f", "arguments": {"x": NaN}}', "invalid_json"),
        ('{"name": "f", "arguments": {"x": -Infinity}}', "invalid_json"),
        ('{"name": "f", "arguments": {"x": 1e999}}', "invalid_json"),
        ('{"name": "f", "arguments": {"x": 1, "x": 2}}', "invalid_json"),
        ('{"name": "f", "name": "g", "arguments": {}}', "invalid_json"),
        ('{"name": "f", "arguments": {"x": 01}}', "invalid_json"),
        ('{"name": "f", "arguments": {"x": "a\nb"}}', "invalid_json"),
        ('{"name": "f", "arguments": {"x": "\\ud800"}}', "invalid_json"),
        ('{"name": "f", "arguments": {"x": ' + "9" * 5000 + "}}", "invalid_json"),
        ('{"name": "f", "arguments": ' + '{"a":' * 5000 + "1" + "}" * 5000 + "}", "invalid_json"),
        ('{"name": "f", "arguments": "{\\"x\\": "}', "invalid_json"),
        ('{"name": "f", "arguments": "x"}', "invalid_json"),
        ('{"name": "f", "arguments": [1]}', "malformed"),
        ('{"name": "f", "arguments": null}', "malformed"),
        ('{"arguments": {"x": 1}}', "missing_name"),
        ('{"name": "", "arguments": {}}', "missing_name"),
        ('{"name": 3, "arguments": {}}', "missing_name"),
        ('["f"]', "malformed"),
        ("[]", "malformed"),
        ("", "malformed"),
        ('f(x="1")', "malformed"),
        ("<function=f><parameter=x>1</parameter></function>", "malformed"),
    ],
)
def test_each_broken_call_is_one_attempt_with_its_status(body, status):
    call = only(f"<tool_call>{body}</tool_call>", "hermes")
    assert call.status == status
    assert call.arguments_valid_json is (status == "missing_name")


def test_nesting_is_read_to_the_documented_depth_and_no_further():
    for depth, status in ((MAX_DEPTH - 2, "ok"), (MAX_DEPTH - 1, "invalid_json")):
        body = f'{{"name": "f", "arguments": {{"x": {"[" * depth}{"]" * depth}}}}}'
        assert only(f"<tool_call>{body}</tool_call>").status == status


def test_arguments_may_be_a_json_string_or_missing_or_named_parameters():
    for body, arguments in (
        ('{"name": "f", "arguments": "{\\"x\\": [1]}"}', {"x": [1]}),
        ('{"name": "f"}', {}),
        ('{"name": "f", "parameters": {"x": 1}}', {"x": 1}),
        ('{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}', {"x": 1}),
    ):
        call = only(f"<tool_call>{body}</tool_call>")
        assert (call.name, call.arguments, call.status) == ("f", arguments, "ok")


def test_a_list_with_one_bad_member_keeps_the_good_one():
    text = f'<tool_call>[{GOOD}, {{"name": "g", oops}}]</tool_call>'
    assert statuses(text) == ["ok", "invalid_json"]


def test_equal_calls_are_not_merged():
    assert len(parse_tool_calls(f"<tool_call>{GOOD}</tool_call>" * 2)) == 2


# ----------------------------------------------------------------------------------- reasoning


def test_a_call_inside_a_think_block_is_prose():
    call = f"<tool_call>{GOOD}</tool_call>"
    turn = parse_turn(f"<think>Shall I {call}?</think>No.")
    assert (turn.calls, turn.content, turn.reasoning) == ((), "No.", f"Shall I {call}?")


def test_an_output_that_begins_inside_a_think_block_is_reasoning_up_to_its_closer():
    call = f"<tool_call>{GOOD}</tool_call>"
    turn = parse_turn(f"Perhaps <tool_call> or {call}</think>{call}")
    assert [c.status for c in turn.calls] == ["ok"]
    assert turn.reasoning == f"Perhaps <tool_call> or {call}"
    assert turn.content == ""


def test_an_unclosed_think_block_is_all_reasoning():
    turn = parse_turn(f"Well. <think>hm <tool_call>{GOOD}</tool_call>")
    assert (turn.calls, turn.content) == ((), "Well.")


def test_think_tags_inside_an_argument_are_data():
    for tag in ("<think>a</think>", "</think>", "<think>"):
        text = f'<tool_call>{{"name": "f", "arguments": {{"x": "{tag}"}}}}</tool_call>'
        turn = parse_turn(text)
        assert turn.reasoning is None
        assert turn.calls[0].arguments == {"x": tag}


def test_an_empty_think_block_is_no_reasoning():
    assert parse_turn("<think>\n\n</think>\n\nHi").reasoning is None


def test_several_think_blocks_are_taken_out_of_the_text():
    turn = parse_turn("<think>a</think>x <think>b</think>y")
    assert (turn.reasoning, turn.content) == ("a\nb", "x y")


@pytest.mark.parametrize(
    "token", ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "</s>"]
)
def test_trailing_control_tokens_are_no_content(token):
    assert parse_turn(f"Hello.{token}\n{token}").content == "Hello."
    assert statuses(f"{GOOD}{token}") == ["ok"]


# ------------------------------------------------------------------------------ other families


def test_llama_built_in_tools_are_read_from_their_own_syntax():
    call = only('<|python_tag|>brave_search.call(query="a, (b)\\"", n = 3)<|eom_id|>')
    assert (call.name, call.arguments) == ("brave_search", {"query": 'a, (b)"', "n": 3})
    assert only("<|python_tag|>f.call()").arguments == {}


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('<|python_tag|>brave_search.call(query="a', "unclosed"),
        ("<|python_tag|>brave_search.call(query=a)", "malformed"),
        ('<|python_tag|>f.call(x="1", x="2")', "malformed"),
        ("<|python_tag|>import os", "malformed"),
        ("<|python_tag|>", "unclosed"),
        ('<|python_tag|>{"name": "f", "par', "unclosed"),
        ("[TOOL_CALLS]f[ARGS]{", "unclosed"),
        ("[TOOL_CALLS]f[ARGS]{x}", "invalid_json"),
        ("[TOOL_CALLS] nothing here", "malformed"),
        (f"[TOOL_CALLS][{GOOD}", "unclosed"),
        ("<|channel|>commentary to=functions.f<|message|>{", "unclosed"),
        ("<|channel|>commentary to=functions.f<|message|>{x}<|call|>", "invalid_json"),
        ('<|channel|>commentary to=functions.f<|message|>{"x":1} y<|call|>', "invalid_json"),
        ("<|channel|>commentary to=functions.f<|message|>[1]<|call|>", "malformed"),
        ("<|channel|>commentary to=functions.<|message|>{}<|call|>", "missing_name"),
        ("<|channel|>commentary to=functions.f", "unclosed"),
    ],
)
def test_broken_calls_of_other_families_are_attempts(text, status):
    assert statuses(text) == [status]


def test_mistral_call_ids_are_skipped():
    call = only('[TOOL_CALLS]f[CALL_ID]abc123xyz[ARGS]{"x": 1}')
    assert (call.name, call.arguments) == ("f", {"x": 1})


def test_harmony_channels_become_reasoning_content_and_calls():
    turn = parse_turn(
        "<|channel|>analysis<|message|>Think <tool_call>.<|end|>"
        "<|start|>assistant<|channel|>commentary<|message|>Let me look.<|end|>"
        '<|start|>assistant to=functions.f<|channel|>commentary<|message|>{"x": "<|call|>"}<|call|>'
    )
    assert (turn.reasoning, turn.content, turn.format) == (
        "Think <tool_call>.",
        "Let me look.",
        "harmony",
    )
    assert [(c.name, c.arguments, c.status) for c in turn.calls] == [("f", {"x": "<|call|>"}, "ok")]


def test_text_between_harmony_messages_is_content():
    turn = parse_turn("<|channel|>final<|message|>a<|end|>b<|start|>assistant<|message|>c")
    assert turn.content == "a\nb\nc"


def test_the_name_of_a_call_that_breaks_off_is_kept_where_it_stands_apart():
    for text in ("[TOOL_CALLS]f[ARGS]{", "<|channel|>x to=functions.f<|message|>{"):
        assert only(text).name == "f"


def test_harmony_final_text_is_content_even_where_it_speaks_of_other_markers():
    turn = parse_turn(f"<|channel|>final<|message|>Use <tool_call>: {GOOD}<|return|>")
    assert (turn.content, turn.calls) == (f"Use <tool_call>: {GOOD}", ())


# ----------------------------------------------------------------------------------- bare JSON


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Alice", "age": 3}',
        '{"name": "Alice", "arguments": "strong ones"}',
        '{"name": "Alice", "arguments": 3}',
        '{"arguments": {"x": 1}}',
        '{"name": 3, "arguments": {}}',
        '{"result": {"name": "f", "arguments": {}}}',
        '{"name": "f", "description": "A tool.", "parameters": {"x": 1}}',
        '{"name": "f", "parameters": {"type": "object", "properties": {"x": {}}}}',
        '{"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}}',
        '{"name": "Alice", "age":',
        "{",
        "a {b} c",
    ],
)
def test_json_that_only_resembles_a_call_is_text(text):
    turn = parse_turn(text)
    assert (turn.calls, turn.content, turn.format) == ((), text, None)


def test_bare_calls_are_found_in_text_around_lone_braces_and_fences():
    text = f'Set {{"a"}} and {{x}}:\n```json\n{GOOD}\n```\nor {{"b": {GOOD}'
    turn = parse_turn(text)
    assert [(c.name, c.status) for c in turn.calls] == [("f", "ok"), ("f", "ok")]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('{"name": "f", "arguments": {"x": [1, ', "unclosed"),
        ('{"name": "f", "arguments": {"x": oops}}', "invalid_json"),
        ('{"name": "f", "arguments": {"x": NaN}}', "invalid_json"),
        ('{"name": "f", "arguments": "{oops"}', "invalid_json"),
    ],
)
def test_a_bare_object_that_begins_as_a_call_is_an_attempt(text, status):
    assert statuses(text) == [status]


# ---------------------------------------------------------------------- the parser's own options


def test_an_unknown_format_is_an_error_that_lists_the_known_ones():
    with pytest.raises(UserError, match=r"hermes, llama3, mistral, harmony, bare_json"):
        parse_tool_calls("x", format="hermez")


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {"name": "f", "parameters": {}}},
        {"name": "f"},
        Tool({"name": "f"}),
    ],
)
def test_a_call_of_no_known_tool_has_its_own_status(tool):
    text = GOOD + GOOD.replace('"f"', '"g"') + '{"name": "h", "arguments": {oops'
    assert [c.status for c in parse_tool_calls(text, tools=[tool])] == [
        "ok",
        "unknown_tool",
        "invalid_json",
    ]
    assert [c.status for c in parse_tool_calls(GOOD, tools=[])] == ["unknown_tool"]


def test_a_tool_without_a_name_is_an_error():
    with pytest.raises(UserError, match=r"tools\[0\]"):
        parse_tool_calls(GOOD, tools=[{"type": "function"}])


def test_the_record_has_the_reference_s_fields_in_its_order():
    call = ParsedToolCall("f", {"x": 1}, True, "raw")
    assert (call.name, call.arguments, call.arguments_valid_json, call.raw) == (
        "f",
        {"x": 1},
        True,
        "raw",
    )
