"""Microcontrollers behind a serial port: flashed, then asked over a framed byte stream."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import Executor
from pathlib import Path

from tvm_prune.board import Board
from tvm_prune.errors import BoardError, MeasureError
from tvm_prune.mcu.firmware import FirmwareBuilder, how_to_install
from tvm_prune.mcu.serial_link import SerialLink
from tvm_prune.measure.firmware import FirmwareMeasurer

PORT_VARIABLE = "TVM_PRUNE_SERIAL_PORT"
_FLASH_TIMEOUT = 120.0


def open_serial_board(
    board: Board, executor: Executor | None, _tracker: str | None
) -> FirmwareMeasurer:
    """A measurer for a board behind a serial port, one firmware after the other.

    Raises:
        BoardError: if its port cannot be found.
    """
    port = find_port(board)

    def flashed(elf: Path, firmware: FirmwareBuilder) -> SerialLink:
        flash(board, elf)
        return SerialLink(port, board.baud, lambda address: firmware.function_at(elf, address))

    return FirmwareMeasurer(board, flashed, executor=executor, repeats=board.repeats)


def find_port(board: Board) -> str:
    """The serial port of a board: the environment's, the board file's, or the USB device's.

    Raises:
        BoardError: if it cannot be told, or pyserial is missing.
    """
    if port := os.environ.get(PORT_VARIABLE) or board.port:
        return port
    try:
        from serial.tools import list_ports
    except ImportError as error:
        raise BoardError(
            "A board behind a serial port needs pyserial: pip install 'tvm-prune[serial]'."
        ) from error
    ports = list(list_ports.comports())
    wanted = (board.usb or "").lower()
    found = [port.device for port in ports if f"{port.vid or 0:04x}:{port.pid or 0:04x}" == wanted]
    if len(found) != 1:
        there = ", ".join(str(port.device) for port in ports) or "none"
        raise BoardError(
            f"{'Several boards' if found else 'No board'} with the USB identity "
            f"'{board.usb or ''}' of '{board.name}' (serial ports: {there}); plug one in, or name "
            f"its port in {PORT_VARIABLE}."
        )
    return str(found[0])


def flash(board: Board, elf: Path) -> None:
    """Write a firmware to the board with the tool that its file names; none where it names none.

    Raises:
        BoardError: if the tool is not installed.
        MeasureError: if it fails, or takes longer than two minutes.
    """
    if not board.flasher:
        return
    command = [part.replace("{elf}", str(elf)) for part in board.flasher]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_FLASH_TIMEOUT
        )
    except FileNotFoundError as error:
        raise BoardError(f"{command[0]} is not installed: {how_to_install(command[0])}.") from error
    except subprocess.TimeoutExpired as error:
        raise MeasureError(f"{command[0]} took longer than {_FLASH_TIMEOUT:.0f} s") from error
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise MeasureError(f"{command[0]}: {(lines or ['failed'])[-1]}")
