"""nn-Meter's way of predicting kernels, written from its paper.

L. L. Zhang et al., "nn-Meter: Towards Accurate Latency Prediction of Deep-Learning Model Inference
on Diverse Edge Devices", MobiSys 2021: a random forest for every type of fused kernel, on the
features that the paper lists for it (image, channels in and out, window, stride, FLOPs, parameters
for convolutions), fitted to latencies as they are. The sizes of the forests are those that the
authors publish for a mobile CPU (https://github.com/microsoft/nn-Meter).

The paper's other half is a sampler that looks for the kernels worth measuring in a space of
networks to come. Here the kernels are given, and every method is fitted to the same ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from benchmarks.kernel_geometry import Geometry
from benchmarks.predictors import Costs, Kernel, Predictor

SEED = 10
"""The one that the authors publish, too."""


@dataclass(frozen=True)
class Forest:
    """Size of a random forest.

    Attributes:
        trees: how many.
        depth: of each tree, at most.
        features: looked at for each split.
    """

    trees: int
    depth: int
    features: int


FORESTS = {
    "conv": Forest(trees=320, depth=70, features=6),
    "depthwise": Forest(trees=240, depth=50, features=6),
    "fc": Forest(trees=370, depth=50, features=2),
    "maxpool": Forest(trees=210, depth=50, features=5),
    "global_avgpool": Forest(trees=370, depth=70, features=2),
    "other": Forest(trees=370, depth=50, features=2),
}
"""By operator; leaves may hold a single sample."""


def nn_meter_features(geometry: Geometry) -> list[float]:
    """The features that nn-Meter's paper gives a kernel of this type."""
    flops, parameters = 2.0 * geometry.operations, float(geometry.parameters)
    shape = [float(geometry.image), float(geometry.inputs)]
    window = [float(geometry.outputs), float(geometry.window), float(geometry.stride)]
    match geometry.structure.operator:
        case "conv" | "depthwise":
            return [*shape, *window, flops, parameters]
        case "fc":
            return [float(geometry.inputs), float(geometry.outputs), flops, parameters]
        case "maxpool":
            return [*shape, *window]
        case _:
            return shape


def fit_nn_meter(kernels: Sequence[Kernel], costs: Costs) -> Predictor:
    """A forest for every type of fused kernel, fitted to the costs as they are."""
    forests = {
        fused: _forest([kernels[row] for row in own], costs[own])
        for fused, own in _rows_by_type(kernels).items()
    }

    def predict(wanted: Sequence[Kernel]) -> Costs:
        result = np.empty(len(wanted))
        for fused, own in _rows_by_type(wanted).items():
            result[own] = forests[fused]([wanted[row] for row in own])
        return result

    return predict


def fit_nn_meter_log(kernels: Sequence[Kernel], costs: Costs) -> Predictor:
    """The same forests fitted to logarithms, which weighs small kernels like large ones.

    Not nn-Meter, but what one would try first to lower its relative error.
    """
    logarithm = fit_nn_meter(kernels, np.log(costs))
    return lambda wanted: np.asarray(np.exp(logarithm(wanted)))


def _rows_by_type(kernels: Sequence[Kernel]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, kernel in enumerate(kernels):
        rows[kernel.geometry.structure.fused].append(row)
    return rows


def _forest(kernels: Sequence[Kernel], targets: Costs) -> Predictor:
    size = FORESTS[kernels[0].geometry.structure.operator]
    forest = RandomForestRegressor(
        n_estimators=size.trees,
        max_depth=size.depth,
        max_features=size.features,
        min_samples_leaf=1,
        min_samples_split=2,
        random_state=SEED,
    )
    # Squares of microseconds would be lost: a tree does not split what varies less than 1e-16.
    scale = float(np.abs(targets).mean())
    forest.fit(_matrix(kernels), targets / scale)
    return lambda wanted: np.asarray(forest.predict(_matrix(wanted)) * scale)


def _matrix(kernels: Sequence[Kernel]) -> Costs:
    return np.array([nn_meter_features(kernel.geometry) for kernel in kernels])
