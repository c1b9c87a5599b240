"""The guide as data: `docs/guide.in.md` is text and blocks, `docs/guide.md` is that and outputs.

A block's info string says what is done with it:

    ```bash              run by bash
    ```python            run by python
    ```yaml file=NAME    written to NAME in the working folder
    ```bash no-run       only shown; the text must say why

`head=N` and `tail=M` shorten a long output to its first and last lines, `as=markdown` puts it on
the page as it is. A block ```text is an output, and so never stands in the source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_FENCE = re.compile(r"^```(?P<language>\w+)(?P<options>.*)$")
_HEADING = re.compile(r"^## (?:Step (?P<number>\d+)|(?P<word>\w+))")
_PRINTED = re.compile(
    r"\n(?P<fence>`{3,})text\n.*?\n(?P=fence)\n|\n<!-- printed -->\n.*?\n<!-- end -->\n", re.DOTALL
)
_RECORDED = re.compile(r"<!-- recorded -->\n.*?<!-- end of record -->\n", re.DOTALL)
RECORD = "<!-- recorded -->\n"  # where the source wants the account of the run


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of the source. `step` is the number or first word of the heading above it."""

    language: str
    code: str
    step: str
    line: int
    no_run: bool = False
    file: str = ""
    head: int = 0
    tail: int = 0
    markdown: bool = False

    @property
    def name(self) -> str:
        """`step 4, line 120 (bash)`, for messages."""
        return f"step {self.step}, line {self.line} ({self.language})"

    @property
    def runs(self) -> bool:
        return self.language in ("bash", "python") and not self.no_run


Part = str | Block


def parse(source: str) -> list[Part]:
    """The text and the blocks of a source in order.

    Raises: ValueError for a block that is not closed, an option that does not exist, an output.
    """
    parts: list[Part] = []
    text: list[str] = []
    step = ""
    lines = iter(enumerate(source.splitlines(), start=1))
    for number, line in lines:
        if heading := _HEADING.match(line):
            step = heading["number"] or heading["word"].lower()
        fence = _FENCE.match(line)
        if fence is None:
            text.append(line)
            continue
        if fence["language"] == "text":
            raise ValueError(f"line {number}: a text block is an output, and has no place here")
        code: list[str] = []
        for _, inner in lines:
            if inner == "```":
                break
            code.append(inner)
        else:
            raise ValueError(f"line {number}: the block is not closed")
        parts.append("".join(f"{line}\n" for line in text))
        text = []
        options = _read_options(fence["options"], number)
        parts.append(Block(fence["language"], "\n".join(code), step, number, **options))
    return [*parts, "".join(f"{line}\n" for line in text)]


def _read_options(text: str, line: int) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        match name:
            case "no-run":
                options["no_run"] = True
            case "file":
                options["file"] = value
            case "head" | "tail":
                options[name] = int(value)
            case "as" if value == "markdown":
                options["markdown"] = True
            case _:
                raise ValueError(f"line {line}: a block has no option {word!r}")
    return options


def blocks_of(parts: Sequence[Part]) -> list[Block]:
    return [part for part in parts if isinstance(part, Block)]


def render(parts: Sequence[Part], outputs: Mapping[int, str], record: str = "") -> str:
    """The page; `outputs` by the line of their block, `record` the account of the run."""
    page = ""
    for part in parts:
        if isinstance(part, str):
            page += part
            continue
        page += f"```{part.language}\n{part.code}\n```\n"
        if printed := outputs.get(part.line):
            page += _shown(part, printed)
    return page.replace(RECORD, f"{RECORD}{record}<!-- end of record -->\n", 1)


def _shown(block: Block, printed: str) -> str:
    text = shortened(printed.rstrip("\n"), block.head, block.tail)
    if block.markdown:
        return f"\n<!-- printed -->\n{text}\n<!-- end -->\n"
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"\n{fence}text\n{text}\n{fence}\n"


def shortened(text: str, head: int, tail: int) -> str:
    """The first and last lines, with the number of those between; all of them where both are 0."""
    lines = text.splitlines()
    left_out = len(lines) - head - tail
    if not (head or tail) or left_out <= 1:
        return text
    return "\n".join([*lines[:head], f"[… {left_out} lines]", *lines[len(lines) - tail :]])


def outputs_of(page: str, parts: Sequence[Part]) -> dict[int, str]:
    """What stands on `page` behind each block, by the block's line; for pages of this source."""
    found: dict[int, str] = {}
    at = 0
    for block in blocks_of(parts):
        shown = f"```{block.language}\n{block.code}\n```\n"
        start = page.find(shown, at)
        if start < 0:
            continue
        at = start + len(shown)
        if printed := _PRINTED.match(page, at):
            inner = printed.group().strip("\n").split("\n")[1:-1]
            found[block.line] = "\n".join(inner)
    return found


def without_outputs(page: str) -> str:
    """The page less all that a run put there: it equals `render(parse(source), {})`."""
    return _PRINTED.sub("", _RECORDED.sub(f"{RECORD}<!-- end of record -->\n", page))
