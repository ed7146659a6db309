"""Work that nobody times, one job on every core: a thread each wastes least."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

_MMAP_MAX, _TRIM_THRESHOLD = -4, -1
"""Names that glibc's mallopt has for its parameters."""

Job = TypeVar("Job")
Result = TypeVar("Result")


def one_a_core(
    function: Callable[[Job], Result], jobs: Sequence[Job]
) -> Iterator[tuple[int, Result]]:
    """Place and result of each job, as soon as it is done; all run in processes of their own.

    Args:
        function: importable by name in another process; uses one thread.
        jobs: what it takes.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        os.cpu_count(), mp_context=context, initializer=_hold_on_to_memory
    ) as pool:
        places = {pool.submit(function, job): place for place, job in enumerate(jobs)}
        for future in as_completed(places):
            yield places[future], future.result()


def _hold_on_to_memory() -> None:
    """Every batch asks for what the last one freed; the system clears it anew, a quarter of the
    time.
    """  # noqa: D205
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
