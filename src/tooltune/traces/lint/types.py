"""What lint says: findings with stable codes, counted exactly, a few of each kept as examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from tooltune.scrub import scrub_shapes
from tooltune.traces.lint.codes import CODES, SEVERITIES, Severity, code_of
from tooltune.traces.types import Source, Trace


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at. `row` is 0-based in `file`; `turn` an index into the messages.

    A finding about the whole set has no file, row and turn; one about a row no turn.
    """

    code: str
    severity: Severity
    file: str | None
    row: int | None
    turn: int | None
    message: str
    fix: str

    @property
    def place(self) -> str:
        """`traces.jsonl:7 messages[3]`, as far as there is one."""
        row = "" if self.row is None else f":{self.row}"
        turn = "" if self.turn is None else f" messages[{self.turn}]"
        return f"{self.file or ''}{row}{turn}".strip()


Check = Callable[[Trace], Iterable[Finding]]
"""Looks at one trace."""


class SetCheck(Protocol):
    """Looks at every trace, one after the other, and says at the end what the whole set shows.

    Must remember little per trace: sets are larger than memory.
    """

    def see(self, trace: Trace) -> Iterable[Finding]:
        """Take in a trace; findings that need no more than what was seen so far."""
        ...

    def finish(self) -> Iterable[Finding]: ...


def found(trace: Trace, code: str, turn: int | None, message: str, fix: str = "") -> Finding:
    """A finding in a trace; without a `fix` of its own the code's. Access keys are masked."""
    file, row = (trace.source.file, trace.source.row) if trace.source else (None, None)
    return Finding(
        code, CODES[code].severity, file, row, turn, scrub_shapes(message), fix or CODES[code].fix
    )


def found_at(place: Source | None, code: str, message: str) -> Finding:
    """A finding about a row that is no longer at hand."""
    file, row = (place.file, place.row) if place else (None, None)
    return Finding(code, CODES[code].severity, file, row, None, message, CODES[code].fix)


def found_in_set(code: str, message: str, fix: str = "") -> Finding:
    return Finding(code, CODES[code].severity, None, None, None, message, fix or CODES[code].fix)


@dataclass(frozen=True, slots=True)
class Findings:
    """All findings of one code. `count` is exact, `rows` how many rows have at least one.

    `examples` are the first ones.
    """

    code: str
    severity: Severity
    count: int
    rows: int
    examples: tuple[Finding, ...]

    @property
    def meaning(self) -> str:
        return code_of(self.code).meaning


@dataclass(frozen=True, slots=True)
class LintReport:
    """What lint found in `traces` traces, worst codes first, of equal ones the most frequent."""

    traces: int
    codes: tuple[Findings, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings by code."""
        return {item.code: item.count for item in self.codes}

    @property
    def by_severity(self) -> dict[Severity, int]:
        """Number of findings by severity, all three always there."""
        return {
            severity: sum(item.count for item in self.codes if item.severity == severity)
            for severity in SEVERITIES
        }

    def reaches(self, threshold: Severity | Literal["never"]) -> bool:
        """Whether there is a finding at least as severe as `threshold`."""
        if threshold == "never":
            return False
        worst = SEVERITIES[: SEVERITIES.index(threshold) + 1]
        return any(item.severity in worst for item in self.codes)

    def to_dict(self) -> dict[str, Any]:
        return {
            "traces": self.traces,
            "by_severity": dict(self.by_severity),
            "counts": self.counts,
            "codes": [
                {
                    "code": item.code,
                    "severity": item.severity,
                    "count": item.count,
                    "rows": item.rows,
                    "meaning": item.meaning,
                    "examples": [asdict(example) for example in item.examples],
                }
                for item in self.codes
            ],
        }


class Tally:
    """Counts findings as they come, in memory that does not grow with them."""

    def __init__(self, examples: int) -> None:
        self._keep = examples
        self._counts: dict[str, int] = {}
        self._rows: dict[str, int] = {}
        self._last: dict[str, tuple[str | None, int | None]] = {}
        self._severity: dict[str, Severity] = {}
        self._examples: dict[str, list[Finding]] = {}

    def add(self, finding: Finding) -> None:
        """Count a finding. Those of one row must come together for `rows` to be right."""
        code, place = finding.code, (finding.file, finding.row)
        self._severity.setdefault(code, finding.severity)
        self._counts[code] = self._counts.get(code, 0) + 1
        if finding.row is not None and self._last.get(code) != place:
            self._rows[code] = self._rows.get(code, 0) + 1
            self._last[code] = place
        examples = self._examples.setdefault(code, [])
        if len(examples) < self._keep:
            examples.append(finding)

    def report(self, traces: int) -> LintReport:
        return LintReport(traces, tuple(self._sorted()))

    def _sorted(self) -> Iterator[Findings]:
        def rank(code: str) -> tuple[int, int]:
            return SEVERITIES.index(self._severity[code]), -self._counts[code]

        for code in sorted(self._counts, key=rank):
            count, rows = self._counts[code], self._rows.get(code, 0)
            yield Findings(code, self._severity[code], count, rows, tuple(self._examples[code]))
