"""Where a command writes: a place that cannot be written is one message, before the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from tooltune.cli.output import command_line
from tooltune.errors import UserError


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """A block that writes `place`. Raises UserError with the system's reason where it cannot."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{place} cannot be written: {error.strerror or error}",
            fix="give another place, or make room or the right to write there",
        ) from error


def require_folder(file: Path) -> None:
    """Raise UserError where the folder of a file to write does not exist."""
    with writing(file):
        try:
            file.parent.stat()
        except FileNotFoundError:
            fix = command_line("mkdir", "-p", file.parent)
            raise UserError(f"{file}: its folder does not exist", fix=fix) from None


def require_writable(file: Path) -> None:
    """Raise UserError where a new file cannot be written; nothing is left there."""
    require_folder(file)
    with writing(file):
        _try_out(file.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it. Raises UserError where it cannot be made or written."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _try_out(folder)


def _try_out(folder: Path) -> None:
    # Rights alone do not tell: root has them all, on a read-only disk too.
    with TemporaryFile(dir=folder):
        pass
