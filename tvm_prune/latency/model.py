"""The latency model: cost of any kernel of the model at any width, learned on the board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray
from scipy.stats import spearmanr

from tvm_prune.errors import MeasureError
from tvm_prune.latency.families import Family
from tvm_prune.latency.features import feature_names, features, work

_PARAMETERS = {
    "objective": "reg:squarederror",
    "max_depth": 5,
    "eta": 0.06,
    "subsample": 0.8,
    "colsample_bytree": 0.7,
    "min_child_weight": 2,
    "lambda": 1.0,
    "nthread": 1,  # a few hundred rows: on a busy machine more threads only wait for each other
    "verbosity": 0,
}
_ROUNDS = 300
_HELD_OUT_SHARE = 0.2
_SMALLEST_SET = 8


@dataclass(frozen=True)
class Sample:
    """A measured kernel.

    Attributes:
        family: index of its family.
        widths: widths of the family's own groups.
        cost: measured median cost.
        spread: relative spread of the measurement.
    """

    family: int
    widths: tuple[int, ...]
    cost: float
    spread: float


@dataclass(frozen=True)
class ModelError:
    """How far predictions are from measurements at widths the model has not seen.

    Attributes:
        samples: number of held-out kernels.
        mape_percent: mean absolute error relative to the measurement.
        within_5_percent: share of predictions at most 5 % off.
        within_10_percent: share of predictions at most 10 % off.
        spearman: rank correlation.
    """

    samples: int
    mape_percent: float
    within_5_percent: float
    within_10_percent: float
    spearman: float


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
    """

    families: Sequence[Family]
    booster: Any
    dense_costs: tuple[float, ...]
    measured: dict[tuple[int, tuple[int, ...]], float]
    unit: str
    error: ModelError

    def predict(self, family: int, widths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cost of one call of a family: (n, groups of the family) -> (n,)."""
        own = self.families[family]
        cost = _predict(self.booster, own, widths, self.dense_costs[family])
        for row, key in enumerate(map(tuple, widths.tolist())):
            cost[row] = self.measured.get((family, key), cost[row])
        return cost

    def total(self, widths: Sequence[int]) -> float:
        """Cost of all kernel calls of the model at the given width of every group."""
        result = 0.0
        for index, family in enumerate(self.families):
            own = np.array([[widths[group] for group in family.groups]], dtype=np.int64)
            result += float(self.predict(index, own)[0]) * len(family.calls)
        return result


@dataclass
class LatencyFitter:
    """Collects measurements of a model's kernels and fits latency models to them.

    Attributes:
        families: the kernels.
        unit: unit of the measurements.
        seed: seed of the fits and of what is held out.
        samples: the measurements so far, each choice of widths once.
    """

    families: Sequence[Family]
    unit: str
    seed: int = 0
    samples: dict[tuple[int, tuple[int, ...]], Sample] = field(default_factory=dict)
    _rows: dict[tuple[int, tuple[int, ...]], NDArray[np.float32]] = field(default_factory=dict)
    _error: ModelError | None = None

    def add(self, samples: Sequence[Sample]) -> bool:
        """Add measurements; tells whether any of them was new."""
        before = len(self.samples)
        for sample in samples:
            self.samples.setdefault((sample.family, sample.widths), sample)
        return len(self.samples) > before

    def fit(self) -> LatencyModel:
        """Fit a model to all measurements.

        Its error is told by the first fit, for which a share of the widths is held out: later
        measurements are chosen by the planner, and would flatter it.

        Raises:
            MeasureError: if a dense kernel is missing or a measurement is not a positive number.
        """
        samples = list(self.samples.values())
        dense = _dense_costs(self.families, samples)
        for key, sample in self.samples.items():
            if key not in self._rows:
                family = self.families[sample.family]
                self._rows[key] = features(family, _as_row(sample), dense[sample.family])
        rows = np.concatenate([self._rows[key] for key in self.samples])
        targets = np.array([_target(self.families, dense, sample) for sample in samples])
        if self._error is None:
            pruned = [not _is_dense(self.families, sample) for sample in samples]
            costs = np.array([sample.cost for sample in samples])
            self._error = _held_out_error(rows, targets, costs, np.array(pruned), self.seed)
        return LatencyModel(
            families=self.families,
            booster=_train(rows, targets, self.seed),
            dense_costs=dense,
            measured={key: sample.cost for key, sample in self.samples.items()},
            unit=self.unit,
            error=self._error,
        )


def _dense_costs(families: Sequence[Family], samples: Sequence[Sample]) -> tuple[float, ...]:
    costs = {}
    for sample in samples:
        if not (np.isfinite(sample.cost) and sample.cost > 0):
            raise MeasureError(
                f"A kernel measured {sample.cost}, which no kernel can cost; "
                "remove the cache directory and measure again."
            )
        if _is_dense(families, sample):
            costs[sample.family] = sample.cost
    missing = [index for index in range(len(families)) if index not in costs]
    if missing:
        raise MeasureError(
            f"{len(missing)} of {len(families)} dense kernels could not be measured; "
            "run with --verbose to see why."
        )
    return tuple(costs[index] for index in range(len(families)))


def _is_dense(families: Sequence[Family], sample: Sample) -> bool:
    dense = families[sample.family].arguments.dense.astype(int).tolist()
    return sample.widths == tuple(dense)


def _as_row(sample: Sample) -> NDArray[np.float64]:
    return np.array([sample.widths], dtype=np.float64).reshape(1, len(sample.widths))


def _baseline(family: Family, widths: NDArray[np.float64], dense_cost: float) -> Any:
    """Cost at the dense kernel's efficiency: proportional to work."""
    dense_work = float(work(family, family.arguments.dense[None, :])[0])
    return dense_cost * work(family, widths) / dense_work


def _target(families: Sequence[Family], dense: Sequence[float], sample: Sample) -> float:
    family = families[sample.family]
    baseline = _baseline(family, _as_row(sample), dense[sample.family])
    return float(np.log(sample.cost / baseline[0]))


def _predict(
    booster: Any, family: Family, widths: NDArray[Any], dense_cost: float
) -> NDArray[np.float64]:
    as_float = widths.astype(np.float64)
    rows = features(family, as_float, dense_cost)
    correction = np.exp(booster.inplace_predict(rows, validate_features=False).astype(np.float64))
    return np.asarray(_baseline(family, as_float, dense_cost) * correction)


def _matrix(rows: NDArray[np.float32], targets: NDArray[np.float64] | None = None) -> Any:
    return xgboost.DMatrix(rows, label=targets, feature_names=feature_names(), nthread=1)


def _train(rows: NDArray[np.float32], targets: NDArray[np.float64], seed: int) -> Any:
    return xgboost.train(
        {**_PARAMETERS, "seed": seed, "base_score": float(np.median(targets))},
        _matrix(rows, targets),
        num_boost_round=_ROUNDS,
    )


def _held_out_error(
    rows: NDArray[np.float32],
    targets: NDArray[np.float64],
    costs: NDArray[np.float64],
    pruned: NDArray[np.bool_],
    seed: int,
) -> ModelError:
    """Error on a share of the pruned kernels, which a second fit does not see."""
    order = np.random.default_rng(seed).permutation(np.flatnonzero(pruned))
    count = int(len(order) * _HELD_OUT_SHARE)
    if count < _SMALLEST_SET:
        return ModelError(0, float("nan"), float("nan"), float("nan"), float("nan"))
    test = order[:count]
    train = np.setdiff1d(np.arange(len(costs)), test)
    predicted = _train(rows[train], targets[train], seed).predict(_matrix(rows[test]))
    ratio = np.exp(predicted - targets[test])
    off = np.abs(ratio - 1)
    return ModelError(
        samples=count,
        mape_percent=float(off.mean() * 100),
        within_5_percent=float((off <= 0.05).mean()),
        within_10_percent=float((off <= 0.10).mean()),
        spearman=float(spearmanr(costs[test], costs[test] * ratio).statistic),
    )
