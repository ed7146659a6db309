"""From a model to C for a microcontroller, as it is: no pruning, nothing measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvm_prune.board import Board, load_board
from tvm_prune.errors import BoardError, ExportError
from tvm_prune.export import write_c_project
from tvm_prune.mcu import CModel, compile_c_model
from tvm_prune.mcu.firmware import arena_room
from tvm_prune.mcu.pad_choice import with_padding_that_fits
from tvm_prune.model import Model
from tvm_prune.transform import inference_form
from tvm_prune.tuning import (
    find_source,
    kernel_calls,
    lower,
    open_database,
    seed_library,
    tuned_library,
)


def compile_for(
    model: Model,
    board: str | Board,
    cache: Path,
    code: str = "llvm",
    ram: int | None = None,
) -> CModel:
    """Compile a model for a microcontroller.

    Args:
        model: from :func:`tvm_prune.load`.
        board: name of a board, path of a board file, or a board.
        cache: where tuned schedules are kept; kernels that were tuned for the board use theirs.
        code: ``llvm`` for kernels as an object file, ``c`` for source.
        ram: bytes that the arena may take, if that can be; by default what the board's RAM leaves.

    Raises:
        BoardError: if the board is no microcontroller.
        ExportError: if the model holds something that firmware cannot run.
    """
    board = board if isinstance(board, Board) else load_board(board)
    if not board.is_microcontroller:
        raise BoardError(
            f"'{board.name}' is no microcontroller, so there is no C project for it. "
            "`tvm-prune boards` lists the boards; `tvm-prune prune` writes a library for this one."
        )
    target = board.tvm_target()
    lowered = lower(inference_form(model), target)
    fastest = _schedules(lowered, target, cache / board.fingerprint)
    scheduled = with_padding_that_fits(lowered, fastest, target, arena_room(board, ram))
    return compile_c_model(
        lowered, target, model.name, model.inputs, model.outputs, scheduled=scheduled, code=code
    )


def write_project(
    model: Model,
    board: str | Board,
    directory: Path,
    cache: Path,
    code: str = "llvm",
    ram: int | None = None,
) -> CModel:
    """Compile a model for a microcontroller and write the C project; see :func:`compile_for`.

    Raises:
        BoardError: if the board is no microcontroller.
        ExportError: if the model does not fit the board or `ram`, or cannot run there.
    """
    board = board if isinstance(board, Board) else load_board(board)
    compiled = compile_for(model, board, cache, code, ram)
    if ram is not None and compiled.footprint.arena > ram:
        raise ExportError(
            f"The arena of '{model.name}' takes {compiled.footprint.arena:,} bytes at least, "
            f"more than the {ram:,} that --ram allows. Allow as much, or prune the model "
            f"(`tvm-prune prune MODEL --board {board.name} --ram {ram}`)."
        )
    write_c_project(directory, compiled, board)
    return compiled


def _schedules(lowered: Any, target: Any, cache: Path) -> dict[str, Any]:
    """The schedule of every kernel: tuned for this board, or by rule."""
    library = seed_library(target)
    databases = []
    if cache.is_dir():
        databases = [open_database(cache)]
        library = library.with_traces(tuned_library(databases[0], target).traces)
    scheduled: dict[str, Any] = {}
    for call in kernel_calls(lowered):
        if call.name not in scheduled:
            source = find_source(call.workload, target, databases, library)
            scheduled[call.name] = source.schedule(call.workload, target)
    return scheduled
