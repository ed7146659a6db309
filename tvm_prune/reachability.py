"""Whether a board can be built for and reached from here."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tvm_prune.board import Board
from tvm_prune.connections import ESTIMATED_CYCLES
from tvm_prune.errors import PruneError
from tvm_prune.mcu.firmware import has_c_library, how_to_install
from tvm_prune.mcu.qemu import EMULATOR, emulator_installed
from tvm_prune.measure import count_servers, find_port
from tvm_prune.toolchain import missing

LINKERS = ("g++", "c++", "clang++")


@dataclass(frozen=True)
class Reachability:
    """What stands between this machine and a board.

    Attributes:
        name: the board.
        description: one line about it.
        target: CPU that code is built for, and number of cores.
        reachable: whether it can be built for and measured on now.
        remark: what is missing and how to get it; empty where nothing is.
    """

    name: str
    description: str
    target: str
    reachable: bool
    remark: str


def reachability(board: Board, tracker: str | None = None) -> Reachability:
    """Check that TVM knows the target, that what links code for it is installed, and its link.

    Args:
        board: the board.
        tracker: ``HOST:PORT`` of a tracker, where it is not the board file's.
    """
    try:
        board.tvm_target()
        toolchain_missing = _compiler_missing if board.is_microcontroller else _linker_missing
        remark = toolchain_missing(board) or _UNREACHABLE[board.connection](board, tracker)
    except PruneError as error:
        remark = str(error)
    cpu = board.target.get("mcpu", board.target.get("mtriple", board.target.get("kind")))
    cores = board.target.get("num-cores", 1)
    return Reachability(board.name, board.description, f"{cpu}, {cores} cores", not remark, remark)


def _linker_missing(board: Board) -> str:
    if board.linker is not None and not shutil.which(board.linker):
        return f"its linker {missing(board.linker)}"
    if board.linker is None and not any(map(shutil.which, LINKERS)):
        return "no C++ compiler to link with: apt-get install g++"
    return ""


def _no_servers(board: Board, tracker: str | None) -> str:
    if board.clock == ESTIMATED_CYCLES and (lacking := missing("llvm-mca")):
        return lacking
    registered, _ = count_servers(board, tracker)
    return "" if registered else f"no server with the key '{board.key}' is registered"


def _compiler_missing(board: Board) -> str:
    compiler = str(board.compiler)
    if not shutil.which(compiler):
        return f"its compiler {compiler} is missing: {how_to_install(compiler)}"
    if not has_c_library(compiler):
        return f"{compiler} has no newlib: apt-get install libnewlib-arm-none-eabi"
    return ""


def _no_emulator(_board: Board, _tracker: str | None) -> str:
    return "" if emulator_installed() else f"{EMULATOR} is missing: {how_to_install(EMULATOR)}"


def _no_port(board: Board, _tracker: str | None) -> str:
    if board.flasher and not shutil.which(board.flasher[0]):
        return (
            f"its flashing tool {board.flasher[0]} is missing: {how_to_install(board.flasher[0])}"
        )
    find_port(board)
    return ""


_UNREACHABLE: Mapping[str, Callable[[Board, str | None], str]] = {
    "local": lambda _board, _tracker: "",
    "rpc": _no_servers,
    "qemu-user": _no_servers,
    "qemu": _no_emulator,
    "serial": _no_port,
}
"""What is wrong with the connection, if anything is."""
