"""What kernels cost in models beyond what is predicted, as models measured whole tell it.

Which cores a kernel finds its inputs on, and in which caches, depends on the schedules of the
kernels before it; no measurement of a kernel by itself tells. A whole model tells one number for
all of its kernels, but every plan that is measured is one, and plans share many of their kernels.
What is left between the cost of a model and its prediction is taken for a sum over the kernels of
smooth functions of their widths (Gaussian process regression, Rasmussen and Williams 2006; sums of
functions: Duvenaud et al., "Additive Gaussian Processes", 2011), so that it can be added to the
cost of every kernel, measured or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

_ALL = 0.1
"""Share by which all kernels may cost more than predicted, or less (a standard deviation)."""
_ONE = 0.1
"""The same of one kernel."""
_ALIKE = 0.5
"""Distance between the logarithms of widths at which kernels have still much in common."""
_NOISE = 0.013
"""Relative error of the measured cost of a model."""
_UNBELIEVABLE = 4.0
"""Standard deviations beyond which a model costs something else than all others lead to expect: it
was disturbed, and tells little."""


@dataclass(frozen=True)
class Explained:
    """A model that was measured whole, and what was predicted for it.

    Attributes:
        widths: widths of every family's own groups.
        kernels: predicted cost of all calls of every family.
        overhead: predicted cost of the model beyond its kernels.
        measured: cost of the model.
    """

    widths: tuple[tuple[int, ...], ...]
    kernels: tuple[float, ...]
    overhead: float
    measured: float

    @property
    def predicted(self) -> float:
        """Predicted cost of the model."""
        return sum(self.kernels) + self.overhead


@dataclass(frozen=True)
class Residuals:
    """Shares of their predicted costs that kernels cost beyond them.

    Attributes:
        common: share of all kernels, and of what the model costs beyond them.
        points: logarithms of widths at which each family is known: (models, groups of the family).
        weights: what each of those counts, shape (models,).
    """

    common: float = 0.0
    points: tuple[NDArray[np.float64], ...] = ()
    weights: tuple[NDArray[np.float64], ...] = ()

    @classmethod
    def between(cls, models: Sequence[Explained]) -> Residuals:
        """What is most likely left, given models that were measured.

        Args:
            models: of the same families all.
        """
        measured = np.array([model.measured for model in models])
        predicted = np.array([model.predicted for model in models]) / measured
        costs = np.array([model.kernels for model in models]) / measured[:, None]
        points = tuple(
            _logarithms(np.array(widths, dtype=np.float64).reshape(len(models), -1))
            for widths in zip(*(model.widths for model in models), strict=True)
        )
        covariance = _ALL**2 * np.outer(predicted, predicted)
        for own, cost in zip(points, costs.T, strict=True):
            covariance += _ONE**2 * np.outer(cost, cost) * _likeness(own, own)
        weights = _weights(covariance, 1.0 - predicted)
        return cls(
            common=float(_ALL**2 * predicted @ weights),
            points=points,
            weights=tuple(_ONE**2 * cost * weights for cost in costs.T),
        )

    def share(self, family: int, widths: NDArray[np.int64]) -> NDArray[np.float64]:
        """Share of its predicted cost that a kernel costs beyond it: (n, groups) -> (n,)."""
        if not self.points:
            return np.zeros(len(widths))
        likeness = _likeness(_logarithms(widths.astype(np.float64)), self.points[family])
        return np.asarray(self.common + likeness @ self.weights[family])


NOTHING_LEFT = Residuals()


def _weights(covariance: NDArray[np.float64], left: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each model counts: (models, models), (models,) -> (models,).

    What is left of a model is told from all others as well (Rasmussen and Williams 2006, 5.4.2).
    """
    identity = np.eye(len(left))
    inverse = cho_solve(cho_factor(covariance + _NOISE**2 * identity), identity)
    surprise = inverse @ left / np.diag(inverse)
    believed = np.abs(surprise) * np.sqrt(np.diag(inverse)) <= _UNBELIEVABLE
    noise = np.where(believed, _NOISE, np.abs(surprise))
    return np.asarray(cho_solve(cho_factor(covariance + np.diag(noise**2)), left))


def _logarithms(widths: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.maximum(widths, 1.0))


def _likeness(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much kernels have in common, 0..1: (n, groups), (m, groups) -> (n, m)."""
    squares = ((some[:, None, :] - others[None, :, :]) ** 2).sum(axis=2)
    return np.asarray(np.exp(-squares / (2 * _ALIKE**2)))
