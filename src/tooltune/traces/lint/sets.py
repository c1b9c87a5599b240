"""Checks of a whole set: what only shows when all rows were seen. Each keeps little per row."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from tooltune.traces.jsonio import show
from tooltune.traces.lint.copies import Copies, Sources
from tooltune.traces.lint.types import Finding, SetCheck, found_at, found_in_set
from tooltune.traces.texts import trace_texts
from tooltune.traces.types import Trace

_FEWEST_LENGTHS = 20  # rows below which no length is called odd
_ODD = 3.5  # robust z of the logarithm from which a length is odd, as its source recommends
_GIANT = 10  # times the median: odd too, for one percent of the rows at most
_FEWEST_CALLS = 50
_FEWEST_TOOLS = 4
_MOST_CALLS = 0.5  # share of all calls that one of many tools may have
_SHOWN = 5


class Lengths:
    """Rows whose length, in bytes of UTF-8, is far from the others'.

    Robust z of the logarithm, 0.6745 (x - median) / MAD (Iglewicz and Hoaglin, 1993, "How to
    Detect and Handle Outliers"): lengths are skewed, and one giant must not hide another. In a
    mixture of short and long rows nothing is odd by that, so giants are told apart beside it.
    """

    def __init__(self) -> None:
        self._lengths = array("q")
        self._sources = Sources()

    def see(self, trace: Trace) -> Iterable[Finding]:
        self._lengths.append(sum(len(text.text.encode()) for text in trace_texts(trace)))
        self._sources.add(trace.source)
        return ()

    def finish(self) -> Iterator[Finding]:
        if len(self._lengths) < _FEWEST_LENGTHS:
            return
        lengths = np.array(self._lengths)
        logs = np.log1p(lengths)
        median = float(np.median(logs))
        mad = float(np.median(np.abs(logs - median)))
        middle = float(np.expm1(median))
        odd = (lengths > _GIANT * middle) & (lengths >= np.percentile(lengths, 99))
        if mad > 0:
            odd |= 0.6745 * np.abs(logs - median) > _ODD * mad
        for number in np.flatnonzero(odd):
            text = f"{int(lengths[number]):,} bytes of text, the median is {round(middle):,}"
            yield found_at(self._sources[int(number)], "outlier_length", text)


class ToolUse:
    """Tools that have most calls or none, sets that never or always call."""

    def __init__(self) -> None:
        self._rows = 0
        self._calls: Counter[str] = Counter()
        self._defined: set[str] = set()
        self._offered = 0  # questions asked with tools at hand
        self._called = 0  # of these, answered by a call

    def see(self, trace: Trace) -> Iterable[Finding]:
        self._rows += 1
        self._defined.update(tool.name for tool in trace.tools)
        for before, message in zip(trace.messages, trace.messages[1:], strict=False):
            self._calls.update(call.name for call in message.tool_calls)
            if trace.tools and before.role == "user" and message.role == "assistant":
                self._offered += 1
                self._called += bool(message.tool_calls)
        return ()

    def finish(self) -> Iterator[Finding]:
        total = self._calls.total()
        if self._rows and not total:
            yield found_in_set("no_calls", f"no call in {self._rows:,} rows")
            return
        if self._called >= _FEWEST_CALLS and self._called == self._offered:
            text = f"each of {self._offered:,} questions asked with tools at hand"
            yield found_in_set("always_calls", text)
        if total < _FEWEST_CALLS:
            return  # too few calls to show a habit
        names = self._defined | set(self._calls)
        if len(names) >= _FEWEST_TOOLS:
            name, count = self._calls.most_common(1)[0]
            if count > _MOST_CALLS * total:
                text = f"{show(name)} has {count:,} of {total:,} calls ({len(names)} tools)"
                yield found_in_set("tool_imbalance", text)
        never = sorted(self._defined - set(self._calls))
        if never:
            shown = ", ".join(map(show, never[:_SHOWN])) + (", ..." if never[_SHOWN:] else "")
            text = f"{len(never):,} of {len(self._defined):,} tools: {shown}"
            yield found_in_set("tools_never_called", text)


class Reasoning:
    """Sets in which some rows reason and others do not."""

    def __init__(self) -> None:
        self._rows = 0
        self._reasoning = 0

    def see(self, trace: Trace) -> Iterable[Finding]:
        self._rows += 1
        self._reasoning += any((m.reasoning or "").strip() for m in trace.messages)
        return ()

    def finish(self) -> Iterator[Finding]:
        if 0 < self._reasoning < self._rows:
            text = f"{self._reasoning:,} of {self._rows:,} rows have reasoning"
            yield found_in_set("reasoning_in_part_of_set", text)


SET_CHECKS: dict[str, Callable[[], SetCheck]] = {
    "copies": Copies,
    "lengths": Lengths,
    "tool_use": ToolUse,
    "reasoning": Reasoning,
}
