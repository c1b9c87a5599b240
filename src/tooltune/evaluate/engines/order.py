"""Order sequences so that those which share a prefix stand together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def prefix_order(sequences: Sequence[Ints]) -> list[int]:
    """Indices in lexicographic order, a prefix before what it begins: depth-first trie order.

    Big-endian bytes compare like the ids themselves (ids lie in 0 to 2^32 - 1).
    """
    return sorted(range(len(sequences)), key=lambda i: sequences[i].astype(">u4").tobytes())


def shared_prefix(a: Ints, b: Ints) -> int:
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n


def is_prefix(a: Ints, b: Ints) -> bool:
    return shared_prefix(a, b) == len(a)
