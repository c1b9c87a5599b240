from __future__ import annotations

import pytest

from tests.toolcalls.formats.json_ways import NEMOTRON_NANO_V2

GOOD = '{"name": "f", "arguments": {"x": [1]}}'


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (f"[{GOOD}]</TOOLCALL>", "ok"),
        (f"{GOOD}</TOOLCALL>", "ok"),
        ('[{"name": "f", "arguments": "{\\"x\\": 1}"}]</TOOLCALL>', "ok"),
        (f"[{GOOD}]", "unclosed"),
        (f"[{GOOD}] x</TOOLCALL>", "invalid_json"),
        ("[]</TOOLCALL>", "malformed"),
        ("f()</TOOLCALL>", "malformed"),
        ("", "unclosed"),
    ],
)
def test_each_call_stands_between_its_tags(body, status):
    turn = NEMOTRON_NANO_V2.parse(f"<think></think>Hm. <TOOLCALL>{body}\n<SPECIAL_12>\n")
    assert ([call.status for call in turn.calls], turn.content) == ([status], "Hm.")
