"""From a model to C for a microcontroller, as it is: no pruning, nothing measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvm_prune.board import Board, load_board
from tvm_prune.errors import BoardError
from tvm_prune.export import write_c_project
from tvm_prune.mcu import CModel, compile_c_model
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


def compile_for(model: Model, board: str | Board, cache: Path, code: str = "llvm") -> CModel:
    """Compile a model for a microcontroller.

    Args:
        model: from :func:`tvm_prune.load`.
        board: name of a board, path of a board file, or a board.
        cache: where tuned schedules are kept; kernels that were tuned for the board use theirs.
        code: ``llvm`` for kernels as an object file, ``c`` for source.

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
    scheduled = _schedules(lowered, target, cache / board.fingerprint)
    return compile_c_model(
        lowered, target, model.name, model.inputs, model.outputs, scheduled=scheduled, code=code
    )


def write_project(
    model: Model, board: str | Board, directory: Path, cache: Path, code: str = "llvm"
) -> CModel:
    """Compile a model for a microcontroller and write the C project; see :func:`compile_for`.

    Raises:
        BoardError: if the board is no microcontroller.
        ExportError: if the model does not fit the board, or cannot run there.
    """
    board = board if isinstance(board, Board) else load_board(board)
    compiled = compile_for(model, board, cache, code)
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
