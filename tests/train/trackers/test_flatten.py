from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tooltune.train.trackers.flatten import flat_config, scalars

LEAVES = st.one_of(
    st.floats(), st.integers(), st.integers(2**1023, 2**1030), st.booleans(), st.none(), st.text()
)
NAMES = st.text("abcdef", min_size=1, max_size=3)
RECORDS = st.dictionaries(
    NAMES,
    st.recursive(
        LEAVES,
        lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=2),
    ),
    max_size=6,
)


def numbers(value: Any) -> list[float]:
    if isinstance(value, Mapping):
        return [number for item in value.values() for number in numbers(item)]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return []
    try:
        return [float(value)]
    except OverflowError:
        return [math.inf]


@given(RECORDS)
def test_every_finite_number_is_kept_and_every_other_one_counted(record: dict[str, Any]) -> None:
    values = scalars({"step": 3, "kind": "val", **record})
    bad = values.pop("val/non_finite", 0.0)
    found = numbers(record)
    assert sorted(values.values()) == sorted(n for n in found if math.isfinite(n))
    assert bad == sum(not math.isfinite(n) for n in found)


@given(st.dictionaries(st.text(max_size=300), st.floats(allow_nan=False, allow_infinity=False)))
def test_every_name_is_one_that_the_strictest_tracker_takes(record: dict[str, float]) -> None:
    for name in scalars({"kind": "tool_call", **record}):
        assert re.fullmatch(r"[\w\-./ ]{1,250}", name)
        assert posixpath.normpath(name) == name
        assert not name.startswith(("/", ".."))


def test_a_training_line_becomes_names_by_kind() -> None:
    record = {"step": 3, "epoch": 0.5, "kind": "train", "loss": 1.5, "tokens": 100, "note": "x"}
    assert scalars(record) == {"epoch": 0.5, "train/loss": 1.5, "train/tokens": 100.0}


def test_names_that_carry_their_kind_and_nested_ones_are_joined_once() -> None:
    record = {
        "step": 3,
        "kind": "tool_call",
        "tool_call/accuracy": 0.5,
        "tool_call/api/accuracy": 0.25,
        "seconds": 2,
        "by_tool": {"get weather": {"accuracy": 1.0}, "a:b": {"accuracy": 0.0}},
    }
    assert scalars(record) == {
        "tool_call/accuracy": 0.5,
        "tool_call/api/accuracy": 0.25,
        "tool_call/seconds": 2.0,
        "tool_call/by_tool/get weather/accuracy": 1.0,
        "tool_call/by_tool/a_b/accuracy": 0.0,
    }


def test_what_the_metrics_file_could_not_hold_is_counted() -> None:
    line = {"step": 1, "kind": "val", "loss": None, "non_finite": {"loss": "nan"}}
    assert scalars(line) == {"val/non_finite": 1.0}


def test_a_config_is_flat_text() -> None:
    config = {"optimizer": {"lr": 1e-4, "betas": [0.9, 0.95]}, "peft": None, "seed": 0}
    assert flat_config(config) == {
        "optimizer.lr": "0.0001",
        "optimizer.betas": "[0.9, 0.95]",
        "peft": "null",
        "seed": "0",
    }
