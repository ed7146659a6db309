"""Learning what the kernels of a model cost on a board, without pruning it yet."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tvm_prune.board import Board
from tvm_prune.latency import MOST_MEASUREMENTS, Collector, Effort, ModelError, known, open_records
from tvm_prune.model import Model
from tvm_prune.progress import Progress, Silent
from tvm_prune.search import Search
from tvm_prune.settings import Settings
from tvm_prune.workflow import opened

_REPEATED = 16
"""Kernels that are measured a second time, to know the board's own noise."""


@dataclass(frozen=True)
class Acquisition:
    """What was learned.

    Attributes:
        board: name of the board.
        measurements: kernels that the latency model knows.
        measured_now: those that were measured by this run, failed ones included.
        failures: those that gave no measurement.
        repeat_noise_percent: median difference between two measurements of the same kernel; not a
            number where nothing could be measured again.
        error: accuracy of the latency model at widths it had not seen.
        path: file of the latency model.
    """

    board: str
    measurements: int
    measured_now: int
    failures: int
    repeat_noise_percent: float
    error: ModelError
    path: Path

    def report(self) -> str:
        """For people."""
        error = self.error
        lines = [
            f"{self.measurements} kernels known on {self.board}; {self.measured_now} measured now, "
            f"{self.failures} of them without success",
            f"measured again, they differ by {self.repeat_noise_percent:.1f} %",
        ]
        if error.samples:
            lines += [
                f"error at {error.samples} held-out kernels: {error.mape_percent:.1f} % on average",
                f"  within 5 %        {error.within_5_percent:.0%}",
                f"  within 10 %       {error.within_10_percent:.0%}",
                f"  rank correlation  {error.spearman:.3f}",
            ]
        else:
            lines.append("too few kernels to hold some out and tell the error")
        return "\n".join([*lines, f"latency model: {self.path}"])

    def to_json(self) -> dict[str, Any]:
        """For machines; what is not known is null."""
        return {
            "board": self.board,
            "measurements": self.measurements,
            "measured_now": self.measured_now,
            "failures": self.failures,
            "repeat_noise_percent": known(self.repeat_noise_percent),
            "error": self.error.to_json(),
            "path": str(self.path),
        }


def measure_kernels(
    model: Model,
    board: str | Board = "host",
    *,
    measurements: int = MOST_MEASUREMENTS,
    minutes: float | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Acquisition:
    """Tune a model's kernels, measure pruned ones where that teaches most, and fit.

    Everything is kept in the cache: pruning the same model on the same board starts from it.

    Args:
        model: the trained model.
        board: name of a board, path of a board file, or a board.
        measurements: kernels to measure at most.
        minutes: time to spend on measuring, tuning not included; no limit by default.
        settings: tuning effort, seed and cache.
        progress: receives the steps of the run.

    Raises:
        PruneError: if the model has nothing to prune, or the board does not measure.
    """
    seconds = math.inf if minutes is None else minutes * 60
    with opened(model, board, settings or Settings(), progress or Silent()) as search:
        search.tune()
        latency_model = search.fit(Effort(measurements, seconds))
        return Acquisition(
            board=search.session.board.name,
            measurements=len(search.fitter.samples),
            measured_now=search.collector.measured,
            failures=len(search.collector.failures),
            repeat_noise_percent=_repeat_noise(search),
            error=latency_model.error,
            path=search.learning.path,
        )


def _repeat_noise(search: Search) -> float:
    """Median difference, in percent, between measurements of some kernels and fresh ones."""
    session, samples = search.session, list(search.fitter.samples.values())
    chosen = np.random.default_rng(search.settings.seed).permutation(len(samples))[:_REPEATED]
    known = {samples[index].kernel: samples[index].cost for index in chosen.tolist()}
    with open_records(search.folder / "repeated.sqlite") as records:
        collector = Collector(
            search.families, session.measurer, records, session.board.fingerprint, session.target
        )
        again = collector.collect_kernels(known)
    if not again:
        return math.nan
    return float(statistics.median(abs(s.cost / known[s.kernel] - 1) * 100 for s in again))
