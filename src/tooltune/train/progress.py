"""What a run shows while it trains: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

_WINDOW = 32  # steps that the estimate of the time left looks back on


class Progress:
    """Shows metric lines and messages of a run of `total_steps`.

    `every`: without a terminal, only each such training step (and the first and last) is printed.
    The time left is estimated from the last steps, evaluations and saves between them included.
    """

    def __init__(
        self,
        total_steps: int,
        *,
        console: Console | None = None,
        every: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total_steps
        self._every = every
        self._clock = clock
        self._console = console or Console(highlight=False)
        self._times: deque[tuple[int, float]] = deque(maxlen=_WINDOW)
        self._bar: Bar | None = None
        if self._console.is_terminal:
            self._bar = Bar(
                BarColumn(bar_width=20),
                TextColumn("{task.description}", markup=False),
                console=self._console,
            )
            self._task = self._bar.add_task("starting", total=total_steps)
            self._bar.start()

    def show(self, record: Mapping[str, Any]) -> None:
        """Show one line of `metrics.jsonl`: a training step moves the bar, others are printed."""
        if record.get("kind") != "train":
            self.say(_evaluation_line(record))
            return
        step = int(record["step"])
        first = not self._times
        if first:  # a resumed run starts anywhere
            self._times.append((step - 1, self._clock() - record["seconds"]))
        self._times.append((step, self._clock()))
        line, eta = training_line(record, self._total), f"eta {self._eta(step)}"
        if self._bar is not None:  # a narrow terminal cuts the end of the line
            self._bar.update(self._task, completed=step, description=f"{eta}  {line}")
        elif first or step % self._every == 0 or step == self._total:
            self.say(f"{line}  {eta}")

    def say(self, text: str) -> None:
        """Print a line; on a terminal above the bar. Text is never read as rich markup."""
        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _eta(self, step: int) -> str:
        (first, then), (last, now) = self._times[0], self._times[-1]
        return clock_time((self._total - step) * (now - then) / (last - first))


def training_line(record: Mapping[str, Any], total_steps: int) -> str:
    """`step 3/40  loss 1.2345  lr 2.00e-04  grad 0.81  512 tok/s (128 trained)`."""
    return (
        f"step {record['step']}/{total_steps}"
        f"  loss {record['loss']:.4f}  lr {record['lr']:.2e}  grad {record['grad_norm']:.2f}"
        f"  {record['tokens_per_second']:,.0f} tok/s"
        f" ({record['trained_tokens_per_second']:,.0f} trained)"
    )


def _evaluation_line(record: Mapping[str, Any]) -> str:
    shown = {
        key: value
        for key, value in record.items()
        if key not in ("step", "epoch", "kind", "seconds") and isinstance(value, (int, float))
    }
    headline = [key for key in shown if key == "loss" or key.endswith("accuracy")]
    headline = headline or list(shown)[:4]
    numbers = "  ".join(f"{key} {shown[key]:.4f}" for key in headline)
    return f"step {record.get('step', '?')}  {record.get('kind', '')}  {numbers}"


def clock_time(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`; `?` for what is no time."""
    if not math.isfinite(seconds) or seconds < 0:
        return "?"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
