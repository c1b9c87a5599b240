"""What a suite gives: samples to ask, and what had to be left out."""

from __future__ import annotations

from typing import NamedTuple

from tooltune.evaluate.samples import EvalSample


class Suite(NamedTuple):
    """`samples` are not rendered yet; `excluded` are (id, reason) of questions nobody can meet."""

    samples: list[EvalSample]
    excluded: list[tuple[str, str]]
