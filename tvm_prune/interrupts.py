"""Ctrl-C at a convenient moment, and what else ends the program."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Raise a KeyboardInterrupt that arrives in this block at the end of the block.

    MetaSchedule calls back into Python from its threads and turns whatever a callback raises, a
    KeyboardInterrupt too, into a RuntimeError without a message. The block should take seconds at
    most. Outside of the main thread, where Python never raises KeyboardInterrupt, it does nothing.
    """
    arrived: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)

    with _handling(signal.SIGINT, note):
        yield
    if arrived:
        raise KeyboardInterrupt


@contextmanager
def termination_as_interrupt() -> Iterator[list[int]]:
    """SIGTERM ends this block as Ctrl-C does: temporary files, workers and boards are cleaned up.

    What is yielded holds the signal's number once it came. Outside of the main thread nothing
    changes.
    """
    arrived: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        pressed = signal.getsignal(signal.SIGINT)
        if callable(pressed):
            pressed(signal.SIGINT, frame)
        else:  # a shell starts background jobs with Ctrl-C ignored
            raise KeyboardInterrupt

    with _handling(signal.SIGTERM, interrupt):
        yield arrived


@contextmanager
def _handling(number: int, handler: Handler) -> Iterator[None]:
    """Handle a signal in this block, in the main thread, which alone may set handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, previous)
