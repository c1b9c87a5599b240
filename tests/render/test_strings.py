from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tooltune.render.strings import any_of

LITTLE = st.text("ab<]^-\\\n", min_size=1, max_size=4)


@given(strings=st.sets(LITTLE, max_size=8), text=st.text("ab<]^-\\\n", max_size=40))
def test_a_trie_finds_what_trying_the_longest_string_first_finds(
    strings: set[str], text: str
) -> None:
    longest_first = sorted(strings, key=lambda string: (-len(string), string))
    naive = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
    found = [match.span() for match in any_of(strings).finditer(text)]
    assert found == [match.span() for match in naive.finditer(text)]


def test_ten_thousand_strings_cost_no_more_than_a_few() -> None:
    many = any_of([f"<token_{i}>" for i in range(10_000)] + ["\n" * n for n in range(1, 32)])
    text = "an ordinary text " * 5_000 + "<token_9999>"
    (match,) = many.finditer(text)
    assert match.group() == "<token_9999>"
