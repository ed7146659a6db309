"""Whether a board can be built for and reached from here."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from tvm_prune.board import Board
from tvm_prune.errors import BoardError

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


def reachability(board: Board) -> Reachability:
    """Check that TVM knows the target and that what links code for it is installed."""
    remark = ""
    try:
        board.tvm_target()
    except BoardError as error:
        remark = str(error)
    if not any(map(shutil.which, LINKERS)):
        remark = "no C++ compiler to link with: apt-get install g++"
    cpu = board.target.get("mcpu", board.target.get("mtriple", board.target.get("kind")))
    cores = board.target.get("num-cores", 1)
    return Reachability(board.name, board.description, f"{cpu}, {cores} cores", not remark, remark)
