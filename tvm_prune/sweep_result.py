"""What a sweep over budgets returns, and how it is written down."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_prune import __version__
from tvm_prune.board import Board
from tvm_prune.measurement import Measurement
from tvm_prune.report import sweep_plot, sweep_text


@dataclass(frozen=True)
class SweepPoint:
    """One model of a sweep.

    Attributes:
        name: its budget as text, and the name of its directory; ``dense`` for the dense model.
        latency: measured latency, or None where the budget could not be met.
        dense_latency: that of the dense model, measured in turns with it.
        accuracy: 0..1, or None without labelled data.
        importance_kept: harmonic mean over the groups of the share of importance kept, 0..1.
        parameters: number of weights.
        macs: multiply-accumulates of one call.
        bundle: directory of the bundle; None for the dense model, and where there is none.
        reason: why the budget could not be met; empty where it was.
    """

    name: str
    latency: Measurement | None = None
    dense_latency: Measurement | None = None
    accuracy: float | None = None
    importance_kept: float | None = None
    parameters: int | None = None
    macs: int | None = None
    bundle: Path | None = None
    reason: str = ""

    @property
    def ratio(self) -> float | None:
        """Measured latency over that of the dense model."""
        if self.latency is None or self.dense_latency is None:
            return None
        return self.latency.median / self.dense_latency.median

    @property
    def quality(self) -> float | None:
        """What latency is traded for: accuracy where it is known, else the importance kept."""
        return self.importance_kept if self.accuracy is None else self.accuracy

    def is_dominated_by(self, other: SweepPoint) -> bool:
        """Whether another model is at least as fast and as good, and better in one of both."""
        own, its = (self.ratio, self.quality), (other.ratio, other.quality)
        if own[0] is None or own[1] is None or its[0] is None or its[1] is None:
            return False
        return its[0] <= own[0] and its[1] >= own[1] and its != own


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found; the pruned models are in the bundles of its points.

    Attributes:
        model: name of the model.
        board: the board it was built for and measured on.
        dense: the dense model; None where no budget could be met.
        points: one for each budget, in order.
        together: whether all models were measured in one run, in turns.
    """

    model: str
    board: Board
    dense: SweepPoint | None
    points: tuple[SweepPoint, ...]
    together: bool

    @property
    def models(self) -> tuple[SweepPoint, ...]:
        """The dense model and the points whose budgets were met."""
        met = [point for point in self.points if point.latency is not None]
        return tuple(met if self.dense is None else [self.dense, *met])

    def is_dominated(self, point: SweepPoint) -> bool:
        """Whether another model of the sweep is at least as fast and as good, and not the same."""
        return any(point.is_dominated_by(other) for other in self.models)

    def to_json(self) -> dict[str, Any]:
        """Everything but the models, for machines."""
        return {
            "tool": {"name": "tvm_prune", "version": __version__},
            "model": self.model,
            "board": {
                "name": self.board.name,
                "fingerprint": self.board.fingerprint,
                "cpu": self.board.cpu,
            },
            "measured_together": self.together,
            "dense": None if self.dense is None else self._row(self.dense),
            "points": [self._row(point) for point in self.points],
        }

    def _row(self, point: SweepPoint) -> dict[str, Any]:
        latency = point.latency
        return {
            "budget": point.name,
            "latency": None
            if latency is None
            else {
                "unit": latency.unit,
                "median": latency.median,
                "spread": latency.spread,
                "samples": len(latency.samples),
            },
            "ratio": point.ratio,
            "accuracy": point.accuracy,
            "importance_kept": point.importance_kept,
            "parameters": point.parameters,
            "macs": point.macs,
            "dominated": self.is_dominated(point),
            "bundle": None if point.bundle is None else point.bundle.name,
            "reason": point.reason,
        }

    def report(self) -> str:
        """The table of the sweep."""
        return sweep_text(self.to_json())

    def save(self, directory: Path) -> None:
        """Write ``sweep.json``, ``sweep.txt`` and ``sweep.svg`` beside the bundles."""
        data = self.to_json()
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "sweep.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        (directory / "sweep.txt").write_text(sweep_text(data), encoding="utf-8")
        (directory / "sweep.svg").write_bytes(sweep_plot(data))
