"""Microcontrollers that QEMU emulates: the cost of code is its exact number of instructions."""

from __future__ import annotations

import os
from concurrent.futures import Executor
from pathlib import Path

from tvm_prune.board import Board
from tvm_prune.errors import BoardError
from tvm_prune.mcu.firmware import FirmwareBuilder
from tvm_prune.mcu.qemu import QemuLink
from tvm_prune.measure.firmware import FirmwareMeasurer

RUN_TIMEOUT = 60.0
"""Seconds that one exchange with the firmware may take before the emulator is killed."""


def open_qemu_board(
    board: Board, executor: Executor | None, _tracker: str | None
) -> FirmwareMeasurer:
    """A measurer for a microcontroller that QEMU emulates.

    Counts do not depend on what else this machine does, so that as many boards run at once as it
    has processors.
    """
    return FirmwareMeasurer(board, qemu_link(board), executor=executor, at_once=os.cpu_count() or 1)


def qemu_link(board: Board, timeout: float = RUN_TIMEOUT) -> _OpenLink:
    """Opens links to an emulated board.

    Raises:
        BoardError: if the board is not one that QEMU emulates.
    """
    if board.machine is None:
        raise BoardError(f"The board '{board.name}' is not emulated by QEMU.")
    return _OpenLink(board.machine, timeout)


class _OpenLink:
    def __init__(self, machine: str, timeout: float) -> None:
        self._machine, self._timeout = machine, timeout

    def __call__(self, elf: Path, firmware: FirmwareBuilder) -> QemuLink:
        return QemuLink(
            self._machine,
            elf,
            lambda address: firmware.function_at(elf, address),
            self._timeout,
        )
