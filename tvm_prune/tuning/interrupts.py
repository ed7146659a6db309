"""Ctrl-C at a convenient moment, and what else ends the program."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Raise a KeyboardInterrupt that arrives in this block at the end of the block.

    MetaSchedule calls back into Python from its threads and turns whatever a callback raises, a
    KeyboardInterrupt too, into a RuntimeError without a message. The block should take seconds at
    most. Outside of the main thread, where Python never raises KeyboardInterrupt, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if arrived:
        raise KeyboardInterrupt


@contextmanager
def termination_as_interrupt() -> Iterator[list[int]]:
    """SIGTERM ends this block as Ctrl-C does: temporary files, workers and boards are cleaned up.

    What is yielded holds the signal's number once it came. Outside of the main thread, which alone
    may set handlers, nothing changes.
    """
    arrived: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield arrived
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        pressed = signal.getsignal(signal.SIGINT)
        if callable(pressed):
            pressed(signal.SIGINT, frame)
        else:  # a shell starts background jobs with Ctrl-C ignored
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield arrived
    finally:
        signal.signal(signal.SIGTERM, previous)
