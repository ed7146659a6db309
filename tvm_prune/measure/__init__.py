"""Boards that tell what code costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor

from tvm_prune.board import Board
from tvm_prune.measure.batches import run_executable_batches
from tvm_prune.measure.executable import measure_executable, measure_interleaved, run_executable
from tvm_prune.measure.executors import open_executor
from tvm_prune.measure.firmware import FirmwareMeasurer
from tvm_prune.measure.local import LocalMeasurer, open_this_machine
from tvm_prune.measure.qemu import open_qemu_board
from tvm_prune.measure.repeats import Repeats
from tvm_prune.measure.rpc import RpcMeasurer
from tvm_prune.measure.serial import find_port, open_serial_board
from tvm_prune.measure.served_boards import count_servers, open_served_board
from tvm_prune.measurement import BoardMeasurer

MEASURERS: Mapping[str, Callable[[Board, Executor | None, str | None], BoardMeasurer]] = {
    "local": open_this_machine,
    "rpc": open_served_board,
    "qemu-user": open_served_board,
    "qemu": open_qemu_board,
    "serial": open_serial_board,
}
"""How to open a board by its connection, given an executor to build with and a tracker's address,
either of which may be None."""

__all__ = [
    "MEASURERS",
    "FirmwareMeasurer",
    "LocalMeasurer",
    "Repeats",
    "RpcMeasurer",
    "count_servers",
    "find_port",
    "measure_executable",
    "measure_interleaved",
    "open_executor",
    "run_executable",
    "run_executable_batches",
]
