"""Recovery without training: consumer weights are refitted to what the dense model computes.

Layer by layer, the weights that are left are replaced by the least-squares solution that maps the
activations of the pruned network to the dense layer's outputs on calibration data (the
reconstruction step of He et al., "Channel Pruning for Accelerating Very Deep Neural Networks",
2017, applied to every layer on already pruned inputs). Ridge regression towards the old weights,
its strength chosen on held-out samples, keeps few samples from overfitting.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from tvm_prune.errors import ExportError
from tvm_prune.model import Array, Model, split_batches
from tvm_prune.plan import PruningPlan
from tvm_prune.recover.layers import (
    Layer,
    Positions,
    activations,
    choose_positions,
    find_layers,
    patches,
    targets,
)
from tvm_prune.to_onnx import to_onnx
from tvm_prune.transform import prune_parameters, pruned_model

logger = logging.getLogger(__name__)

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
ROWS = 16_000
"""Output positions that a fit looks at."""
FIT_SHARE = 0.8


def reconstruct(
    model: Model, plan: PruningPlan, calibration: Mapping[str, Array], seed: int = 0
) -> dict[str, Array]:
    """Pruned parameter values, refitted to calibration data.

    The result is never worse than the plainly pruned values: where the outputs on held-out samples
    are no closer to the dense model's, those are returned.

    Args:
        model: the dense model.
        plan: what is kept.
        calibration: unlabelled samples stacked along the first axis, by input name.
        seed: seed of the choice of output positions.
    """
    plain = prune_parameters(model.parameters, plan)
    try:
        dense, pruned = to_onnx(model), to_onnx(pruned_model(model, plan))
    except ExportError as error:
        logger.warning("the weights stay as they are: %s", error)
        return plain
    batches = split_batches(model.inputs, calibration)
    layers = [layer for layer in find_layers(dense) if layer.weight in plan.kept]
    wanted = _dense_outputs(layers, dense, plan, batches, np.random.default_rng(seed))
    recovered = dict(plain)
    for layer in layers:
        _refit(layer, pruned, recovered, batches, wanted[layer.output])
    held_out = batches[int(len(batches) * FIT_SHARE) :] or batches
    names = [spec.name for spec in model.outputs]
    outputs = activations(dense, {}, names, held_out)
    before, after = (
        _difference(outputs, activations(pruned, values, names, held_out))
        for values in (plain, recovered)
    )
    logger.info("recovery: output error on held-out samples %.4g -> %.4g", before, after)
    return recovered if after < before else plain


def _dense_outputs(
    layers: Sequence[Layer],
    dense: onnx.ModelProto,
    plan: PruningPlan,
    batches: Sequence[Mapping[str, Array]],
    generator: np.random.Generator,
) -> dict[str, tuple[Positions, NDArray[np.float64]]]:
    """What the dense layers compute for their kept channels, at random output positions."""
    names = [layer.output for layer in layers]
    outputs = activations(dense, {}, names, batches)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in dense.graph.initializer}
    result = {}
    for layer, output in zip(layers, outputs, strict=True):
        positions = choose_positions(layer, output, ROWS, generator)
        rows = _kept(plan, layer.weight, layer.axes[0], shapes[layer.weight])
        result[layer.output] = positions, targets(layer, output, rows, positions)
    return result


def _refit(
    layer: Layer,
    pruned: onnx.ModelProto,
    values: dict[str, Array],
    batches: Sequence[Mapping[str, Array]],
    wanted: tuple[Positions, NDArray[np.float64]],
) -> None:
    """Replace one layer's weight and bias in `values`."""
    positions, outputs = wanted
    old = values[layer.weight]
    [data] = activations(pruned, values, [layer.data], batches)
    inputs = patches(layer, data, old.shape, positions)
    matrix = old.reshape(old.shape[0], -1) if layer.axes == (0, 1) else old.T
    offset = np.broadcast_to(_offset(layer, values), (outputs.shape[1],)).astype(np.float64)
    fitted, shift = _ridge(inputs, outputs, matrix.astype(np.float64), offset, layer)
    fitted = fitted.reshape(old.shape) if layer.axes == (0, 1) else fitted.T
    values[layer.weight] = np.ascontiguousarray(fitted, dtype=old.dtype)
    if layer.bias is not None:
        values[layer.bias] = _shifted(layer, values[layer.bias], shift)


def _kept(plan: PruningPlan, name: str, axis: int, shape: Sequence[int]) -> NDArray[np.int64]:
    return np.asarray(plan.kept.get(name, {}).get(axis, range(shape[axis])), dtype=np.int64)


def _offset(layer: Layer, values: Mapping[str, Array]) -> Array | float:
    """What the layer itself adds; a batch norm's mean is not part of the layer's output."""
    if layer.bias is None or layer.bias_sign < 0:
        return 0.0
    return values[layer.bias].reshape(-1)


def _shifted(layer: Layer, bias: Array, intercept: Array) -> Array:
    shift = intercept.reshape(bias.shape)
    return np.asarray(shift if layer.bias_sign > 0 else bias - shift, dtype=bias.dtype)


def _ridge(
    inputs: NDArray[np.float64],
    wanted: NDArray[np.float64],
    old: NDArray[np.float64],
    offset: NDArray[np.float64],
    layer: Layer,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (outputs, inputs) and intercept that map `inputs` to `wanted`.

    The correction of the old weights is fitted, its size penalised; the strength of the penalty is
    the one with the least error on the last fifth of the rows, no correction being one choice.
    """
    residual = wanted - inputs @ old.T - offset
    split = int(len(inputs) * FIT_SHARE)
    if split == 0:
        return old, offset
    best, best_error = (np.zeros_like(old.T), np.zeros_like(offset)), _mean_square(residual[split:])
    for change, shift in _corrections(inputs[:split], residual[:split], layer.bias is not None):
        error = _mean_square(residual[split:] - inputs[split:] @ change - shift)
        if error < best_error:
            best, best_error = (change, shift), error
    return old + best[0].T, best[1] + offset


def _corrections(
    inputs: NDArray[np.float64], residual: NDArray[np.float64], has_bias: bool
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Correction of the weights, (inputs, outputs), and of the bias, for every strength."""
    mean_in = inputs.mean(axis=0) if has_bias else np.zeros(inputs.shape[1])
    mean_out = residual.mean(axis=0) if has_bias else np.zeros(residual.shape[1])
    centred = inputs - mean_in
    gram, moment = centred.T @ centred, centred.T @ (residual - mean_out)
    scale = float(np.trace(gram)) / len(gram) + 1e-12
    for strength in STRENGTHS:
        change = np.linalg.solve(gram + strength * scale * np.eye(len(gram)), moment)
        yield change, mean_out - mean_in @ change


def _mean_square(values: NDArray[np.float64]) -> float:
    return float((values**2).mean())


def _difference(left: Sequence[Array], right: Sequence[Array]) -> float:
    """Mean squared difference, summed over the outputs."""
    return float(sum(((a - b) ** 2).mean() for a, b in zip(left, right, strict=True)))
