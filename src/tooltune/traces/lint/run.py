"""One pass over traces, of any number, and what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tooltune.traces.ledger import Ledger
from tooltune.traces.lint import calls, conversation, secrets, settings
from tooltune.traces.lint.codes import code_of
from tooltune.traces.lint.sets import SET_CHECKS
from tooltune.traces.lint.types import Check, Finding, LintReport, SetCheck, Tally
from tooltune.traces.types import Trace

CHECKS: dict[str, Check] = {
    "turns": conversation.check_turns,
    "end": conversation.check_end,
    "results": conversation.check_results,
    "repetition": conversation.check_repetition,
    "control_strings": conversation.check_control_strings,
    "reasoning": conversation.check_reasoning,
    "tools_called": calls.check_tools_called,
    "repeated_calls": calls.check_repeated_calls,
    "definitions": calls.check_definitions,
    "placeholders": calls.check_placeholders,
    "tool_choice": settings.check_tool_choice,
    "parallel_calls": settings.check_parallel_calls,
    "response_format": settings.check_response_format,
    "secrets": secrets.check_secrets,
}
"""Checks of one trace. Those that need schemas are in `toolcalls.lint`, the template's in
`render.lint`."""

SetChecks = Mapping[str, Callable[[], SetCheck]]


def lint(
    traces: Iterable[Trace],
    *,
    checks: Mapping[str, Check] = CHECKS,
    set_checks: SetChecks = SET_CHECKS,
    ledger: Ledger | None = None,
    examples: int = 10,
) -> LintReport:
    """Look at every trace once, in order; memory does not grow with the traces' size.

    `ledger`: its rejected rows are findings too, under their own codes; it is read behind the
    traces, since reading them may fill it. `examples`: how many findings of a code are kept.
    """
    tally, number = Tally(examples), 0
    wholes = [make() for make in set_checks.values()]
    for trace in traces:
        number += 1
        for finding in findings_of(trace, checks):
            tally.add(finding)
        for whole in wholes:
            for finding in whole.see(trace):
                tally.add(finding)
    for whole in wholes:
        for finding in whole.finish():
            tally.add(finding)
    for finding in rejected_rows(ledger or Ledger()):
        tally.add(finding)
    return tally.report(number)


def findings_of(trace: Trace, checks: Mapping[str, Check] = CHECKS) -> Iterable[Finding]:
    """The findings of one trace."""
    return (finding for check in checks.values() for finding in check(trace))


def rejected_rows(ledger: Ledger) -> Iterable[Finding]:
    """The rejections of a ledger as findings."""
    for item in ledger.rejections:
        code = code_of(item.code)
        row = item.row if item.row >= 0 else None
        file = item.file or None
        yield Finding(item.code, code.severity, file, row, None, item.reason, code.fix)
