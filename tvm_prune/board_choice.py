"""The board that a command is about: what its name stands for, with the clock that was chosen."""

from __future__ import annotations

from dataclasses import replace

from tvm_prune.board import Board, load_board
from tvm_prune.connections import CLOCKS
from tvm_prune.errors import BoardError


def chosen_board(board: str | Board, clock: str | None = None) -> Board:
    """A board with one of its clocks.

    Args:
        board: name of a board, path of a board file, or a board.
        clock: what to measure in; the board file's clock where it is None.

    Raises:
        BoardError: if there is no such board, its file is malformed, or it has no such clock.
    """
    found = board if isinstance(board, Board) else load_board(board)
    if clock is None:
        return found
    clocks = CLOCKS[found.connection]
    if clock in clocks:
        return replace(found, clock=clock)
    reason = ""
    if clock == "seconds" and found.connection.startswith("qemu"):
        reason = (
            " It is emulated, and the time that an emulator takes says nothing about the time "
            "that a processor takes."
        )
    raise BoardError(
        f"The board '{found.name}' has no clock '{clock}'; it has: {', '.join(clocks)}.{reason}"
    )
