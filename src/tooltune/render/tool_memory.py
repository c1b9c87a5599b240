"""Tool lists as templates get them, made once for each that a data set has."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tooltune.render.injection import ControlStrings, Found, find_controls, strings_of_tools
from tooltune.render.messages import tools_to_template
from tooltune.traces.types import Tool

_REMEMBERED = 256  # tool lists


@dataclass(frozen=True, slots=True)
class ShownTools:
    """A tool list in plain types, None where it is empty, and the control strings that it holds."""

    plain: list[dict[str, Any]] | None
    found: Found


class ToolMemory:
    """Remembers tool lists by value: rows of a data set share them, and schemas are long.

    Equal lists are the same object too, so that what depends on it need not look into it.
    """

    def __init__(self, controls: ControlStrings) -> None:
        self._controls = controls
        self._known: OrderedDict[str, ShownTools] = OrderedDict()

    def shown(self, tools: Sequence[Tool]) -> ShownTools:
        key = json.dumps([tool.function for tool in tools])
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        found = find_controls(strings_of_tools(tools), self._controls)
        self._known[key] = ShownTools(tools_to_template(tools), found)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return self._known[key]
