"""The worker's side of :mod:`tvm_prune.measure.pool`: receive a job, run it, answer.

A parent talks to the worker over one socket. Messages are pickles: the parent sends
``(function, arguments)``, the worker answers ``(True, result)`` or ``(False, cause)``, after a
first ``(True, None)`` that says it is ready. A function that is a generator is at something else
with each value it yields: the worker passes it on as ``(None, value)``.
"""

from __future__ import annotations

import importlib
import os
import pickle
import queue
import sys
import threading
import traceback
from collections.abc import Generator
from multiprocessing.connection import Connection
from typing import Any


def serve(descriptor: int, imports: tuple[str, ...]) -> None:
    """Serve jobs until the parent hangs up.

    Args:
        descriptor: file descriptor of the worker's end of the socket.
        imports: modules to import before the worker calls itself ready.
    """
    connection = Connection(descriptor)
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, jobs), daemon=True).start()
    for name in imports:
        importlib.import_module(name)
    connection.send((True, None))
    while True:
        connection.send(_answer(jobs.get(), connection))


def _receive(connection: Connection[Any, Any], jobs: queue.SimpleQueue[bytes]) -> None:
    """Hand jobs on; end the process at once, even amid a job, when the parent is gone."""
    while True:
        try:
            jobs.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)


def _answer(job: bytes, connection: Connection[Any, Any]) -> tuple[bool, Any]:
    """Run one pickled job; a failure becomes its exception's last line."""
    try:
        function, arguments = pickle.loads(job)
        result = function(*arguments)
        if isinstance(result, Generator):
            result = _finish(result, connection)
        return True, result
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return False, describe(error)


def _finish(steps: Generator[Any, None, Any], connection: Connection[Any, Any]) -> Any:
    """Run a generator to its end, passing on what it yields; returns what it returns."""
    while True:
        try:
            connection.send((None, next(steps)))
        except StopIteration as end:
            return end.value


def describe(error: BaseException) -> str:
    """One line that tells an exception's type and message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
