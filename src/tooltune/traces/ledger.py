"""The ledger: every row that was read and not used, with the reason."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Rejection:
    """One rejected row: file path or hub id, 0-based row there, stable code, reason in words."""

    file: str
    row: int
    code: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.row}: {self.code}: {self.reason}"


@dataclass(slots=True)
class Ledger:
    """Collects rejections, in the order in which they were made."""

    rejections: list[Rejection] = field(default_factory=list)

    def reject(self, file: str, row: int, code: str, reason: str) -> None:
        self.rejections.append(Rejection(file, row, code, reason))

    def __len__(self) -> int:
        return len(self.rejections)

    def __bool__(self) -> bool:
        return True  # an empty ledger is still a ledger: `ledger or Ledger()` must keep it

    @property
    def counts(self) -> dict[str, int]:
        """Number of rejections by code, the most frequent first."""
        return dict(Counter(rejection.code for rejection in self.rejections).most_common())

    def write(self, path: str | Path) -> None:
        """Write JSON lines, one object per rejection with the keys file, row, code and reason.

        A file name that is not Unicode stays valid JSON: a lone surrogate becomes its escape.
        """
        lines = [json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in self.rejections]
        Path(path).write_bytes("".join(lines).encode("utf-8", "backslashreplace"))
