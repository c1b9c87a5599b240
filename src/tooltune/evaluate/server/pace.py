"""When the next request may go out: a rate, and the pauses that a server asks for."""

from __future__ import annotations

import asyncio
import random
import time

FIRST_WAIT = 0.5  # seconds before the first retry; each further one waits twice as long
LONGEST_WAIT = 30.0


class Pace:
    """Shared by all requests of an evaluation: a pause asked of one holds for all."""

    def __init__(self, requests_per_minute: float | None) -> None:
        self._interval = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._next = 0.0  # on the monotonic clock
        self._random = random.Random()  # its own: an evaluation draws from no other generator

    async def turn(self) -> None:
        """Return when one more request may be sent."""
        while (wait := self._next - time.monotonic()) > 0:
            await asyncio.sleep(wait)  # and look again: another went first, or a pause came
        self._next = time.monotonic() + self._interval

    def pause(self, seconds: float) -> None:
        """Send nothing for so long."""
        self._next = max(self._next, time.monotonic() + seconds)

    async def back_off(self, attempt: int) -> None:
        """Wait after the failed attempt number `attempt` (from 1), not all for the same time."""
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (attempt - 1))
        await asyncio.sleep(longest * self._random.uniform(0.5, 1.0))
