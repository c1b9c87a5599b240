"""Arrow arrays from and to numpy, by their buffers.

pyarrow's own conversions (`pa.array`, `to_numpy`) import pandas wherever it is installed: a second
of every start, and fifty megabytes of every worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_TYPES = {"int32": pa.int32(), "int64": pa.int64(), "float64": pa.float64()}


def numbers(values: NDArray[Any]) -> pa.Array:
    """An int32, int64 or float64 array."""
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(_TYPES[values.dtype.name], len(values), [None, data])


def lists(rows: Sequence[NDArray[Any]], dtype: type[np.generic]) -> pa.Array:
    """One list of numbers a row."""
    values = numbers(np.concatenate([np.empty(0, dtype), *rows]).astype(dtype))
    offsets = _offsets([len(row) for row in rows])
    type = pa.list_(values.type)
    return pa.Array.from_buffers(type, len(rows), [None, offsets], children=[values])


def binary(rows: Sequence[bytes]) -> pa.Array:
    data = pa.py_buffer(b"".join(rows))
    offsets = _offsets([len(row) for row in rows])
    return pa.Array.from_buffers(pa.binary(), len(rows), [None, offsets, data])


def strings(rows: Sequence[str]) -> pa.Array:
    """Text; a lone surrogate (a file name that is no Unicode) is let pass."""
    return binary([row.encode("utf-8", "surrogatepass") for row in rows])


def text_list(column: pa.ChunkedArray) -> list[str]:
    """What was given to `strings`."""
    return [row.decode("utf-8", "surrogatepass") for row in column.to_pylist()]


def array_of(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column of numbers without nulls; a view of the mapped file where it is one piece."""
    pieces = [view(chunk) for chunk in column.chunks]
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate([np.empty(0, column.type.to_pandas_dtype()), *pieces])


def view(array: pa.Array) -> NDArray[Any]:
    """Numbers without nulls as numpy sees them, not copied."""
    dtype = np.dtype(array.type.to_pandas_dtype())
    _, data = array.buffers()
    if len(array) == 0 or data is None:
        return np.empty(0, dtype)
    return np.frombuffer(data, dtype, len(array), array.offset * dtype.itemsize)


def _offsets(lengths: Sequence[int]) -> pa.Buffer:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    assert offsets[-1] < 2**31, "a chunk of more than 2 GiB"
    return pa.py_buffer(offsets.astype(np.int32))
