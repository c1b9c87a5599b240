from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.toolcalls.formats.json_families import calls_with, check_read_back
from tests.toolcalls.formats.json_ways import HERMES
from tests.toolcalls.formats.stock import completion


@pytest.mark.parametrize("model", ["builtin", "qwen2.5", "qwen3"])
@given(data=st.data())
def test_what_the_stock_templates_write_is_read_back(tokenizers, model, data):
    calls = data.draw(calls_with(HERMES.markers))
    text = completion(tokenizers[model], "npm", calls)
    check_read_back(HERMES, text.removeprefix("<|im_start|>assistant\n"), calls)


def test_what_does_not_belong_between_json_and_closer_spoils_the_call():
    text = '<tool_call>{"name": "f", "arguments": {}} {"name": "g"}</tool_call>'
    assert HERMES.statuses(text) == ["invalid_json"]
