"""Jobs for worker processes, which import them by name."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Generator, Sequence


def kill_parent() -> None:
    """Kill the process that started this one, as the kernel does when memory runs out."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def step_by_step(steps: Sequence[float | None]) -> Generator[int, None, str]:
    """Say the number of each step, then sleep as long as it says, or crash where it is None."""
    for number, seconds in enumerate(steps):
        yield number
        if seconds is None:
            ctypes.string_at(0)
        else:
            time.sleep(seconds)
    return "done"


def presence(seconds: float) -> tuple[int, float, float]:
    """This process, and when a job that takes some seconds began and ended."""
    began = time.monotonic()
    time.sleep(seconds)
    return os.getpid(), began, time.monotonic()
