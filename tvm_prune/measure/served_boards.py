"""Open boards that are reached through servers: registered with a tracker, or emulated here."""

from __future__ import annotations

import platform
from concurrent.futures import Executor

from tvm_prune import toolchain
from tvm_prune.board import Board
from tvm_prune.connections import ESTIMATED_CYCLES, INSTRUCTIONS
from tvm_prune.cycles import Processor
from tvm_prune.emulator import EmulatedBoard, check_cpu
from tvm_prune.errors import BoardError
from tvm_prune.measure.clocks import CLOCKS
from tvm_prune.measure.repeats import Repeats
from tvm_prune.measure.rpc import RpcMeasurer
from tvm_prune.measure.servers import Finder
from tvm_prune.measure.terms import SessionTerms
from tvm_prune.measure.tracker import Server, Tracker, find_tracker

_SAME_ARCHITECTURE = {"amd64": "x86_64", "arm64": "aarch64"}
_EMULATED_TIMEOUT = 120.0
"""Seconds that a kernel may run without a sign of life where it is emulated."""


class EmulatedServers:
    """Emulated boards of this process, switched on when they are first asked for.

    Sessions follow one another: whoever asks has ended the sessions that were asked for before. A
    board that has died is replaced.

    Args:
        cpu: what QEMU calls the processor.
        key: what the boards are called.
        count: boards that are used at once.
        clock: what their clocks count.
    """

    def __init__(self, cpu: str, key: str, count: int, clock: str = INSTRUCTIONS) -> None:
        self._cpu, self._key, self._clock = cpu, key, clock
        self._boards: list[EmulatedBoard | None] = [None] * count
        self._next = 0

    @property
    def place(self) -> str:
        """Where servers are looked for; see :class:`~tvm_prune.measure.servers.Finder`."""
        return f"of the emulated boards '{self._key}'"

    @property
    def advice(self) -> str:
        """What to do where no server is left."""
        return "the log (-v) tells what became of them"

    def servers(self) -> list[str]:
        """Names of the boards."""
        return [self._running(position).name for position in range(len(self._boards))]

    def request(self, patience: float) -> Server | None:
        """Another board each time."""
        board = self._running(self._next)
        self._next = (self._next + 1) % len(self._boards)
        host, _, port = board.name.rpartition(":")
        return Server(host, int(port), self._key)

    def close(self) -> None:
        """Switch the boards off."""
        for position, board in enumerate(self._boards):
            if board is not None:
                board.close()
            self._boards[position] = None

    def _running(self, position: int) -> EmulatedBoard:
        board = self._boards[position]
        if board is not None and board.alive:
            return board
        if board is not None:
            board.close()
        board = EmulatedBoard(self._cpu, self._key, clock=self._clock)
        self._boards[position] = board
        return board


def open_served_board(board: Board, executor: Executor | None, tracker: str | None) -> RpcMeasurer:
    """A measurer for a board that is reached through servers.

    Raises:
        BoardError: if there is no tracker's address, or no linker for the board.
    """
    _check_linker(board)
    emulated = board.emulated_cpu is not None
    return RpcMeasurer(
        board.tvm_target(),
        finder_of(board, tracker),
        terms=terms_of(board),
        linker=board.linker,
        executor=executor,
        run_timeout=_EMULATED_TIMEOUT if emulated else 20.0,
        repeats=Repeats(
            samples=board.repeats, cooldown=board.cooldown, exact=CLOCKS[board.clock].exact
        ),
    )


def terms_of(board: Board) -> SessionTerms:
    """What sessions with the board have to be like."""
    estimates = board.clock == ESTIMATED_CYCLES
    processor = Processor.of_target(board.target, board.emulated_cpu) if estimates else None
    return SessionTerms(board.clock, processor, board.cores)


def finder_of(board: Board, tracker: str | None = None) -> Finder:
    """What knows a board's servers: a tracker, or this process where it emulates the board.

    Raises:
        BoardError: if there is no tracker's address and the board is not emulated, or QEMU is
            missing.
    """
    if board.emulated_cpu is not None and (tracker or board.tracker) is None:
        cpu = check_cpu(board.emulated_cpu)
        return EmulatedServers(cpu, str(board.key), board.boards, board.clock)
    return find_tracker(tracker or board.tracker, str(board.key))


def count_servers(board: Board, tracker: str | None = None) -> tuple[int, int]:
    """Number of servers that a board has, free or not, and of those that are free.

    Raises:
        BoardError: if there is no tracker's address, or QEMU is missing.
        MeasureError: if the tracker does not answer.
    """
    finder = finder_of(board, tracker)
    if isinstance(finder, Tracker):
        return len(finder.servers()), finder.free_servers()
    return board.boards, board.boards


def _check_linker(board: Board) -> None:
    triple = str(board.target.get("mtriple", platform.machine()))
    if board.linker is not None:
        toolchain.require(board.linker, f"link for the board '{board.name}' ({triple})")
    elif _architecture(triple) != _architecture(platform.machine()):
        raise BoardError(
            f"Board '{board.name}' needs a linker for {triple}: name a cross compiler as `linker` "
            "in the [toolchain] table of its file, for example aarch64-linux-gnu-g++."
        )


def _architecture(triple: str) -> str:
    name = triple.split("-")[0].lower()
    return _SAME_ARCHITECTURE.get(name, name)
