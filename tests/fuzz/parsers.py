"""Fuzz every parser of generated text, coverage-guided: `make fuzz`.

`python -m tests.fuzz.parsers [--seconds 600] [--keep FOLDER]`. The fuzzer's bytes choose a family,
a mode and whether tools are known, and are then read as text; they also choose how the turns that
each family writes are cut and put together, so that mutation reaches past the markers. Whatever
comes out must be legal records. Anything else, a hang (10 s an input) or 2 GiB of memory ends the
run with the input that did it in FOLDER.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, get_args

try:
    import atheris
except ImportError:
    sys.exit("fuzzing needs the package atheris: pip install 'tooltune[fuzz]'")

with atheris.instrument_imports(include=["tooltune.toolcalls"]):
    from tooltune.toolcalls import ParsedTurn, parse_turn
    from tooltune.toolcalls.parse import FORMATS
    from tooltune.toolcalls.types import Status

from tests.toolcalls.families import MARKERS, Call, tools_for
from tests.toolcalls.ways import WAYS

_CALLS: list[list[Call]] = [
    [("f", {"a": "x </tool_call> }", "b": [1, {"c": None}], "d": -1.5})],
    [("f", {"a": "it's"}), ("g", {}), ("f", {"a": True})],
]
_TURNS = [way.write(calls) for way in WAYS.values() for calls in _CALLS]
_PIECES = [*MARKERS, *dict.fromkeys(mark for way in WAYS.values() for mark in way.marks)]
_TOOLS = tools_for([call for calls in _CALLS for call in calls])
_NAMES = [None, *FORMATS]
_STATUSES = frozenset(get_args(Status))


def check_turn(text: str, turn: ParsedTurn) -> None:
    """What holds for every text."""
    for call in turn.calls:
        start, end = call.span
        assert 0 <= start <= end <= len(text), "a span outside the text"
        assert call.raw == text[start:end], "a raw text that is not that of the span"
        assert call.status in _STATUSES
        assert call.arguments_valid_json or call.arguments == {}
        assert call.status not in ("ok", "unknown_tool") or call.name
        assert isinstance(call.arguments, dict)
        json.dumps(call.arguments, allow_nan=False)
    for before, behind in pairwise(turn.calls):
        assert before.span[1] <= behind.span[0], "spans that overlap"
    assert turn.format is None or turn.format in FORMATS


def read_text(text: str, format: str | None, tools: list[dict[str, Any]] | None) -> None:
    """The text under both modes; what `recover` returns has all that `strict` read."""
    strict = parse_turn(text, format, tools)
    check_turn(text, strict)
    recovered = parse_turn(text, format, tools, "recover")
    check_turn(text, recovered)
    assert len(recovered.calls) >= len(strict.calls)
    assert sum(c.status == "ok" for c in recovered.calls) >= sum(
        c.status == "ok" for c in strict.calls
    )


def put_together(random: Random) -> str:
    """Turns of the families, cut and mixed with their marks."""
    parts: list[str] = []
    for _ in range(random.randint(1, 4)):
        turn = random.choice(_TURNS)
        parts.append(turn[: random.randrange(len(turn) + 1)] if random.random() < 0.5 else turn)
        parts += random.choices(_PIECES, k=random.randint(0, 2))
    text = "".join(parts)
    for _ in range(random.randint(0, 3)):
        at = random.randrange(len(text) + 1)
        text = text[:at] + random.choice(_PIECES) + text[at + random.randint(0, 5) :]
    return text


def one_input(data: bytes) -> None:
    """A family, tools or none, and a text, all of these bytes' choosing."""
    if len(data) < 3:
        return
    name = _NAMES[data[0] % len(_NAMES)]
    tools = _TOOLS if data[1] % 2 else None
    text = put_together(Random(data)) if data[1] & 2 else data[2:].decode("utf-8", "ignore")
    read_text(text, name, tools)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600, help="how long to fuzz")
    parser.add_argument("--keep", type=Path, help="folder for the corpus and for crashing inputs")
    args = parser.parse_args()
    keep = args.keep or Path(tempfile.mkdtemp(prefix="tooltune-fuzz-"))
    corpus = keep / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for i, turn in enumerate(_TURNS):  # for mutation to start from
        family = _NAMES.index(list(WAYS.values())[i // len(_CALLS)].format)
        for known in (0, 1):
            (corpus / f"turn{i}-{known}").write_bytes(bytes([family, known]) + turn.encode())
    print(f"fuzzing for {args.seconds} s; inputs that fail go to {keep}", flush=True)
    options = ["-max_len=4000", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]
    options += [f"-max_total_time={args.seconds}", f"-artifact_prefix={keep}/"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
