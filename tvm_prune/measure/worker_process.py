"""The parent's side of one worker process: start it, send it a job, read what it says, end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import Pipe
from multiprocessing.connection import Connection
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


class WorkerProcess:
    """One worker process and its socket.

    Args:
        imports: modules that it imports before it is ready.
        environment: variables added to its environment.
    """

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
        self._ending: str | None = None
        self.uses = 0
        self.busy = False
        self.position = -1
        self.at: Any = None
        self.deadline = 0.0
        self._printed_before = 0

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
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
        """End the process; returns how it ended, with the first line its last job printed.

        One that was ended already stays so, and ended as it did.
        """
        if self._ending is None:
            self._ending = self._end()
        return self._ending

    def _end(self) -> str:
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


def _module_search_path() -> dict[str, str]:
    """Environment that lets a fresh interpreter find exactly the modules this one finds."""
    return {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONSAFEPATH": "1"}
