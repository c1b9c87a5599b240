"""One task at a time in a thread beside the training, whose failure is not lost."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tooltune.train.checkpoints.meeting import Meeting


class Background:
    """The thread that finishes a checkpoint while the training goes on.

    Its ranks meet in a world of their own: two threads that met in the same one would take each
    other's messages for answers. The thread keeps a process alive that ends in good order, so
    that its checkpoint is finished; a killed one leaves a hidden folder.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._world: Meeting | None = None
        self._failure: BaseException | None = None

    def start(self, do: Callable[[Meeting], None], world: Meeting) -> None:
        """Begin `do(a world apart from world)`. Every rank must call, and have waited before."""
        assert self._thread is None, "the task before was not waited for"
        if self._world is None:
            self._world = world.apart()
        apart = self._world

        def run() -> None:
            try:
                do(apart)
            except BaseException as error:
                self._failure = error

        self._thread = threading.Thread(target=run, name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Until the task is done. Raises what it raised, once."""
        if self._thread is None or self._thread is threading.current_thread():
            return
        self._thread.join()
        self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    @property
    def failure(self) -> BaseException | None:
        return self._failure
