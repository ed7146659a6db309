"""Worker processes that may crash, hang or raise without taking anything else with them."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from tvm_prune.measure.worker_process import WorkerProcess


@dataclass(frozen=True)
class Failed:
    """A job that gave no result, and why.

    Attributes:
        cause: one line.
        at: what the job last said it was at, where it says such things.
    """

    cause: str
    at: Any = None


class WorkerPool:
    """Persistent worker processes, driven from the calling thread.

    Workers start on first use, are fresh interpreters (a script that uses the pool needs no
    ``__main__`` guard), ignore the terminal's Ctrl-C, and end when their parent does, however it
    ends. A worker that crashes or exceeds the time-out is killed and replaced; only its job fails.

    Args:
        workers: how many processes.
        timeout: seconds that one job may take, or go on without a sign of life where it gives
            any; starting a worker does not count.
        imports: modules that a worker imports before its first job.
        environment: variables added to the workers' environment.
        maximum_uses: a worker is replaced after that many jobs, which bounds what it can leak.
    """

    def __init__(
        self,
        workers: int,
        *,
        timeout: float,
        imports: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        maximum_uses: int = 500,
    ) -> None:
        self._timeout = timeout
        self._maximum_uses = maximum_uses
        self._imports = tuple(imports)
        self._environment = dict(environment or {})
        self._workers: list[WorkerProcess | None] = [None] * workers

    def map(
        self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]
    ) -> list[Any | Failed]:
        """Run ``function(*job)`` for every job, in any order; results are in the jobs' order.

        A function that is a generator yields what it is at, and returns its result. Each time it
        does, the job's time-out starts anew, and :attr:`Failed.at` tells how far it came.

        Args:
            function: importable by name in another process.
            jobs: one tuple of picklable arguments per job.

        Returns:
            The function's result, or :class:`Failed`, for every job. Never raises because of a
            job; an interrupt kills the workers that are busy and is raised again.
        """
        results: list[Any | Failed] = [None] * len(jobs)
        todo = iter(enumerate(jobs))
        try:
            started = range(min(len(self._workers), len(jobs)))
            for index in started:
                self._ensure_worker(index)
            for index in started:
                self._give_next(index, function, todo, results)
            for index in self._idle(results):
                self._give_next(index, function, todo, results)
        except BaseException:
            self.close()
            raise
        return results

    def take_turns(
        self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]
    ) -> Iterator[Any | Failed]:
        """Run jobs one after the other, each in a fresh worker of its own; see :meth:`map`.

        All workers are ready before the first job begins. Each ends with its job: threads that it
        leaves may go on spinning for tenths of a second, which would slow the next one.

        Args:
            function: importable by name in another process.
            jobs: one tuple of picklable arguments per job, no more of them than workers.

        Yields:
            The function's result, or :class:`Failed`, as soon as it is there.
        """
        results: list[Any | Failed] = [None] * len(jobs)
        todo = iter(enumerate(jobs))
        try:
            for index, worker in enumerate(self._workers):
                if worker is not None and worker.uses:
                    self._drop(index)
            self.start(len(jobs))
            for index in range(len(jobs)):
                self._give_next(index, function, todo, results)
                for _ in self._idle(results):
                    self._drop(index)
                yield results[index]
        finally:
            self.close()

    def launch(self, workers: int) -> None:
        """Begin to start that many workers, without waiting for them."""
        for index in range(min(workers, len(self._workers))):
            self._ensure_worker(index)

    def settle(self) -> None:
        """Wait until no worker is starting, so that none disturbs what comes next."""
        for worker in self._workers:
            if worker is not None:
                worker.await_ready()

    def start(self, workers: int) -> None:
        """Have that many workers ready, so that their start does not delay what comes next."""
        self.launch(workers)
        self.settle()

    def close(self) -> None:
        """Stop all workers; the pool can be used again and starts new ones."""
        for index in range(len(self._workers)):
            self._drop(index)

    def _drop(self, index: int) -> None:
        """End worker `index`, if it is there."""
        worker, self._workers[index] = self._workers[index], None
        if worker is not None:
            worker.kill()

    def _idle(self, results: list[Any | Failed]) -> Iterator[int]:
        """Each worker that becomes idle, its result stored, until none is busy."""
        while any(worker is not None and worker.busy for worker in self._workers):
            for index in self._answered_or_late():
                self._collect(index, results)
                worker = self._workers[index]
                if worker is None or not worker.busy:
                    yield index

    def _give_next(
        self,
        index: int,
        function: Callable[..., Any],
        todo: Iterator[tuple[int, tuple[Any, ...]]],
        results: list[Any | Failed],
    ) -> None:
        """Give worker `index` the next job that can be sent, starting the worker if needed."""
        for position, job in todo:
            try:
                payload = pickle.dumps((function, job))
            except Exception as error:
                results[position] = Failed(f"cannot be sent to a worker: {error}")
                continue
            self._ensure_worker(index).send(position, payload, self._timeout)
            return

    def _ensure_worker(self, index: int) -> WorkerProcess:
        """Worker `index`, replaced if it is missing, dead or worn out."""
        worker = self._workers[index]
        if worker is not None and (worker.uses >= self._maximum_uses or not worker.alive):
            worker.kill()
            worker = None
        if worker is None:
            worker = self._workers[index] = WorkerProcess(self._imports, self._environment)
        return worker

    def _answered_or_late(self) -> list[int]:
        """Wait for the next event; the workers that answered, died or ran out of time."""
        busy = {i: w for i, w in enumerate(self._workers) if w is not None and w.busy}
        patience = min(worker.deadline for worker in busy.values()) - time.monotonic()
        wait([worker.connection for worker in busy.values()], timeout=max(0.0, patience))
        now = time.monotonic()
        return [i for i, w in busy.items() if now >= w.deadline or w.connection.poll()]

    def _collect(self, index: int, results: list[Any | Failed]) -> None:
        """Store what worker `index` has to say and drop the worker if it is beyond use."""
        worker = self._workers[index]
        assert worker is not None
        position = worker.position
        if not worker.connection.poll():
            worker.kill()
            self._workers[index] = None
            results[position] = Failed(f"timed out after {self._timeout:g} s", worker.at)
            return
        try:
            succeeded, value = worker.receive(self._timeout)
        except (EOFError, OSError, pickle.UnpicklingError):
            results[position] = Failed(worker.kill(), worker.at)
            self._workers[index] = None
            return
        if succeeded is not None:
            results[position] = value if succeeded else Failed(value, worker.at)
