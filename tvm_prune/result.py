"""What a run returns, and how it is written down."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tvm_prune import __version__
from tvm_prune.board import Board
from tvm_prune.errors import ExportError
from tvm_prune.export import Bundle, write_bundle
from tvm_prune.latency import ModelError
from tvm_prune.measurement import Measurement
from tvm_prune.model import Model
from tvm_prune.operations import multiply_accumulates
from tvm_prune.plan import PruningPlan
from tvm_prune.report import report_text
from tvm_prune.to_onnx import to_onnx
from tvm_prune.tuning import TuningReport
from tvm_prune.verification import Verification

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PruneResult:
    """A pruned model that meets its budgets, with everything that was measured on the way.

    Attributes:
        model: the pruned model, its parameters as they are deployed.
        plan: what was kept.
        board: the board it was built for and measured on.
        budget: the budgets as the user gave them.
        dense_latency: measured latency of the tuned dense model.
        latency: measured latency of the pruned model, in the same interleaved run.
        predicted: latency the planner expected for this plan before it was built, at the speed
            that the machine had when the dense model was measured last.
        dense_accuracy: accuracy of the dense model, 0..1, where labelled data was given.
        accuracy: accuracy of the pruned model, likewise.
        dense_parameters: number of weights of the dense model.
        dense_macs: multiply-accumulates of one call of the dense model.
        importance_kept: harmonic mean over the groups of the share that is kept, 0..1: of the
            importance, or of the output's signal where the planner went by sensitivity.
        gap: how much better the best possible choice of widths might be under the latency model,
            relative to the planner's objective.
        model_error: accuracy of the latency model on held-out widths.
        verification: comparison with the masked dense model and with the pruned model as ONNX.
        tuning: what tuning did in this run.
        attempts: predicted and measured latency of every plan that was built.
        library: the compiled model as bytes.
        project: files of the C project that it was built from, where it is firmware.
        dense_memory: bytes of ``flash`` and ``ram`` of the dense firmware, where it is firmware.
        memory: the same of the pruned one.
        dropped: blocks that the model went without before its channels were pruned.
    """

    model: Model
    plan: PruningPlan
    board: Board
    budget: str
    dense_latency: Measurement
    latency: Measurement
    predicted: float
    dense_accuracy: float | None
    accuracy: float | None
    dense_parameters: int
    dense_macs: int
    importance_kept: float
    gap: float
    model_error: ModelError
    verification: Verification
    tuning: TuningReport
    attempts: tuple[tuple[float, float], ...]
    library: bytes
    project: Mapping[str, bytes] = field(default_factory=dict)
    dense_memory: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, float] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()

    @property
    def latency_ratio(self) -> float:
        """Measured latency of the pruned model over that of the dense one."""
        return self.latency.median / self.dense_latency.median

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one call of the pruned model."""
        return multiply_accumulates(self.model.module)

    def to_json(self) -> dict[str, Any]:
        """Everything but the weights, for machines."""
        return {
            "tool": {"name": "tvm_prune", "version": __version__},
            "versions": {name: version(name) for name in ("apache-tvm", "onnx", "numpy")},
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "model": self.model.name,
            "board": {"name": self.board.name, "fingerprint": self.board.fingerprint,
                      "cpu": self.board.cpu, "system": platform.platform()},
            "target": dict(self.board.target),
            "budget": self.budget,
            "inputs": [spec.to_json() for spec in self.model.inputs],
            "outputs": [spec.to_json() for spec in self.model.outputs],
            "latency": {
                "unit": self.latency.unit,
                "dense": _cost(self.dense_latency),
                "pruned": _cost(self.latency),
                "ratio": self.latency_ratio,
                "predicted": self.predicted,
                "attempts": [list(pair) for pair in self.attempts],
            },
            "accuracy": {
                "dense": self.dense_accuracy,
                "pruned": self.accuracy,
                "told_by": "ONNX Runtime" if self.board.is_slow else "the board",
            },
            "parameters": {
                "dense": self.dense_parameters, "pruned": self.model.parameter_count},
            "macs": {"dense": self.dense_macs, "pruned": self.macs},
            "memory": {
                name: {"dense": int(self.dense_memory[name]), "pruned": int(size)}
                for name, size in self.memory.items()
            },
            "importance_kept": self.importance_kept,
            "planner": {"gap_percent": self.gap * 100},
            "latency_model": self.model_error.to_json(),
            "verification": vars(self.verification),
            "tuning": {
                "trials": self.tuning.trials,
                "kernels": len(self.tuning.kernels),
                "kernels_reused": self.tuning.reused,
                "failures": [vars(failure) for failure in self.tuning.failures],
            },
            "dropped_blocks": list(self.dropped),
            "widths": [vars(width) for width in self.plan.widths],
        }  # fmt: skip

    def report(self) -> str:
        """The result as text for people."""
        return report_text(self.to_json())

    def save(self, directory: str | Path) -> Bundle:
        """Write the bundle: compiled model, ONNX model, plan, manifest and report."""
        return write_bundle(
            Path(directory), self.library, self.plan, self.report(), self.to_json(), self._onnx(),
            self.project,
        )  # fmt: skip

    def _onnx(self) -> bytes | None:
        try:
            return bytes(to_onnx(self.model).SerializeToString())
        except ExportError as error:
            logger.warning("the bundle has no ONNX model: %s", error)
            return None


def _cost(measurement: Measurement) -> dict[str, float | int]:
    return {
        "median": measurement.median,
        "spread": measurement.spread,
        "samples": len(measurement.samples),
    }
