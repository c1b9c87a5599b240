"""Bytes of local files, plain or compressed; what is on disk, not the name, decides how.

gzip is RFC 1952, zstd RFC 8878. A compressed stream that ends early or is damaged is an error that
tells how far it could be read, never a silent end.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from tooltune.errors import UserError

Kind = Literal["plain", "gzip", "zstd", "parquet", "arrow file", "arrow stream"]

_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow file"),
    (b"\xff\xff\xff\xff", "arrow stream"),
)
_UNREAD: dict[bytes, tuple[str, str]] = {
    b"PK\x03\x04": ("a zip archive", "unpack it, and give the files in it"),
    b"BZh": ("compressed with bzip2", "unpack it: bunzip2 FILE"),
    b"\xfd7zXZ": ("compressed with xz", "unpack it: unxz FILE"),
    b"version https://git-lfs": ("a Git LFS pointer, not the data", "fetch the data: git lfs pull"),
}
_SUFFIXES: dict[str, tuple[Kind, ...]] = {
    ".gz": ("gzip",),
    ".zst": ("zstd",),
    ".zstd": ("zstd",),
    ".parquet": ("parquet",),
    ".arrow": ("arrow file", "arrow stream"),
    ".feather": ("arrow file",),
}


def kind_of(path: Path) -> Kind:
    """What a file is by its first bytes. Raises `UserError` for what its name does not promise."""
    with path.open("rb") as stream:
        begin = stream.read(32)
    if not begin:
        raise UserError(f"{path} is empty", fix="give a file that holds at least one row")
    for magic, (what, fix) in _UNREAD.items():
        if begin.startswith(magic):
            raise UserError(f"{path} is {what}", fix=fix)
    kind: Kind = next((kind for magic, kind in _MAGIC if begin.startswith(magic)), "plain")
    promised = _SUFFIXES.get(path.suffix.lower())
    if promised is not None and kind not in promised:
        raise UserError(
            f"{path} is named {path.suffix} but does not begin as such a file does",
            fix="fetch or write it again, or give it the name of what it holds",
        )
    return kind


def stem_suffix(path: Path) -> str:
    """The suffix that says what the bytes hold: `.jsonl` of `a.jsonl` and of `a.jsonl.gz`."""
    inner = Path(path.stem) if path.suffix.lower() in (".gz", ".zst", ".zstd") else path
    return inner.suffix.lower()


@contextmanager
def open_bytes(path: Path, kind: Kind) -> Iterator[IO[bytes]]:
    """Open a plain, gzip or zstd file for reading in order: `read(n)`, `readline(n)`, iteration."""
    if kind == "gzip":
        with gzip.open(path, "rb") as stream:
            yield stream  # type: ignore[misc]
    elif kind == "zstd":
        import pyarrow as pa

        with pa.input_stream(str(path), compression="zstd") as inner:
            yield io.BufferedReader(inner, 1 << 20)
    else:
        with path.open("rb") as stream:
            yield stream
