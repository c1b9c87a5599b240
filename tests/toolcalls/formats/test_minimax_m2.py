from __future__ import annotations

import pytest

from tooltune.toolcalls.parse import parse_turn

CALL = '<invoke name="f">\n<parameter name="x">1</parameter>\n</invoke>\n'
BLOCK = f"<minimax:tool_call>{CALL}</minimax:tool_call>"


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        (f"<minimax:tool_call>\n{CALL}{CALL}</minimax:tool_call>[e~[", ["ok", "ok"]),
        (f"<minimax:tool_call>{CALL}", ["unclosed"]),
        (f"<minimax:tool_call>{CALL}{CALL}", ["ok", "unclosed"]),
        (
            f"<minimax:tool_call>{CALL}<minimax:tool_call>{CALL}</minimax:tool_call>",
            ["unclosed", "ok"],
        ),
        (f"<minimax:tool_call>{CALL}Done.</minimax:tool_call>", ["malformed"]),
        (f"Without its block: {CALL}", ["malformed"]),
        ('<minimax:tool_call><invoke name="f"></invoke></minimax:tool_call>', ["ok"]),
        ('<minimax:tool_call><invoke name=""></invoke></minimax:tool_call>', ["missing_name"]),
        ("<minimax:tool_call><invoke></invoke></minimax:tool_call>", ["malformed"]),
        ('<minimax:tool_call>{"name": "f"}</minimax:tool_call>', ["malformed"]),
        ('Write <invoke name="f"> to call f.', []),
    ],
)
def test_each_departure_from_the_template_has_its_status(text, statuses):
    assert [call.status for call in parse_turn(text, "minimax_m2").calls] == statuses


def test_a_call_without_its_block_says_what_it_would_have_called():
    (call,) = parse_turn(CALL, "minimax_m2").calls
    assert (call.name, call.arguments, call.arguments_valid_json) == ("f", {"x": 1}, True)
