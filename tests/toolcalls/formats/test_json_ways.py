"""What holds for every way of writing calls in JSON, whatever the family."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toolcalls.formats.json_families import (
    TRAPS,
    calls_with,
    check_noise,
    check_read_back,
    noise,
)
from tests.toolcalls.formats.json_ways import WAYS

each_way = pytest.mark.parametrize("way", WAYS)


@each_way
@settings(max_examples=25)
@given(data=st.data(), ascii_only=st.booleans())
def test_written_calls_are_read_back_whatever_their_strings_hold(way, data, ascii_only):
    family = WAYS[way]
    calls = data.draw(calls_with(family.markers))
    check_read_back(family, family.write(calls, ascii_only), calls)


@each_way
@pytest.mark.parametrize("trap", TRAPS)
def test_each_trap_has_its_outcome(way, trap):
    TRAPS[trap](WAYS[way])


@each_way
@settings(max_examples=50)
@given(data=st.data())
def test_no_text_makes_a_parser_raise_and_every_span_is_the_raw_text(way, data):
    check_noise(WAYS[way], data.draw(noise(WAYS[way].markers)))
