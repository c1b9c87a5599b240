"""What the checkpoints of a run need of its processes; a single one needs nothing of the kind.

Apart from `parallel.world`, so that a program that only reads checkpoints imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

_T = TypeVar("_T")


class Meeting(Protocol):
    """The part of `parallel.world.World` that checkpoints use. Every rank calls every method."""

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def is_main(self) -> bool: ...
    @property
    def group(self) -> Any:
        """torch's process group for these meetings; None is its default one."""

    def gather(self, item: _T) -> list[_T] | None: ...
    def broadcast(self, item: _T) -> _T: ...
    def agree(self, error: BaseException | None, doing: str) -> None: ...
    def apart(self) -> Meeting: ...


@dataclass(frozen=True, slots=True)
class Alone:
    """One process: it has every item, is told every item, and fails by itself."""

    rank: int = 0
    size: int = 1
    is_main: bool = True
    group: None = None

    def gather(self, item: _T) -> list[_T]:
        return [item]

    def broadcast(self, item: _T) -> _T:
        return item

    def agree(self, error: BaseException | None, doing: str) -> None:
        if error is not None:
            raise error

    def apart(self) -> Alone:
        return self


ALONE = Alone()
