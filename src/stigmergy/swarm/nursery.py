"""Threads and processes that cannot outlive the block that started them.

A nursery joins all that it started. The first failure stops the others and is raised where the
block ends. SIGINT and SIGTERM ask for a clean stop; the second one ends the process at once.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from types import FrameType, TracebackType
from typing import Any, Final, Self

from stigmergy.errors import StigmergyError

__all__ = ["Nursery", "Signalled", "stop_on_signals"]

_JOIN_S: Final = 10.0
"""How long a process may take to end after it was asked to, before it is killed."""
_WAKE_S: Final = 0.5
_BY_SIGNAL: Final = 128
"""What a shell adds to the number of the signal that ended a program."""


class Nursery:
    """Starts threads and processes and joins them all at the end of its block.

    Args:
        stop: set it to ask all children to end; set by the first failure as well.
    """

    def __init__(self, stop: threading.Event | None = None) -> None:
        self.stop = stop or threading.Event()
        self._threads: list[threading.Thread] = []
        self._processes: list[BaseProcess] = []
        self._failures: list[BaseException] = []

    def start(self, work: Callable[[], object], *, name: str) -> None:
        """Run `work` in a thread. What it raises stops the nursery and is raised by it."""

        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised again where the block ends
                self._failures.append(error)
                self.stop.set()

        thread = threading.Thread(target=guarded, name=name)
        self._threads.append(thread)  # first: an interrupt may come right after the start
        thread.start()

    def start_process(self, work: Callable[..., object], *args: Any, name: str) -> None:
        """Run an importable function in a process of its own, with picklable arguments.

        The process is spawned, so it shares nothing but the board; it is asked to stop by
        SIGTERM, and killed when it does not heed that.
        """
        process = get_context("spawn").Process(target=work, args=args, name=name)
        process.start()
        self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.stop.set()
        self._join_processes()
        try:
            self._join_threads()
        except KeyboardInterrupt:
            # They may be at work on what is freed behind the block. A second one is at once.
            self.stop.set()
            self._join_threads()
            raise
        if error is None and self._failures:
            raise self._failures[0]

    def _join_threads(self) -> None:
        for thread in self._threads:
            # A signal that comes just before a join without a time-out would wait as long as it.
            while thread.is_alive():
                thread.join(_WAKE_S)

    def _join_processes(self) -> None:
        while any(process.is_alive() for process in self._processes):
            if self.stop.is_set():
                self._end_processes()
                return
            for process in self._processes:
                process.join(0.05)
                if process.exitcode not in (None, 0):
                    self._note_death(process)
        for process in self._processes:
            if process.exitcode:
                self._note_death(process)

    def _note_death(self, process: BaseProcess) -> None:
        if not self._failures:
            self._failures.append(
                StigmergyError(f"process {process.name} ended with code {process.exitcode}")
            )
        self.stop.set()

    def _end_processes(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(_JOIN_S)
            if process.is_alive():
                process.kill()
                process.join()


class Signalled:
    """The signal that asked for a stop, if one did."""

    def __init__(self) -> None:
        self.number: int | None = None

    def exit_code(self, otherwise: int) -> int:
        """130 for SIGINT, 143 for SIGTERM, as a shell reports it; `otherwise` where none came."""
        return otherwise if self.number is None else _BY_SIGNAL + self.number


@contextmanager
def stop_on_signals(stop: threading.Event) -> Generator[Signalled]:
    """The first SIGINT or SIGTERM sets `stop`; the second ends the process with 128 + its number.

    Only the main thread can have it; the former handlers come back at the end.
    """
    signalled = Signalled()

    def handle(number: int, _frame: FrameType | None) -> None:
        if signalled.number or stop.is_set():
            os._exit(_BY_SIGNAL + number)
        signalled.number = number
        # By another thread: this one may be interrupted just where it has the event's own lock, as
        # whoever waits for it does, and would wait for itself. `threading` has such locks, too.
        _thread.start_new_thread(stop.set, ())

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signalled
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
