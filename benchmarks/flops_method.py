"""Latency in proportion to FLOPs: the baseline that most pruning papers report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from benchmarks.predictors import Costs, Kernel, Predictor


def fit_flops(kernels: Sequence[Kernel], costs: Costs) -> Predictor:
    """One coefficient for each kind of operator: cost = coefficient x operations."""
    return _fit(kernels, costs, lambda kernel: kernel.geometry.structure.operator)


def fit_flops_per_kernel(kernels: Sequence[Kernel], costs: Costs) -> Predictor:
    """One coefficient for each kernel of the model: it knows how fast each dense schedule is."""
    return _fit(kernels, costs, lambda kernel: (kernel.model, kernel.family))


def _fit(kernels: Sequence[Kernel], costs: Costs, kind: Callable[[Kernel], Hashable]) -> Predictor:
    """Least squares in the logarithm, where the best coefficient is a geometric mean."""
    ratios: dict[Hashable, list[float]] = defaultdict(list)
    for kernel, cost in zip(kernels, costs.tolist(), strict=True):
        ratios[kind(kernel)].append(cost / kernel.geometry.operations)
    coefficients = {key: float(np.exp(np.mean(np.log(own)))) for key, own in ratios.items()}

    def predict(wanted: Sequence[Kernel]) -> Costs:
        return np.array(
            [coefficients[kind(kernel)] * kernel.geometry.operations for kernel in wanted]
        )

    return predict
