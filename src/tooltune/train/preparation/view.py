"""Some traces of a store, in some order: what training and evaluation read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from tooltune.render.turns import RenderedTrace
from tooltune.traces.identity import TraceKey
from tooltune.train.preparation.store import Store


class PreparedTraces(Sequence[RenderedTrace]):
    """A sequence whose items are decoded each time they are asked for, and not kept.

    `keys` are the items' keys, and say under which ids and groups they appear. `forest_tokens`,
    `flat_tokens`, `lengths` and `targets` are known without decoding: arrays of one number an item.
    """

    def __init__(self, store: Store, rows: NDArray[np.int64], keys: Sequence[TraceKey]) -> None:
        assert len(rows) == len(keys)
        self._store = store
        self._rows = rows
        self.keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> RenderedTrace: ...
    @overload
    def __getitem__(self, index: slice) -> PreparedTraces: ...
    def __getitem__(self, index: int | slice) -> RenderedTrace | PreparedTraces:
        if isinstance(index, slice):
            return PreparedTraces(self._store, self._rows[index], self.keys[index])
        return self._store.read(int(self._rows[index]), self.keys[index])

    def __repr__(self) -> str:
        return f"PreparedTraces({len(self)} of {self._store.folder})"

    @property
    def forest_tokens(self) -> NDArray[np.int64]:
        """Distinct tokens of each trace's trained turns, merged alone."""
        return self._numbers("forest")

    @property
    def flat_tokens(self) -> NDArray[np.int64]:
        """Tokens of each trace's trained turns as sequences of their own."""
        return self._numbers("flat")

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each trace's longest turn, prompt and completion."""
        return self._numbers("length")

    @property
    def tools(self) -> frozenset[str]:
        """The names of all tools that the traces had."""
        return self._store.tools(self._rows)

    @property
    def targets(self) -> NDArray[np.int64]:
        return self._numbers("targets")

    def _numbers(self, column: str) -> NDArray[np.int64]:
        return self._store.numbers(column)[self._rows].astype(np.int64)
