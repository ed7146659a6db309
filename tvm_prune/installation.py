"""A bundle on its board: uploaded after its check, compared with ONNX Runtime, and measured."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from tvm_prune.activations import activations
from tvm_prune.board import Board
from tvm_prune.board_choice import chosen_board
from tvm_prune.connections import CLOCKS
from tvm_prune.errors import BoardError, BundleError
from tvm_prune.export import Bundle
from tvm_prune.export.bundle import LIBRARY, ONNX
from tvm_prune.measure import MEASURERS, RpcMeasurer
from tvm_prune.measurement import BoardMeasurer, Measurement
from tvm_prune.model import bound_inputs, split_batches
from tvm_prune.units import cost_text, unit_of
from tvm_prune.verification import checked_error, run_batches

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Installation:
    """What became of a bundle on a board.

    Attributes:
        board: its name.
        max_relative_error: largest difference from ONNX Runtime relative to the largest value.
        samples: inputs that were compared.
        latency: measured now.
        latency_then: median of the latency that the bundle was delivered with, in the same unit.
        kept_at: path on the board, where the model stays there.
    """

    board: str
    max_relative_error: float
    samples: int
    latency: Measurement
    latency_then: float
    kept_at: str | None

    def report(self) -> str:
        """For people."""
        cost, unit = self.latency, self.latency.unit
        kept = self.kept_at or "nowhere; --keep leaves it on the board"
        return (
            f"{self.board}: output equals ONNX Runtime's within {self.max_relative_error:.1e} on "
            f"{self.samples} inputs\n"
            f"latency {cost_text(cost.median, unit)} (spread {cost.spread:.1%}), "
            f"{cost_text(self.latency_then, unit)} when it was pruned\n"
            f"kept at {kept}"
        )

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "board": self.board,
            "max_relative_error": self.max_relative_error,
            "samples": self.samples,
            "latency": {
                "unit": self.latency.unit,
                "median": self.latency.median,
                "spread": self.latency.spread,
                "when_pruned": self.latency_then,
            },
            "kept_at": self.kept_at,
        }


def install(
    bundle: Bundle,
    board: str | Board,
    inputs: Arrays,
    *,
    tracker: str | None = None,
    clock: str | None = None,
    keep: bool = False,
) -> Installation:
    """Run a bundle on a board, and leave it there if asked to.

    Args:
        bundle: from :func:`tvm_prune.export.read_bundle`.
        board: name of a board, path of a board file, or a board.
        inputs: samples stacked along the first axis, by input name.
        tracker: ``HOST:PORT`` of the tracker that knows the board's servers.
        clock: what the board measures in; by default, a board that is given by name measures in
            what the bundle was measured in, if it can.
        keep: whether the model stays on the board.

    Raises:
        BundleError: if the bundle is for another board, or its library is not the manifest's.
        VerificationError: if the board computes something else than ONNX Runtime.
        MeasureError: if the model does not run there, or cannot be kept.
    """
    if not isinstance(board, Board) and clock is None:
        clock = _clock_of(bundle, chosen_board(board))
    board = chosen_board(board, clock)
    _check_board(bundle, board)
    specs = bundle.inputs
    arrays = bound_inputs(specs, inputs, batch=True)
    batches = split_batches(specs, arrays)
    expected = activations(_reference(bundle), {}, [spec.name for spec in bundle.outputs], batches)
    measurer = MEASURERS[board.connection](board, None, tracker)
    try:
        with tempfile.TemporaryDirectory(prefix="tvm-prune-") as folder:
            library = _checked_copy(bundle, Path(folder))
            outputs = run_batches(library, specs, arrays, measurer)
            name = "model as ONNX"
            error = checked_error(name, bundle.outputs, expected, outputs)
            [latency] = measurer.time_models([library], batches[0])
            kept_at = _keep(measurer, board, library, bundle) if keep else None
    finally:
        measurer.close()
    then = float(bundle.manifest["latency"]["pruned"]["median"])
    return Installation(board.name, error, len(outputs[0]), latency, then, kept_at)


def _clock_of(bundle: Bundle, board: Board) -> str | None:
    """The clock that the bundle was measured with, where the board has it."""
    unit = bundle.manifest["latency"]["unit"]
    return next((name for name in CLOCKS[board.connection] if unit_of(name) == unit), None)


def _check_board(bundle: Bundle, board: Board) -> None:
    built_for, unit = bundle.manifest["target"], bundle.manifest["latency"]["unit"]
    if dict(board.target) != built_for:
        raise BundleError(
            f"The bundle was built for {_target_text(built_for)}, but the board '{board.name}' is "
            f"{_target_text(board.target)}; prune the model for this board."
        )
    if unit != board.unit:
        raise BundleError(
            f"The bundle was measured in {unit}, but the board '{board.name}' measures in "
            f"{board.unit}, which cannot be compared; prune the model for this board."
        )


def _target_text(target: Mapping[str, Any]) -> str:
    parts = [str(target.get(key)) for key in ("mtriple", "mcpu") if target.get(key)]
    return f"{' '.join(parts)} with {target.get('num-cores', 1)} cores"


def _reference(bundle: Bundle) -> Any:
    path = bundle.directory / ONNX
    if ONNX not in bundle.manifest["files"]:
        raise BundleError(
            f"{bundle.directory} has no {ONNX} to compare the board's outputs with, because ONNX "
            "cannot express the model; use TVM's RPC client to run it."
        )
    return onnx.load(path)


def _checked_copy(bundle: Bundle, folder: Path) -> Path:
    """What is uploaded is what was checked, whoever writes to the bundle meanwhile."""
    content = bundle.library.read_bytes()
    if hashlib.sha256(content).hexdigest() != bundle.manifest["files"][LIBRARY]:
        raise BundleError(f"{bundle.library} was altered; nothing was uploaded.")
    copy = folder / LIBRARY
    copy.write_bytes(content)
    return copy


def _keep(measurer: BoardMeasurer, board: Board, library: Path, bundle: Bundle) -> str:
    if not isinstance(measurer, RpcMeasurer):
        raise BoardError(
            f"The board '{board.name}' is this machine: the bundle is there already; "
            "leave out --keep."
        )
    model = re.sub(r"[^\w.-]", "_", str(bundle.manifest["model"]))
    return measurer.keep(library, f"{model}-{bundle.manifest['files'][LIBRARY][:12]}.so")
