"""What every format test asks of a trace."""

from __future__ import annotations

import json

from tooltune.traces import Trace, read_row


def assert_same(read: Trace, expected: Trace) -> None:
    """Equal in every value, type and key order, and equal again after the canonical row."""
    assert read == expected
    assert json.dumps(read.to_openai()) == json.dumps(expected.to_openai())
    again = read_row(json.loads(json.dumps(read.to_openai())), "openai")
    assert again == read
    assert again.content_id == read.content_id
