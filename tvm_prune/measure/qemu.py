"""Microcontrollers that QEMU emulates: the cost of code is its exact number of instructions.

The other clock tells estimated cycles; see :mod:`tvm_prune.mcu.estimated_cycles`.
"""

from __future__ import annotations

import os
from concurrent.futures import Executor
from pathlib import Path

from tvm_prune.board import Board
from tvm_prune.connections import ESTIMATED_CYCLES
from tvm_prune.cycles import Processor
from tvm_prune.errors import BoardError
from tvm_prune.mcu.estimated_cycles import EstimatingLink
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
    opener = estimating_link if board.clock == ESTIMATED_CYCLES else qemu_link
    return FirmwareMeasurer(board, opener(board), executor=executor, at_once=os.cpu_count() or 1)


def qemu_link(board: Board, timeout: float = RUN_TIMEOUT) -> _OpenLink:
    """Opens links to an emulated board.

    Raises:
        BoardError: if the board is not one that QEMU emulates.
    """
    if board.machine is None:
        raise BoardError(f"The board '{board.name}' is not emulated by QEMU.")
    return _OpenLink(board.machine, timeout)


def estimating_link(board: Board, timeout: float = RUN_TIMEOUT) -> _OpenEstimatingLink:
    """Opens links to an emulated board that tell estimated cycles.

    Raises:
        BoardError: if the board is not one that QEMU emulates.
    """
    return _OpenEstimatingLink(qemu_link(board, timeout), Processor.of_target(board.target))


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


class _OpenEstimatingLink:
    def __init__(self, opener: _OpenLink, processor: Processor) -> None:
        self._opener, self._processor = opener, processor

    def __call__(self, elf: Path, firmware: FirmwareBuilder) -> EstimatingLink:
        return EstimatingLink(self._opener(elf, firmware), firmware, self._processor)
