"""What the exit code of a command means. 0 is done."""

from __future__ import annotations

EXIT_FAILED = 1
EXIT_USER_ERROR = 2  # something in the input or the options to mend
EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: saved and left because asked to; run it again
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count
