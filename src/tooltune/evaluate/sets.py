"""The sets of an evaluation: the main one, which the headline is about, and the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from tooltune.evaluate.samples import HELD_OUT

T = TypeVar("T")

ALL_SETS = "all"


@dataclass(frozen=True, slots=True)
class Sets(Generic[T]):
    """`main_name` is `held_out`, or `all` where no sample is of that set."""

    main_name: str
    main: list[T]
    others: dict[str, list[T]]


def split_sets(samples: Iterable[T], set_of: Callable[[T], str]) -> Sets[T]:
    """Sort samples by the name that `set_of` gives the set of each, `others` in alphabetical order.

    The main set is `held_out`, and the others are apart. Where nothing is held out (a public
    suite) all samples together are the main one, and each set is listed as well.
    """
    listed = list(samples)
    members: dict[str, list[T]] = {}
    for sample in listed:
        members.setdefault(set_of(sample), []).append(sample)
    held_out = members.pop(HELD_OUT, None)
    others = {name: members[name] for name in sorted(members)}
    if held_out is None:
        return Sets(ALL_SETS, listed, others)
    return Sets(HELD_OUT, held_out, others)
