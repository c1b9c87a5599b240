"""Public test suites, read from where their own packages put them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tooltune.errors import UserError
from tooltune.evaluate.suites import bfcl
from tooltune.evaluate.suites.suite import Suite

SUITES: dict[str, Callable[[Sequence[str]], Suite]] = {"bfcl": bfcl.load_samples}
"""What reads the parts of a suite, by the suite's name."""


def load_suite(text: str) -> Suite:
    """The samples of `SUITE:PART,PART…` (`bfcl:simple_python,live_*`), not rendered yet.

    Raises `UserError` for a suite or part that does not exist, and where its package is missing.
    """
    name, _, parts = text.partition(":")
    if name not in SUITES:
        raise UserError(f"no suite {name!r}", fix=f"use one of {', '.join(SUITES)}")
    return SUITES[name]([part.strip() for part in parts.split(",") if part.strip()])
