"""The one exception for a user's mistake: commands print it and exit with code 2."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user can fix.

    `str(error)` says what is wrong and where (file, row, turn or key); `fix` says what to do.
    `told_elsewhere`: another process of the same run tells the user.
    """

    told_elsewhere = False

    def __init__(self, message: str, *, fix: str | None = None) -> None:
        super().__init__(message if fix is None else f"{message}\n  fix: {fix}")
        self.message = message
        self.fix = fix
