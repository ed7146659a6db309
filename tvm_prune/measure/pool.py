"""Worker processes that may crash, hang or raise without taking anything else with them."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from tvm_prune.errors import MeasureError

# TVM imports PyTorch wherever it is installed, seconds a process; a worker has no use for it.
_START = (
    "import sys; sys.modules['torch'] = None; "
    "from tvm_prune.measure.worker import serve; serve({}, {})"
)
STARTUP_TIMEOUT = 300.0
_GRACE = 1.0
_LONGEST_EXCERPT = 4096


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
        self._workers: list[_Worker | None] = [None] * workers

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
        """Run jobs one after the other, each in a worker of its own; see :meth:`map`.

        The workers are ready before the first job begins, and idle while it is not their turn.

        Args:
            function: importable by name in another process.
            jobs: one tuple of picklable arguments per job, no more of them than workers.

        Yields:
            The function's result, or :class:`Failed`, as soon as it is there.
        """
        results: list[Any | Failed] = [None] * len(jobs)
        todo = iter(enumerate(jobs))
        try:
            self.start(len(jobs))
            for index in range(len(jobs)):
                self._give_next(index, function, todo, results)
                for _ in self._idle(results):
                    pass
                yield results[index]
        except BaseException:
            self.close()
            raise

    def start(self, workers: int) -> None:
        """Have that many workers ready, so that their start does not delay what comes next."""
        started = range(min(workers, len(self._workers)))
        for index in started:
            self._ensure_worker(index)
        for index in started:
            self._ensure_worker(index).await_ready()

    def close(self) -> None:
        """Stop all workers; the pool can be used again and starts new ones."""
        for index, worker in enumerate(self._workers):
            if worker is not None:
                worker.kill()
            self._workers[index] = None

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

    def _ensure_worker(self, index: int) -> _Worker:
        """Worker `index`, replaced if it is missing, dead or worn out."""
        worker = self._workers[index]
        if worker is not None and (worker.uses >= self._maximum_uses or not worker.alive):
            worker.kill()
            worker = None
        if worker is None:
            worker = self._workers[index] = _Worker(self._imports, self._environment)
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


def _module_search_path() -> dict[str, str]:
    """Environment that lets a fresh interpreter find exactly the modules this one finds."""
    return {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}


class _Worker:
    """One worker process and its socket."""

    def __init__(self, imports: tuple[str, ...], environment: dict[str, str]) -> None:
        parent_end, worker_end = Pipe()
        self.connection: Connection[Any, Any] = parent_end
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115
        with worker_end:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START.format(worker_end.fileno(), imports)],
                env={**os.environ, **_module_search_path(), **environment},
                pass_fds=(worker_end.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=self._printed,
                stderr=self._printed,
                start_new_session=True,
            )
        self._ready = False
        self.uses = 0
        self.busy = False
        self.position = -1
        self.at: Any = None
        self.deadline = 0.0
        self._printed_before = 0

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, position: int, payload: bytes, timeout: float) -> None:
        """Start a job; a worker that has died shows when its answer is read."""
        self.await_ready()
        self.uses += 1
        self.busy = True
        self.position = position
        self.at = None
        self._printed_before = self._printed.seek(0, os.SEEK_END)
        self.deadline = time.monotonic() + timeout
        try:
            self.connection.send_bytes(payload)
        except OSError:
            self.deadline = time.monotonic()

    def receive(self, timeout: float) -> tuple[bool | None, Any]:
        """What the worker sent: whether its job succeeded, None while it goes on, and the result.

        Raises:
            EOFError: if the process has died.
        """
        succeeded, value = self.connection.recv()
        if succeeded is None:
            self.at = value
            self.deadline = time.monotonic() + timeout
        else:
            self.busy = False
        return succeeded, value

    def kill(self) -> str:
        """End the process; returns how it ended, with the first line its last job printed."""
        self.connection.close()
        try:
            status = self._process.wait(timeout=_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._printed.seek(self._printed_before)
        printed = self._printed.read(_LONGEST_EXCERPT).decode(errors="replace").strip()
        self._printed.close()
        ending = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit {status}"
        return f"worker ended ({ending})" + (f": {printed.splitlines()[0]}" if printed else "")

    def await_ready(self) -> None:
        """Wait until the imports are done, so that they do not count as a job's time."""
        if self._ready:
            return
        self._ready = True
        try:
            if self.connection.poll(STARTUP_TIMEOUT):
                self.connection.recv()
                return
        except (EOFError, OSError):
            pass
        raise MeasureError(f"a measuring worker does not start: {self.kill()}")
