"""Safe repairs: what they change was learnt from by nobody, or said twice.

None of them touches what a remaining turn says or calls. `toolcalls.fix` has the one that does:
it needs schemas to know that it is right.
"""

from __future__ import annotations

from dataclasses import replace

from tooltune.traces.lint.calls import repeated_tools, same_json
from tooltune.traces.lint.conversation import last_answer
from tooltune.traces.lint.copies import Seen
from tooltune.traces.lint.rewrite import Change, Rewrite
from tooltune.traces.types import Trace


def cut_end(trace: Trace) -> tuple[Trace, list[Change]]:
    """Cut the messages behind the last assistant turn: prompts of nothing."""
    end = last_answer(trace) + 1
    if end == len(trace.messages) or not trace.turns:
        return trace, []
    changes = [
        Change("fixed_trailing_message", f"messages[{i}] ({trace.messages[i].role}) cut")
        for i in range(end, len(trace.messages))
    ]
    return replace(trace, messages=trace.messages[:end], id=""), changes


def merge_tools(trace: Trace) -> tuple[Trace, list[Change]]:
    """Keep the first of definitions that are alike."""
    gone = [
        (first, later)
        for first, later in repeated_tools(trace.tools)
        if same_json(trace.tools[first].function, trace.tools[later].function)
    ]
    if not gone:
        return trace, []
    dropped = {later for _, later in gone}
    tools = tuple(tool for i, tool in enumerate(trace.tools) if i not in dropped)
    changes = [
        Change("fixed_duplicate_tool", f"tools[{later}] dropped: it is tools[{first}]")
        for first, later in gone
    ]
    return replace(trace, tools=tools, id=""), changes


class DropDuplicates:
    """Keeps the first of equal rows. Comes behind other repairs: they may make rows equal."""

    def __init__(self) -> None:
        self._seen = Seen()

    def __call__(self, trace: Trace) -> tuple[Trace | None, list[Change]]:
        earlier = self._seen.earlier(trace)
        if earlier is None:
            return trace, []
        return None, [Change("fixed_duplicate_trace", f"the row is left out: it equals {earlier}")]


def repairs() -> list[Rewrite]:
    """The repairs of one pass, in their order; each pass needs its own."""
    return [cut_end, merge_tools, DropDuplicates()]
