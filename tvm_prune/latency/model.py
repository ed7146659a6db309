"""The latency model: cost of any kernel of the model at any width, as learned on the board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from tvm_prune.latency.families import Family
from tvm_prune.latency.features import features, moved, multiplied, work
from tvm_prune.latency.intervals import Intervals
from tvm_prune.latency.residuals import NOTHING_LEFT, Explained, Residuals
from tvm_prune.latency.samples import Kernel, Sample, kernels_at
from tvm_prune.latency.surroundings import NOTHING_AROUND, Surroundings
from tvm_prune.latency.templates import Widths

WIDEST = 0.25
"""Half-width of an interval, in logarithms of cost, above which a kernel has to be measured: ten
kernels that are just less uncertain add up to a sum within 8 %, nine times out of ten."""

_HOPE = 0.5
"""Share of its interval's half-width by which a kernel is hoped to be cheaper than predicted."""

FEWEST = 3
"""Measured kernels below which the model has no right to predict others of the family."""


@dataclass(frozen=True)
class ModelError:
    """How far predictions are from measurements at widths the model has not seen.

    Attributes:
        samples: number of held-out kernels.
        mape_percent: mean absolute error relative to the measurement.
        within_5_percent: share of predictions at most 5 % off.
        within_10_percent: share of predictions at most 10 % off.
        spearman: rank correlation.
        within_interval: share of measurements inside their prediction intervals; not a number
            where too little was known to tell how wide those are.
    """

    samples: int
    mape_percent: float
    within_5_percent: float
    within_10_percent: float
    spearman: float
    within_interval: float = float("nan")

    def to_json(self) -> dict[str, float | None]:
        """For machines."""
        return {name: known(value) for name, value in vars(self).items()}


@dataclass(frozen=True)
class LatencyModel:
    """Predicts kernel costs of one model on one board.

    A prediction is the cost the dense kernel's efficiency would give, times a learned correction
    for what the other width does to the schedule. Kernels that were measured are not predicted.

    Attributes:
        families: the kernels.
        booster: xgboost model of the logarithm of the correction.
        dense_costs: measured cost of each family's dense kernel.
        measured: known costs by family and widths.
        unit: unit of all costs.
        error: accuracy at widths held out from the fit.
        intervals: how far costs may be from predictions.
        hope: share of an interval's half-width by which unmeasured kernels are predicted cheaper.
        surroundings: what the model adds to its kernels; nothing where it was not learned.
        residuals: what kernels cost in the model beyond that.
    """

    families: Sequence[Family]
    booster: Any
    dense_costs: tuple[float, ...]
    measured: Mapping[tuple[int, tuple[int, ...]], float]
    unit: str
    error: ModelError
    intervals: Intervals
    hope: float = 0.0
    surroundings: Surroundings = NOTHING_AROUND
    residuals: Residuals = NOTHING_LEFT

    def explaining(self, models: Mapping[Widths, float]) -> LatencyModel:
        """The same model, which goes by what whole models cost as well.

        Args:
            models: measured cost by the width of every group.
        """
        unexplained = replace(self, residuals=NOTHING_LEFT)
        if not models:
            return unexplained
        explained = [unexplained._explained(*model) for model in models.items()]
        return replace(self, residuals=Residuals.between(explained))

    def _explained(self, widths: Widths, measured: float) -> Explained:
        kernels = kernels_at(self.families, widths)
        costs = tuple(self._cost_of_calls(kernel) for kernel in kernels)
        return Explained(tuple(each.widths for each in kernels), costs, self.overhead, measured)

    def hopeful(self) -> LatencyModel:
        """The same model, which takes kernels that were not measured to be as cheap as may be.

        A search that goes by predictions alone never learns that it overrated a kernel: it does not
        choose it. One that hopes chooses such kernels, has them measured, and knows (optimism in
        the face of uncertainty; Auer et al., "Finite-time Analysis of the Multiarmed Bandit
        Problem", 2002).
        """
        return replace(self, hope=_HOPE)

    def predict(self, family: int, widths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cost of one call of a family: (n, groups of the family) -> (n,).

        A kernel of width zero is one that is not there.
        """
        cost = self._known(family, widths)
        guessed = np.isnan(cost) & (widths > 0).all(axis=1)
        cost[np.isnan(cost)] = 0.0
        if guessed.any():
            own, dense = self.families[family], self.dense_costs[family]
            cost[guessed] = predict_unseen(self.booster, own, widths[guessed], dense)
            if self.hope:
                half = self.intervals.half_width(family, widths[guessed].astype(np.float64))
                cost[guessed] *= np.exp(-self.hope * np.minimum(half, WIDEST))
        return cost

    def _known(self, family: int, widths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Measured cost of one call, not a number where there is none: (n, groups) -> (n,)."""
        keys = map(tuple, widths.tolist())
        return np.array([self.measured.get((family, key), np.nan) for key in keys], dtype=float)

    def interval(self, family: int, widths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Lowest and highest plausible cost of one call: (n, groups of the family) -> (n, 2).

        Nine of ten kernels cost what their interval says (:data:`intervals.COVERAGE`); what was
        measured is known exactly.
        """
        cost = self.predict(family, widths)
        half = self.uncertainty(family, widths)
        return np.stack([cost * np.exp(-half), cost * np.exp(half)], axis=1)

    def uncertainty(self, family: int, widths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Half-widths of the intervals, in logarithms of cost: (n, groups) -> (n,)."""
        half = self.intervals.half_width(family, widths.astype(np.float64))
        half[~np.isnan(self._known(family, widths))] = 0.0
        return half

    def in_model(self, family: int, widths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cost of one call of a family where it is called in the model: (n, groups) -> (n,)."""
        cost = self.predict(family, widths)
        if self.surroundings.per_byte:
            there = (widths > 0).all(axis=1)
            cost += (
                there
                * moved(self.families[family], widths.astype(np.float64))
                * self.surroundings.per_byte
            )
        return cost * (1.0 + self.residuals.share(family, widths))

    def total(self, widths: Sequence[int]) -> float:
        """Cost of all kernel calls of the model at the given width of every group."""
        return sum(self._cost_of_calls(kernel) for kernel in kernels_at(self.families, widths))

    def _cost_of_calls(self, kernel: Kernel) -> float:
        """Cost of all calls of a kernel in the model."""
        [cost] = self.in_model(kernel.family, kernel.row.astype(np.int64)).tolist()
        return float(cost) * len(self.families[kernel.family].calls)

    def multiplied(self, family: int) -> list[tuple[int, int]]:
        """Pairs of a family's groups, by position, whose widths' product its work goes by."""
        return multiplied(self.families[family])

    def moved(self, widths: Sequence[int]) -> float:
        """Bytes of the arguments of all kernel calls of the model."""
        return sum(
            float(moved(family, kernel.row)[0]) * len(family.calls)
            for family, kernel in zip(self.families, kernels_at(self.families, widths), strict=True)
        )

    @property
    def overhead(self) -> float:
        """What a call of the model costs beyond its kernels, however wide they are."""
        return self.surroundings.per_call * self.calls * (1.0 + self.residuals.common)

    @property
    def calls(self) -> int:
        """Number of kernel calls of the model."""
        return sum(len(family.calls) for family in self.families)

    def unsure(self, widths: Sequence[int]) -> list[Kernel]:
        """Kernels of the model at some widths that have to be measured, not predicted."""
        return [kernel for kernel in kernels_at(self.families, widths) if not self.may_tell(kernel)]

    def may_tell(self, kernel: Kernel) -> bool:
        """Whether a kernel was measured, or may be predicted.

        It may where enough kernels of its family were measured and its interval is narrow.
        """
        if (kernel.family, kernel.widths) in self.measured:
            return True
        if len(self.intervals.points.get(kernel.family, ())) < FEWEST:
            return False
        return float(self.uncertainty(kernel.family, kernel.row.astype(np.int64))[0]) <= WIDEST


def known(value: float) -> float | None:
    """A number; JSON has no word for one that could not be computed but null."""
    return value if np.isfinite(value) else None


def baseline(family: Family, widths: NDArray[np.float64], dense_cost: float) -> NDArray[np.float64]:
    """Cost at the dense kernel's efficiency, proportional to work: (n, groups) -> (n,)."""
    dense_work = float(work(family, family.arguments.dense[None, :])[0])
    return dense_cost * work(family, widths) / dense_work


def predict_unseen(
    booster: Any, family: Family, widths: NDArray[Any], dense_cost: float
) -> NDArray[np.float64]:
    """Predicted cost of one call, whether it was measured or not: (n, groups) -> (n,)."""
    as_float = widths.astype(np.float64)
    rows = features(family, as_float, dense_cost)
    correction = np.exp(booster.inplace_predict(rows, validate_features=False).astype(np.float64))
    return np.asarray(baseline(family, as_float, dense_cost) * correction)


def error_on(
    samples: Sequence[Sample],
    predicted: NDArray[np.float64],
    half_widths: NDArray[np.float64] | None = None,
) -> ModelError:
    """Error of predictions for measured kernels that the model has not seen.

    Args:
        samples: the measurements.
        predicted: predicted costs, shape (n,).
        half_widths: half-widths of the intervals in logarithms of cost, shape (n,).
    """
    if not samples:
        nan = float("nan")
        return ModelError(0, nan, nan, nan, nan)
    costs = np.array([sample.cost for sample in samples])
    ratio = predicted / costs
    off = np.abs(ratio - 1)
    inside = float("nan")
    if half_widths is not None and np.isfinite(half_widths).all():
        inside = float((np.abs(np.log(ratio)) <= half_widths + 1e-12).mean())
    return ModelError(
        samples=len(samples),
        mape_percent=float(off.mean() * 100),
        within_5_percent=float((off <= 0.05).mean()),
        within_10_percent=float((off <= 0.10).mean()),
        spearman=float(spearmanr(costs, predicted).statistic),
        within_interval=inside,
    )
