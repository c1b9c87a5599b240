"""Tell whether the weights at a path are still the same, without reading all of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

_BLOCKS = 64
_BLOCK_BYTES = 1 << 16
_SUFFIXES = (".safetensors", ".bin", ".pt", ".gguf")


def weights_fingerprint(directory: Path) -> str:
    """16 hexadecimal digits of the weight files of a model directory.

    Of each file its name, size, and 64 blocks of 64 KiB spread over it (the whole of a file under
    4 MiB). Training changes weights everywhere, so a step of it shows; one changed byte may not.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in directory.iterdir() if p.suffix in _SUFFIXES):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for start in _starts(size):
                file.seek(start)
                digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()[:16]


def _starts(size: int) -> list[int]:
    if size <= _BLOCKS * _BLOCK_BYTES:
        return list(range(0, size, _BLOCK_BYTES))
    return [i * (size - _BLOCK_BYTES) // (_BLOCKS - 1) for i in range(_BLOCKS)]
