"""Lint: what in traces is wrong or odd before anything is learnt from it."""

from tooltune.traces.lint.codes import CODES, SEVERITIES, Code, Severity
from tooltune.traces.lint.run import CHECKS, findings_of, lint
from tooltune.traces.lint.sets import SET_CHECKS
from tooltune.traces.lint.types import Check, Finding, Findings, LintReport, SetCheck

__all__ = [
    "CHECKS",
    "CODES",
    "SET_CHECKS",
    "SEVERITIES",
    "Check",
    "Code",
    "Finding",
    "Findings",
    "LintReport",
    "SetCheck",
    "Severity",
    "findings_of",
    "lint",
]
