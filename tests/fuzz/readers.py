"""Coverage-guided fuzzing of the JSON layer, the file readers and every row format.

    make fuzz SECONDS=600
    python -m tests.fuzz.readers --seconds 600 [--keep FOLDER]

Atheris mutates bytes. They are read as a file of rows, and they also choose damage to a golden
row (which value, replaced by what), so that mutation reaches past the JSON syntax. Whatever comes
out, one of these must hold: a trace that `convert` can write and read back, a `RowError`, or a
`UserError` for a file. Anything else, a hang (10 s an input) or 2 GiB of memory ends the run with
the input that did it in FOLDER.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

try:
    import atheris
except ImportError:
    sys.exit("fuzzing needs the package atheris: pip install 'tooltune[fuzz]'")

with atheris.instrument_imports(include=["tooltune.traces"]):
    from tooltune.errors import UserError
    from tooltune.traces import FORMATS, RowError, Trace, load_traces, read_row
    from tooltune.traces.convert import canonical_line
    from tooltune.traces.jsonio import loads

from tests.traces.formats.test_detection import GOLDEN

_SUFFIXES = (".json", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".json.gz", ".parquet", ".arrow")
_ROWS = [row for rows in GOLDEN.values() for row in rows]
_JUNK: list[Any] = [
    None,
    True,
    -1,
    1e308,
    "",
    "x",
    "{",
    "[]",
    '{"name": "f"}',
    [],
    {},
    [[]],
    "\u2028",
]
_JUNK += [{"name": "f", "arguments": "{}"}, "<tool_call>", "</think>", "f(x=1)", "'", '"', "\\"]

Target = Callable[[bytes], None]


def read_file(data: bytes, folder: Path) -> None:
    """A file of these bytes: every row that is read is accepted or in the ledger."""
    path = folder / f"rows{_SUFFIXES[data[0] % len(_SUFFIXES)]}"
    path.write_bytes(data[1:])
    try:
        traces = load_traces(path)
    except UserError:
        return
    assert traces.rows_read >= len(traces.ledger.rejections)
    for trace in traces:
        _check(trace)


def read_damaged_row(data: bytes) -> None:
    """A golden row with some of its values replaced, in its own and in every other format."""
    random = Random(data)
    row = copy.deepcopy(random.choice(_ROWS))
    for _ in range(random.randint(1, 4)):
        if places := list(_places(row)):
            _damage(*random.choice(places), random, data)
    for name in [None, random.choice(list(FORMATS))]:
        _read(row, name)


def read_value(data: bytes) -> None:
    """These bytes as one JSON value, as a row of any format."""
    try:
        row = loads(data[1:])
    except RowError:
        return
    _read(row, list(FORMATS)[data[0] % len(FORMATS)])
    _read(row, None)


def _read(row: Any, format: str | None) -> None:
    try:
        trace = read_row(row, format)
    except RowError as error:
        assert error.code
        assert error.reason
        return
    _check(trace)


def _check(trace: Trace) -> None:
    assert trace.messages
    canonical_line(trace)  # raises UserError where it would not read back as it is


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        yield value, key
        if isinstance(item, (dict, list)):
            yield from _places(item)


def _damage(holder: Any, key: Any, random: Random, data: bytes) -> None:
    value = holder[key]
    if isinstance(value, str) and random.random() < 0.6:
        cut = random.randrange(len(value) + 1)
        insert = data[:40].decode("utf-8", "ignore").replace("\0", "")
        holder[key] = (
            value[:cut] + random.choice(["", insert, '"', "{", "</tool_call>"]) + value[cut:]
        )
    elif random.random() < 0.3 and isinstance(holder, dict):
        del holder[key]
    elif random.random() < 0.2 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(value))
    else:
        holder[key] = copy.deepcopy(random.choice(_JUNK))


def _target(folder: Path) -> Target:
    def one_input(data: bytes) -> None:
        if len(data) < 2:
            return
        kind, rest = data[0] % 3, data[1:]
        if kind == 0:
            read_file(rest, folder)
        elif kind == 1:
            read_damaged_row(rest)
        else:
            read_value(rest)

    return one_input


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=600, help="how long to fuzz")
    parser.add_argument("--keep", type=Path, help="folder for the corpus and for crashing inputs")
    args = parser.parse_args()
    keep = args.keep or Path(tempfile.mkdtemp(prefix="tooltune-fuzz-"))
    corpus = keep / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    _seed(corpus)
    print(f"fuzzing for {args.seconds} s; inputs that fail go to {keep}", flush=True)
    options = ["-max_len=20000", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]
    options += [f"-max_total_time={args.seconds}", f"-artifact_prefix={keep}/"]
    with tempfile.TemporaryDirectory() as folder:
        atheris.Setup([sys.argv[0], *options, str(corpus)], _target(Path(folder)))
        atheris.Fuzz()


def _seed(corpus: Path) -> None:
    """The golden rows, as values and as files, for mutation to start from."""
    import json

    for i, row in enumerate(_ROWS):
        text = json.dumps(row, ensure_ascii=False).encode()
        (corpus / f"value{i}").write_bytes(b"\x02\x00" + text)
        (corpus / f"lines{i}").write_bytes(b"\x00\x01" + text + b"\n" + text + b"\n")
        (corpus / f"array{i}").write_bytes(b"\x00\x00[" + text + b"," + text + b"]")
        (corpus / f"damage{i}").write_bytes(b"\x01" + str(i).encode())


if __name__ == "__main__":
    main()
