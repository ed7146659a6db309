"""A tracker and emulated boards that can be killed, stopped and started again."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
from tvm.rpc import base

from tvm_prune.board import Board
from tvm_prune.emulator import EmulatedBoard
from tvm_prune.errors import MeasureError
from tvm_prune.measure import Repeats, RpcMeasurer
from tvm_prune.measure.served_boards import terms_of
from tvm_prune.measure.tracker import Tracker

_HOST = "127.0.0.1"
_TRACKER = (
    "import sys, runpy; sys.modules['torch'] = None; "
    "runpy.run_module('tvm.exec.rpc_tracker', run_name='__main__')"
)
_PATIENCE = 300.0
_SHORT = 5.0
_PIDFD_GETFD = 438
"""Number of the system call, the same on all architectures; Python has no function for it."""


class Farm:
    """Boards under one key of a tracker; everything ends with :meth:`close`.

    Args:
        board: what is emulated.
        count: how many of them.
        port: of the tracker.
        folder: where the tracker's log goes.
    """

    def __init__(self, board: Board, count: int, port: int, folder: Path) -> None:
        self._board, self._count = board, count
        self._log = folder / f"tracker-{port}.log"
        self.tracker = Tracker(_HOST, port, str(board.key))
        self._process = self._start_tracker()
        self.boards: list[EmulatedBoard] = []
        self.mend()

    def measurer(self, run_timeout: float = 120.0) -> RpcMeasurer:
        """A measurer that uses all boards."""
        return RpcMeasurer(
            self._board.tvm_target(),
            self.tracker,
            terms=terms_of(self._board),
            linker=self._board.linker,
            run_timeout=run_timeout,
            repeats=Repeats(exact=True),
        )

    def mend(self) -> None:
        """Wake, replace or start again what does not run, and wait until all are registered."""
        if self._process.poll() is not None:
            self._process = self._start_tracker()
        for board in [board for board in self.boards if not board.alive]:
            self.boards.remove(board)
            board.close()
        for board in self.boards:
            _signal(board, signal.SIGCONT)
        while len(self.boards) < self._count:
            cpu = str(self._board.emulated_cpu)
            self.boards.append(EmulatedBoard(cpu, self.tracker.key, self.tracker.name))
        self._await()

    def kill_session(self, position: int) -> None:
        """Kill the process of the session that a board has, if it has one."""
        for child in psutil.Process(self.boards[position].process.pid).children():
            child.kill()

    def kill_agent(self, position: int) -> None:
        """Kill a board."""
        self.boards[position].process.kill()
        self.boards[position].process.wait()

    def stop_board(self, position: int) -> None:
        """Stop a board and its session; :meth:`mend` wakes them."""
        _signal(self.boards[position], signal.SIGSTOP)

    def cut_connection(self, position: int) -> None:
        """Cut the connection of the session that a board has with a process of ours, if any."""
        port = self.boards[position].port
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error, OSError):
                for each in process.net_connections("tcp"):
                    if each.raddr and each.raddr.port == port:
                        _shut(process.pid, each.fd)

    def break_off_upload(self, _position: int) -> None:
        """Be a client that gets a board, sends half of what it announces, and is gone."""
        with contextlib.suppress(MeasureError, OSError):
            offer = self.tracker.request(_SHORT)
            if offer is None:
                return
            with socket.create_connection((offer.host, offer.port), timeout=_SHORT) as connection:
                greeting = f"client:{offer.matchkey}".encode()
                connection.sendall(struct.pack("<ii", base.RPC_MAGIC, len(greeting)) + greeting)
                base.recvall(connection, 4)
                connection.sendall(struct.pack("<Q", 1 << 20) + b"half of it")

    def kill_tracker(self, _position: int) -> None:
        """Kill the tracker."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def faults(self) -> Mapping[str, Callable[[int], None]]:
        """What can happen to a board, by name."""
        return {
            "session killed": self.kill_session,
            "agent killed": self.kill_agent,
            "board stopped": self.stop_board,
            "tracker killed": self.kill_tracker,
            "connection cut": self.cut_connection,
            "upload broken off": self.break_off_upload,
        }

    def close(self) -> None:
        """End everything."""
        for board in self.boards:
            with contextlib.suppress(psutil.NoSuchProcess):
                _signal(board, signal.SIGCONT)
            board.close()
        self.kill_tracker(0)

    def _start_tracker(self) -> subprocess.Popen[bytes]:
        port = self.tracker.port
        command = [sys.executable, "-c", _TRACKER, "--host", _HOST]
        command += ["--port", str(port), "--port-end", str(port + 1)]
        with self._log.open("a") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def _await(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        wanted = {board.name for board in self.boards}
        while time.monotonic() < deadline:
            with contextlib.suppress(Exception):
                if set(self.tracker.servers()) == wanted:
                    return
            time.sleep(0.1)
        raise TimeoutError(f"{len(wanted)} boards did not register at {self.tracker.name}")


def _shut(process: int, descriptor: int) -> None:
    """Shut a socket of another process."""
    pidfd = os.pidfd_open(process)
    try:
        ours = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, pidfd, descriptor, 0)
        if ours < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        with socket.socket(fileno=ours) as connection:
            connection.shutdown(socket.SHUT_RDWR)
    finally:
        os.close(pidfd)


def _signal(board: EmulatedBoard, number: int) -> None:
    process = psutil.Process(board.process.pid)
    for each in [*process.children(recursive=True), process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(number)
