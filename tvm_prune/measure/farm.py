"""Jobs on any ``concurrent.futures.Executor``, each in a child process of the executor's worker.

The executor decides where a job runs; the child, a :class:`~tvm_prune.measure.pool.WorkerPool` of
one process that lives as long as the worker's thread, sees to it that a job that crashes or hangs
fails alone, as it does on this machine. Workers need this package and TVM, of the same versions.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future
from dataclasses import dataclass
from types import FunctionType
from typing import Any, cast

import cloudpickle

from tvm_prune.measure.pool import Failed, WorkerPool
from tvm_prune.measure.worker_process import STARTUP_TIMEOUT

_WORKER_KILLERS = ("KilledWorker",)
"""What executors raise where a job has cost them one worker after the other."""


@dataclass(frozen=True)
class Lost(Failed):
    """A job that did not run for a reason that lies in the executor or its workers."""


class Farm:
    """Runs jobs on an executor, with time-outs that hold whatever becomes of its workers.

    Args:
        executor: runs the jobs; it is not shut down.
        timeout: seconds that one job may take on its worker.
        patience: seconds without any job's end after which those that are left count as lost.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        timeout: float,
        patience: float | None = None,
    ) -> None:
        self._executor = executor
        self._timeout = timeout
        self._patience = timeout + STARTUP_TIMEOUT if patience is None else patience

    def map(
        self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]
    ) -> list[Any | Failed]:
        """Run ``function(*job)`` for every job; results are in the jobs' order.

        Args:
            function: importable by name on the workers.
            jobs: one tuple of picklable arguments per job.

        Returns:
            The function's result, :class:`Failed` where it failed, or :class:`Lost`, for every job.
        """
        futures: list[Future[Any]] = []
        try:
            for job in jobs:
                payload = pickle.dumps((function, job))
                futures.append(self._executor.submit(_ON_WORKER, payload, self._timeout))
            self._await(futures)
        except (RuntimeError, OSError) as error:
            lost = Lost(f"the executor takes no jobs: {error}")
            return [*map(_result, futures), *[lost] * (len(jobs) - len(futures))]
        finally:
            for future in futures:
                future.cancel()
        return [_result(future) for future in futures]

    def close(self) -> None:
        """Nothing to do: the executor is its owner's, and children end with their workers."""

    def _await(self, futures: Sequence[Future[Any]]) -> None:
        """Wait until all are done, or none has ended for too long."""
        pending = set(futures)
        while pending:
            done, pending = concurrent.futures.wait(pending, self._patience, FIRST_COMPLETED)
            if not done:
                return


def _result(future: Future[Any]) -> Any | Failed:
    if not future.done() or future.cancelled():
        return Lost("the build workers do not answer; check that the executor's workers run")
    try:
        return future.result(timeout=0)
    except (Exception, asyncio.CancelledError) as error:
        name = type(error).__name__
        text = f"{name}: {error}".strip().splitlines()[0]
        if name in _WORKER_KILLERS:
            return Failed(f"killed its workers: {text}")
        return Lost(f"the build workers are gone or lack tvm_prune: {text}")


class _ByValue:
    """A function that is pickled with its code, so that its receiver imports nothing for it."""

    def __init__(self, function: FunctionType) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[bytes]]:
        detached = FunctionType(self._function.__code__, {"__builtins__": __builtins__})
        detached.__module__ = "__main__"
        return pickle.loads, (cloudpickle.dumps(detached),)


def _without_torch(payload: bytes, timeout: float) -> Any:
    """What a worker runs: TVM imports PyTorch wherever it is installed, unless it is hidden."""
    import sys

    hidden = "tvm" not in sys.modules and "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        from tvm_prune.measure.farm import run_in_child
    finally:
        if hidden:
            del sys.modules["torch"]
    return run_in_child(payload, timeout)


_ON_WORKER = _ByValue(cast("FunctionType", _without_torch))


def run_in_child(payload: bytes, timeout: float) -> Any | Failed:
    """Run a pickled job in the child process of this thread."""
    [result] = _child(threading.get_ident(), timeout).map(call_pickled, [(payload,)])
    return result


@functools.cache
def _child(_thread: int, timeout: float) -> WorkerPool:
    """The child of a thread: starting one for every job would take longer than most jobs."""
    return WorkerPool(1, timeout=timeout, imports=("tvm_prune.measure.jobs",))


def call_pickled(payload: bytes) -> Any:
    """Run a pickled job in this process."""
    function, arguments = pickle.loads(payload)
    return function(*arguments)
