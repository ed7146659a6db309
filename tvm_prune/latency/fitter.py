"""Fits latency models to the measurements collected so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from tvm_prune.errors import MeasureError
from tvm_prune.latency.families import Family
from tvm_prune.latency.features import directions, feature_names, features
from tvm_prune.latency.intervals import Intervals, calibrate
from tvm_prune.latency.model import (
    LatencyModel,
    ModelError,
    baseline,
    error_on,
    predict_unseen,
)
from tvm_prune.latency.samples import Kernel, Sample, dense_kernels

_PARAMETERS = {
    "objective": "reg:squarederror",
    "max_depth": 5,
    "eta": 0.06,
    "subsample": 0.8,
    "colsample_bytree": 0.7,
    "min_child_weight": 2,
    "lambda": 1.0,
    "max_bin": 64,  # features take few values, and a fit takes a third of the time
    "nthread": 1,  # a few hundred rows: on a busy machine more threads only wait for each other
    "verbosity": 0,
}
_ROUNDS = 300
_FOLDS = 4
_HELD_OUT_SHARE = 0.2
_SMALLEST_SET = 8
_WORTH_CALIBRATING = 1.15
"""Growth of the number of samples after which intervals are cross-validated again."""

_CALM = 0.05
"""Relative spread of a measurement that one of no spread is believed twice as much as."""

Key = tuple[int, tuple[int, ...]]


@dataclass
class LatencyFitter:
    """Collects measurements of a model's kernels and fits latency models to them.

    Attributes:
        families: the kernels.
        unit: unit of the measurements.
        seed: seed of the fits and of what is held out.
        samples: the measurements to learn from, each choice of widths once.
        held_out: measurements that the error is told on, and that are not learned from.
    """

    families: Sequence[Family]
    unit: str
    seed: int = 0
    samples: dict[Key, Sample] = field(default_factory=dict)
    held_out: dict[Key, Sample] = field(default_factory=dict)
    _rows: dict[Key, NDArray[np.float32]] = field(default_factory=dict)
    _told: ModelError | None = None
    _intervals: Intervals | None = None
    _calibrated: int = 0
    _fitted: tuple[object, LatencyModel] | None = None

    @property
    def is_told(self) -> bool:
        """Whether the error was told for the last time; what is added later does not change it."""
        return self._told is not None

    def add(self, samples: Sequence[Sample]) -> bool:
        """Add measurements; tells whether any of them was new to learn from."""
        before = len(self.samples)
        for sample in samples:
            key = (sample.family, sample.widths)
            if key not in self.held_out:
                self.samples.setdefault(key, sample)
        return len(self.samples) > before

    def hold_out(self, samples: Sequence[Sample]) -> None:
        """Keep measurements for telling the error; those learned from already are not kept."""
        for sample in samples:
            key = (sample.family, sample.widths)
            if key not in self.samples:
                self.held_out.setdefault(key, sample)

    def tell(self, error: ModelError) -> None:
        """Take over an error that was told earlier on held-out kernels."""
        self._told = error

    def release(self) -> None:
        """Tell the error for the last time, and learn from the held-out measurements as well."""
        if self.held_out:
            self._told = self.fit().error
            released, self.held_out = self.held_out, {}
            self.samples.update(released)

    def fit(self) -> LatencyModel:
        """Fit a model to all measurements but those that are held out.

        Its error is told on the held-out measurements. Where none were ever held out, the first fit
        tells it on a share of the pruned kernels, which a second fit does not see. It is never told
        on later measurements: they are chosen by the planner, and would flatter it.

        Raises:
            MeasureError: if a dense kernel is missing or a measurement is not a positive number.
        """
        if self._fitted is None or self._fitted[0] != self._state:
            model = self._newly_fitted()
            self._fitted = self._state, model
        return self._fitted[1]

    @property
    def _state(self) -> object:
        """Changes with all that a fit goes by: measurements are only ever added."""
        return len(self.samples), len(self.held_out), self._told

    def _newly_fitted(self) -> LatencyModel:
        samples = list(self.samples.values())
        dense = _dense_costs(self.families, [*samples, *self.held_out.values()])
        rows = np.concatenate([self._row(sample, dense) for sample in samples])
        targets = np.array([self._target(sample, dense) for sample in samples])
        weights = np.array([1.0 / (1.0 + sample.spread / _CALM) for sample in samples])
        table = _Table(samples, rows, targets, weights, self.seed)
        intervals = self._interval(table)
        booster = table.train(np.arange(len(samples)))
        if not self.held_out and self._told is None:
            self._told = self._error_on_share(table, dense)
        return LatencyModel(
            families=self.families,
            booster=booster,
            dense_costs=dense,
            measured={key: sample.cost for key, sample in self.samples.items()},
            unit=self.unit,
            error=self._told or self._error_on_held_out(booster, dense, intervals),
            intervals=intervals,
        )

    def _row(self, sample: Sample, dense: Sequence[float]) -> NDArray[np.float32]:
        key = (sample.family, sample.widths)
        if key not in self._rows:
            family = self.families[sample.family]
            self._rows[key] = features(family, sample.kernel.row, dense[sample.family])
        return self._rows[key]

    def _target(self, sample: Sample, dense: Sequence[float]) -> float:
        family = self.families[sample.family]
        return float(
            np.log(sample.cost / baseline(family, sample.kernel.row, dense[sample.family])[0])
        )

    def _interval(self, table: _Table) -> Intervals:
        """Intervals that are cross-validated again where much was learned since the last time."""
        if self._intervals is None or len(table.samples) > _WORTH_CALIBRATING * self._calibrated:
            self._intervals = table.calibrated(self._pruned(table))
            self._calibrated = len(table.samples)
        return self._intervals.with_points(
            [sample.family for sample in table.samples],
            [sample.kernel.row[0] for sample in table.samples],
        )

    def _pruned(self, table: _Table) -> NDArray[np.int64]:
        """Positions of all but the dense kernels."""
        pruned = [
            index
            for index, sample in enumerate(table.samples)
            if sample.widths != self.families[sample.family].widths
        ]
        return np.array(pruned, dtype=np.int64)

    def _error_on_share(self, table: _Table, dense: Sequence[float]) -> ModelError:
        order = np.random.default_rng(self.seed).permutation(self._pruned(table))
        count = int(len(order) * _HELD_OUT_SHARE)
        if count < _SMALLEST_SET:
            return error_on([], np.zeros(0))
        test = order[:count]
        booster = table.train(np.setdiff1d(np.arange(len(table.samples)), test))
        tested = [table.samples[index] for index in test.tolist()]
        return error_on(tested, self._predicted(booster, tested, dense))

    def _error_on_held_out(
        self, booster: Any, dense: Sequence[float], intervals: Intervals
    ) -> ModelError:
        tested = list(self.held_out.values())
        half = [intervals.half_width(s.family, s.kernel.row)[0] for s in tested]
        return error_on(tested, self._predicted(booster, tested, dense), np.array(half))

    def _predicted(
        self, booster: Any, samples: Sequence[Sample], dense: Sequence[float]
    ) -> NDArray[np.float64]:
        return np.array(
            [
                predict_unseen(booster, self.families[s.family], s.kernel.row, dense[s.family])[0]
                for s in samples
            ]
        )


@dataclass(frozen=True)
class _Table:
    """Samples as rows of features, and what xgboost is to learn from them."""

    samples: Sequence[Sample]
    rows: NDArray[np.float32]
    targets: NDArray[np.float64]
    weights: NDArray[np.float64]
    seed: int

    def train(self, chosen: NDArray[np.int64]) -> Any:
        """A booster that has seen some of the samples."""
        targets = self.targets[chosen]
        data = xgboost.DMatrix(
            self.rows[chosen],
            label=targets,
            weight=self.weights[chosen],
            feature_names=feature_names(),
            nthread=1,
        )
        parameters = {
            **_PARAMETERS,
            "seed": self.seed,
            "base_score": float(np.median(targets)),
            "monotone_constraints": directions(),
        }
        return xgboost.train(parameters, data, num_boost_round=_ROUNDS)

    def calibrated(self, pruned: NDArray[np.int64]) -> Intervals:
        """Intervals from cross-validation over the pruned kernels."""
        residuals = np.full(len(self.samples), np.nan)
        folds = np.full(len(self.samples), -1, dtype=np.int64)
        order = np.random.default_rng(self.seed).permutation(pruned)
        if len(order) >= 2 * _FOLDS:
            for fold, test in enumerate(np.array_split(order, _FOLDS)):
                booster = self.train(np.setdiff1d(np.arange(len(self.samples)), test))
                predicted = booster.inplace_predict(self.rows[test], validate_features=False)
                residuals[test] = self.targets[test] - predicted
                folds[test] = fold
        families = np.array([sample.family for sample in self.samples], dtype=np.int64)
        points = [np.log2(sample.kernel.row[0]) for sample in self.samples]
        return calibrate(families, points, residuals, folds)


def _dense_costs(families: Sequence[Family], samples: Sequence[Sample]) -> tuple[float, ...]:
    dense: dict[Kernel, float | None] = dict.fromkeys(dense_kernels(families))
    for sample in samples:
        if not (np.isfinite(sample.cost) and sample.cost > 0):
            raise MeasureError(
                f"A kernel measured {sample.cost}, which no kernel can cost; "
                "remove the cache directory and measure again."
            )
        if sample.kernel in dense:
            dense[sample.kernel] = sample.cost
    costs = tuple(cost for cost in dense.values() if cost is not None)
    if missing := len(dense) - len(costs):
        raise MeasureError(
            f"{missing} of {len(families)} dense kernels could not be measured; "
            "run with --verbose to see why."
        )
    return costs
