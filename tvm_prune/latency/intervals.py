"""Prediction intervals by cross-validated conformal prediction.

A prediction is the less certain the worse its family was predicted in cross-validation, and the
further it is from the family's measured kernels. How wide intervals have to be on top of that is
read off the cross-validated residuals, so that they hold the stated share of kernels whatever the
residuals are distributed like (Papadopoulos et al., "Normalized nonconformity measures for
regression conformal prediction", 2008; Barber et al., "Predictive inference with the jackknife+",
2021).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

COVERAGE = 0.9
"""Share of kernels whose cost lies within their interval."""

_PRIOR_SAMPLES = 5.0
"""Weight of all families' residuals against those of one family, in samples of that family."""

_SMALLEST_SCALE = 0.01


@dataclass(frozen=True)
class Intervals:
    """How far costs may be from their predictions.

    Attributes:
        quantile: half-width of an interval in units of the scale, infinite where too little is
            known to tell.
        scales: usual residual of each family with measured kernels, in logarithms of cost.
        scale: usual residual of a family without any.
        points: logarithms of the widths of the measured kernels, by family: (n, groups).
    """

    quantile: float
    scales: Mapping[int, float]
    scale: float
    points: Mapping[int, NDArray[np.float64]]

    def scale_of(self, family: int) -> float:
        """Usual residual of a family, in logarithms of cost."""
        return self.scales.get(family, self.scale)

    def with_points(
        self, families: Sequence[int], widths: Sequence[NDArray[np.float64]]
    ) -> Intervals:
        """The same intervals with these measured kernels, given by family and widths."""
        return replace(self, points=places(families, [np.log2(row) for row in widths]))

    def half_width(self, family: int, widths: NDArray[np.float64]) -> NDArray[np.float64]:
        """Half-widths in logarithms of cost: (n, groups of the family) -> (n,)."""
        known = self.points.get(family, np.zeros((0, widths.shape[1])))
        return self.quantile * self.scale_of(family) * (1.0 + distances(np.log2(widths), known))


def calibrate(
    families: NDArray[np.int64],
    points: Sequence[NDArray[np.float64]],
    residuals: NDArray[np.float64],
    folds: NDArray[np.int64],
) -> Intervals:
    """Intervals from cross-validated residuals.

    Args:
        families: family of each kernel, shape (n,).
        points: logarithms of the widths of each kernel.
        residuals: logarithm of measured over predicted cost, where the kernel's fold was left out,
            shape (n,); NaN for kernels that were in no fold.
        folds: fold of each kernel, shape (n,).
    """
    known = np.isfinite(residuals)
    overall = float(np.sqrt(np.mean(residuals[known] ** 2))) if known.any() else 0.0
    overall = max(overall, _SMALLEST_SCALE)
    where = places(families.tolist(), points)
    scales, scores = {}, []
    for family, place in where.items():
        own = np.flatnonzero(families == family)
        tested = own[known[own]]
        squares = float((residuals[tested] ** 2).sum()) + _PRIOR_SAMPLES * overall**2
        scales[family] = max(math.sqrt(squares / (len(tested) + _PRIOR_SAMPLES)), _SMALLEST_SCALE)
        for fold in np.unique(folds[tested]).tolist():
            left_out = tested[folds[tested] == fold]
            away = distances(
                np.stack([points[index] for index in left_out]), place[folds[own] != fold]
            )
            scores += (np.abs(residuals[left_out]) / (scales[family] * (1.0 + away))).tolist()
    return Intervals(_quantile(scores), scales, overall, where)


def distances(points: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each point to the nearest known one, in octaves of its most different width.

    Shapes (n, groups) and (m, groups) -> (n,). A family of which nothing is known is ten octaves
    away.
    """
    if len(known) == 0:
        return np.full(len(points), 10.0)
    if points.shape[1] == 0:
        return np.zeros(len(points))
    apart: NDArray[np.float64] = np.abs(points[:, None, :] - known[None, :, :]).max(axis=2)
    nearest: NDArray[np.float64] = apart.min(axis=1)
    return nearest


def places(
    families: Sequence[int], points: Sequence[NDArray[np.float64]]
) -> dict[int, NDArray[np.float64]]:
    """The points of each family, in order: (n, groups)."""
    found: dict[int, list[NDArray[np.float64]]] = {}
    for family, point in zip(families, points, strict=True):
        found.setdefault(family, []).append(point)
    return {family: np.stack(own) for family, own in found.items()}


def _quantile(scores: Sequence[float]) -> float:
    """The score that a share of ``COVERAGE`` of exchangeable scores does not exceed."""
    rank = math.ceil((len(scores) + 1) * COVERAGE)
    return sorted(scores)[rank - 1] if 0 < rank <= len(scores) else math.inf
