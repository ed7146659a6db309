"""Unstructured pruning: small weights become zero, and what that brings is measured."""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.board import Board
from tvm_prune.measurement import Measurement
from tvm_prune.model import Model, TensorSpec
from tvm_prune.progress import Progress, Silent
from tvm_prune.report import sparsity_text
from tvm_prune.settings import Settings
from tvm_prune.to_onnx import to_onnx
from tvm_prune.transform import WeightThreshold, is_weight, prune_weights
from tvm_prune.verification import accuracy, labelled
from tvm_prune.workflow import opened


@dataclass(frozen=True)
class SparseResult:
    """A model with zeros in it, and what they bring.

    Attributes:
        model: the model; its shapes are the dense one's.
        threshold: which weights went.
        board: the board it was measured on.
        sparsity: share of the weights that are zero, 0..1, before and after.
        compressed: bytes of all parameters after LZMA, before and after.
        latency: measured in turns, before and after.
        accuracy: share of labelled samples that are right, before and after, or None.
    """

    model: Model
    threshold: WeightThreshold
    board: Board
    sparsity: tuple[float, float]
    compressed: tuple[int, int]
    latency: tuple[Measurement, Measurement]
    accuracy: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        """Everything but the weights, for machines."""
        before, after = self.latency
        return {
            "model": self.model.name,
            "board": self.board.name,
            "threshold": vars(self.threshold),
            "sparsity": {"dense": self.sparsity[0], "pruned": self.sparsity[1]},
            "compressed_bytes": {"dense": self.compressed[0], "pruned": self.compressed[1]},
            "latency": {
                "unit": before.unit,
                "dense": {"median": before.median, "spread": before.spread},
                "pruned": {"median": after.median, "spread": after.spread},
            },
            "accuracy": None
            if self.accuracy is None
            else {"dense": self.accuracy[0], "pruned": self.accuracy[1]},
        }

    def report(self) -> str:
        """The result as text for people."""
        return sparsity_text(self.to_json())

    def save(self, directory: str | Path) -> None:
        """Write the model as ONNX, and the report.

        Raises:
            ExportError: if ONNX has no equivalent for an op of the model.
        """
        proto = to_onnx(self.model)
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(proto.SerializeToString())
        (folder / "report.txt").write_text(self.report() + "\n", encoding="utf-8")
        text = json.dumps(self.to_json(), indent=2) + "\n"
        (folder / "report.json").write_text(text, encoding="utf-8")


def sparsify(
    model: Model,
    board: str | Board = "host",
    *,
    threshold: WeightThreshold,
    evaluation: Mapping[str, NDArray[Any]] | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> SparseResult:
    """Set small weights to zero, and measure size, latency and accuracy before and after.

    Args:
        model: the trained model.
        board: name of a board, path of a board file, or a board.
        threshold: which weights go, tensor by tensor.
        evaluation: labelled samples (``label``) to tell the accuracies.
        settings: effort of tuning, seed and cache.
        progress: receives the steps of the run.

    Raises:
        PruneError: any error of this package.
    """
    checked = labelled(model.inputs, evaluation) if evaluation is not None else None
    sparse = prune_weights(model, threshold)
    with opened(model, board, settings or Settings(), progress or Silent()) as search:
        search.tune()
        libraries = [search.folder / name for name in ("dense.so", "sparse.so")]
        for each, path in zip((model, sparse), libraries, strict=True):
            search.models.compile(each, path)
        before, after = search.models.measure(libraries)
        measurer = search.session.measurer
        return SparseResult(
            model=sparse,
            threshold=threshold,
            board=search.session.board,
            sparsity=(_sparsity(model), _sparsity(sparse)),
            compressed=(compressed_size(model), compressed_size(sparse)),
            latency=(before, after),
            accuracy=_accuracies(libraries, model.inputs, checked, measurer),
        )


def compressed_size(model: Model) -> int:
    """Bytes of all parameters after LZMA."""
    raw = b"".join(np.ascontiguousarray(value).tobytes() for value in model.parameters.values())
    return len(lzma.compress(raw, preset=1))


def _sparsity(model: Model) -> float:
    weights = [value for value in model.parameters.values() if is_weight(value)]
    total = sum(value.size for value in weights)
    return sum(int((value == 0).sum()) for value in weights) / max(1, total)


def _accuracies(
    libraries: list[Path], inputs: tuple[TensorSpec, ...], data: Any, measurer: Any
) -> tuple[float, float] | None:
    if data is None:
        return None
    before, after = (accuracy(library, inputs, data, measurer) for library in libraries)
    return before, after
