"""The worker's side of :mod:`tvm_prune.measure.pool`: receive a job, run it, answer.

A parent talks to the worker over one socket. Messages are pickles: the parent sends
``(function, arguments)``, the worker answers ``(True, result)`` or ``(False, cause)``, after a
first ``(True, None)`` that says it is ready.
"""

from __future__ import annotations

import importlib
import os
import pickle
import queue
import sys
import threading
import traceback
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
        connection.send(_answer(jobs.get()))


def _receive(connection: Connection[Any, Any], jobs: queue.SimpleQueue[bytes]) -> None:
    """Hand jobs on; end the process at once, even amid a job, when the parent is gone."""
    while True:
        try:
            jobs.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)


def _answer(job: bytes) -> tuple[bool, Any]:
    """Run one pickled job; a failure becomes its exception's last line."""
    try:
        function, arguments = pickle.loads(job)
        return True, function(*arguments)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return False, describe(error)


def describe(error: BaseException) -> str:
    """One line that tells an exception's type and message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
