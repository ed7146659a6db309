"""A close look at one board: can it be built for and reached, and is it what its file says?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax

from tvm_prune.board import Board
from tvm_prune.connections import SERVED
from tvm_prune.errors import BoardError
from tvm_prune.measure import MEASURERS, RpcMeasurer, count_servers
from tvm_prune.measurement import Artifact, Measurement
from tvm_prune.tuning import default_schedule, kernel_calls, lower
from tvm_prune.units import kernel_cost_text

FEATURES: Mapping[str, str] = {
    "+neon": "asimd",
    "+fullfp16": "asimdhp",
    "+dotprod": "asimddp",
    "+lse": "atomics",
    "+crc": "crc32",
    "+sve": "sve",
}
"""What the kernel of an aarch64 Linux calls LLVM's features."""

_SIZE = 32
"""Rows and columns of the matrices that the kernel multiplies."""


@dataclass(frozen=True)
class BoardCheck:
    """What was found at a board.

    Attributes:
        board: its name.
        linker: what links for it; None is this machine's compiler.
        servers: number of its servers; None for this machine.
        free: number of those that nobody used; likewise.
        facts: what a server's agent tells of the board; nothing where TVM's own server runs.
        cost: what a kernel costs there, in `unit`.
        unit: unit of the board's measurements.
    """

    board: str
    linker: str | None
    servers: int | None
    free: int | None
    facts: Mapping[str, Any]
    cost: float
    unit: str

    def report(self) -> str:
        """For people."""
        lines = [f"{self.board} is ready", f"  linker     {self.linker or 'of this machine'}"]
        if self.servers is not None:
            lines.append(f"  servers    {self.servers}, {self.free} of them free")
        told = [f"  {name:<10} {value}" for name, value in self.facts.items()]
        if self.servers is not None and not told:
            told = ["  (TVM's own server tells nothing about the board)"]
        cost = kernel_cost_text(self.cost, self.unit)
        return "\n".join([*lines, *told, f"  a matrix product of {_SIZE} x {_SIZE}: {cost}"])

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {**vars(self), "facts": dict(self.facts)}


def check_board(board: Board, tracker: str | None = None) -> BoardCheck:
    """Build a kernel for a board and run it there.

    Args:
        board: the board.
        tracker: ``HOST:PORT`` of the tracker that knows its servers.

    Raises:
        BoardError: if something is missing here, or the board is not what its file says.
        MeasureError: if no server answers, or it does not run the kernel.
    """
    served = board.connection in SERVED
    measurer = MEASURERS[board.connection](board, None, tracker)
    try:
        servers, free = count_servers(board, tracker) if served else (None, None)
        facts = measurer.describe() if isinstance(measurer, RpcMeasurer) else {}
        check_facts(board, facts)
        [built] = measurer.build([_kernel(board.tvm_target())])
        [outcome] = measurer.run([built]) if isinstance(built, Artifact) else [built]
    finally:
        measurer.close()
    if not isinstance(outcome, Measurement):
        raise BoardError(
            f"The board '{board.name}' does not run a kernel that was built for it: {outcome.cause}"
        )
    return BoardCheck(
        board.name, board.linker, servers, free, facts, outcome.median, outcome.unit
    )  # fmt: skip


def check_facts(board: Board, facts: Mapping[str, Any]) -> None:
    """Compare what an agent tells with the board's file."""
    if not facts:
        return
    machine, triple = str(facts["machine"]), str(board.target.get("mtriple", ""))
    if not triple.startswith(machine[:3]):
        raise BoardError(
            f"The server of '{board.name}' is a {machine}, but its file says {triple}; give the "
            "server another key, or correct the file."
        )
    there = str(facts["features"]).split()
    wanted = [str(name) for name in board.target.get("mattr", ()) if name in FEATURES]
    lacking = [name for name in wanted if FEATURES[name] not in there]
    if lacking and machine == "aarch64":
        raise BoardError(
            f"The processor of '{board.name}' lacks {', '.join(lacking)}, which its file names in "
            f"`mattr`; it has {' '.join(there)}."
        )


def matrix_product(size: int) -> Any:
    """A Relax module whose ``main`` multiplies `left` and `right`, float32 squares of `size`."""
    builder = relax.BlockBuilder()
    kind = relax.TensorType((size, size), "float32")
    left, right = relax.Var("left", kind), relax.Var("right", kind)
    with builder.function("main", [left, right]):
        with builder.dataflow():
            product = builder.emit_output(relax.op.matmul(left, right))
        builder.emit_func_output(product)
    return builder.get()


def _kernel(target: Any) -> Any:
    """A matrix product, scheduled for a target."""
    with tvm.target.Target(target):
        [call] = kernel_calls(lower(matrix_product(_SIZE), target))
    return default_schedule(call.workload, target).mod
