from __future__ import annotations

import pytest

from tests.toolcalls.formats.json_ways import (
    KIMI,
    KIMI_ARGUMENTS,
    KIMI_BEGIN,
    KIMI_CALL,
    KIMI_CALL_END,
    KIMI_END,
)

GOOD = f"{KIMI_CALL}functions.f:0{KIMI_ARGUMENTS}{{}}{KIMI_CALL_END}"


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("functions.f:0", "f"),
        ("functions.f:12", "f"),
        ("f:0", "f"),
        ("functions.f", "f"),
        (" functions.files.read:3\n", "files.read"),
        ("functions.a:b:3", "a:b"),
        ("call_abc123", None),
        ("functionsexec5", None),
        ("functions.:0", None),
    ],
)
def test_the_name_is_taken_from_the_id_of_the_call(written, name):
    text = f'{KIMI_BEGIN}{KIMI_CALL}{written}{KIMI_ARGUMENTS}{{"x": 1}}{KIMI_CALL_END}{KIMI_END}'
    (call,) = KIMI.parse(text).calls
    assert (call.name, call.status) == (name, "ok" if name else "missing_name")


@pytest.mark.parametrize("begin", ["", "<|tool_call_section_begin|>", KIMI_BEGIN])
@pytest.mark.parametrize("end", ["", "<|tool_call_section_end|>", KIMI_END])
def test_the_section_may_have_its_singular_form_or_be_left_out(begin, end):
    turn = KIMI.parse(f"Hm. {begin}{GOOD}{end}")
    assert (turn.content, [call.status for call in turn.calls]) == ("Hm.", ["ok"])


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        (KIMI_BEGIN, ["unclosed"]),
        (f"{KIMI_BEGIN}{KIMI_END}", ["malformed"]),
        (f"{KIMI_BEGIN}f(){KIMI_END}", ["malformed"]),
        (f"{KIMI_BEGIN}{KIMI_CALL}", ["unclosed"]),
        (f"{KIMI_BEGIN}{KIMI_CALL}functions.f:0", ["unclosed"]),
        (f"{KIMI_BEGIN}{KIMI_CALL}functions.f:0{KIMI_CALL_END}{KIMI_END}", ["malformed"]),
        (f"{KIMI_CALL}functions.f:0{KIMI_ARGUMENTS}{KIMI_CALL_END}{KIMI_END}", ["invalid_json"]),
        (f"{KIMI_BEGIN}{KIMI_CALL}functions.f:0{KIMI_ARGUMENTS}{{}}{KIMI_END}", ["unclosed"]),
        (f"{KIMI_CALL}functions.f:0{KIMI_ARGUMENTS}{{}} x{KIMI_CALL_END}", ["invalid_json"]),
        (f"{KIMI_CALL}functions.f:0{KIMI_ARGUMENTS}{{}}{GOOD}", ["unclosed", "ok"]),
        (f"{KIMI_BEGIN} Well: {GOOD}{KIMI_END}", ["ok"]),
    ],
)
def test_broken_sections_are_attempts(text, statuses):
    assert KIMI.statuses(text) == statuses
