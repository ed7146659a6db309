"""A real tracker and real RPC servers on this machine, which die with who started them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tvm.rpc import base

from tvm_prune.measure.tracker import Tracker

HOST = "127.0.0.1"

_START = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    sys.exit()
sys.modules["torch"] = None  # TVM imports it wherever it is installed; that takes long
from tvm.rpc import server, tracker
"""

_TRACKER = _START + (
    "state = tracker.PopenTrackerServerState('{host}', {port}, {port} + 1)\nstate.thread.join()"
)

_SERVER = _START + (
    "state = server.PopenRPCServerState('{host}', {port}, {port} + 1, key='{key}',"
    " tracker_addr=('{host}', {tracker}))\n"
    "state.thread.join()  # it ends when a session's process crashes: start again\n"
    "state.sock.close()\n"
    "os.chdir('/')\n"
    "os.execv(sys.executable, [sys.executable, '-c', sys.orig_argv[2], sys.argv[1]])\n"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Process:
    """A server or tracker; everything it started ends with it."""

    def __init__(self, script: str, port: int, log: Path) -> None:
        self.port, self.log = port, log
        with log.open("a") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-c", script, str(os.getpid())],
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def sessions(self) -> int:
        return self.log.read_text().count("connected from")

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()


class Boards:
    """A tracker, and servers under the key ``board``."""

    key = "board"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        port = free_port()
        script = _TRACKER.format(host=HOST, port=port)
        self.tracker_process = Process(script, port, folder / "tracker.log")
        self.tracker = Tracker(HOST, port, self.key)
        self.servers: list[Process] = []
        self.wait_for(0)

    def add(self, count: int) -> None:
        """Start servers and wait until they are registered."""
        for _ in range(count):
            port = free_port()
            script = _SERVER.format(host=HOST, port=port, key=self.key, tracker=self.tracker.port)
            self.servers.append(Process(script, port, self._folder / f"server-{port}.log"))
        self.wait_for(len(self.servers))

    def restart_tracker(self) -> None:
        """Kill the tracker, and start another one at its address."""
        self.tracker_process.kill()
        port = self.tracker.port
        log = self._folder / "tracker.log"
        self.tracker_process = Process(_TRACKER.format(host=HOST, port=port), port, log)

    def wait_for(self, count: int, patience: float = 120.0) -> None:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            with contextlib.suppress(Exception):
                if len(self.tracker.servers()) == count:
                    return
            time.sleep(0.1)
        raise TimeoutError(f"{count} servers did not register")

    def kill(self) -> None:
        for process in [*self.servers, self.tracker_process]:
            process.signal(signal.SIGCONT)
            process.kill()


@contextlib.contextmanager
def boards(folder: Path, servers: int) -> Iterator[Boards]:
    started = Boards(folder)
    try:
        started.add(servers)
        yield started
    finally:
        started.kill()


@contextlib.contextmanager
def server_that_hangs_up(tracker: Tracker) -> Iterator[str]:
    """A server that registers, takes connections and drops them; yields its name."""
    listener = socket.create_server((HOST, 0))
    port = listener.getsockname()[1]
    connection = tracker._connect()
    address = {"key": f"server:{tracker.key}", "addr": [HOST, port]}
    _tell(connection, [base.TrackerCode.UPDATE_INFO, address])

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                matchkey = base.random_key(tracker.key)
                offer = [base.TrackerCode.PUT, tracker.key, (port, matchkey), HOST]
                _tell(connection, offer)
                listener.accept()[0].close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"{HOST}:{port}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        connection.close()


def _tell(connection: socket.socket, message: list[object]) -> None:
    base.sendjson(connection, message)
    assert base.recvjson(connection) == base.TrackerCode.SUCCESS
