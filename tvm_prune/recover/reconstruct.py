"""Recovery without training: consumer weights are refitted to what the dense model computes.

Layer by layer, the weights that are left are replaced by the least-squares solution that maps the
activations of the pruned network to the dense layer's outputs on calibration data (the
reconstruction step of He et al., "Channel Pruning for Accelerating Very Deep Neural Networks",
2017, applied to every layer on already pruned inputs). Ridge regression towards the old weights,
its strength chosen on held-out samples, keeps few samples from overfitting.

Samples are streamed: what is kept of them are the normal equations of one layer, and a checkpoint
of bounded size (:mod:`tvm_prune.activations.walk`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tvm_prune.activations import (
    Blocks,
    Cells,
    Graph,
    Layer,
    Walk,
    choose_cells,
    find_layers,
    inputs_at,
    outputs_at,
    rows_for,
)
from tvm_prune.errors import ExportError
from tvm_prune.model import Array, Model, split_batches
from tvm_prune.plan import PruningPlan
from tvm_prune.recover.joins import Join, find_join
from tvm_prune.recover.moments import Correction, Moments, best_correction
from tvm_prune.to_onnx import to_onnx
from tvm_prune.transform import pruned_model

logger = logging.getLogger(__name__)

MOST_INPUTS = 8_192
"""Layers with more inputs keep their weights; only their bias is corrected."""
MOST_FROM_INPUTS = 256
"""Batches that a layer is fitted to while everything before it is computed again."""
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
    return _refitted(model, pruned_model(model, plan), plan, calibration, seed, set(plan.kept))


def imitate(
    teacher: Model, student: Model, calibration: Mapping[str, Array], seed: int = 0
) -> dict[str, Array]:
    """Parameter values of a model that lacks some layers of another, refitted to the other.

    Every layer that both have is refitted to what it computes in the teacher. The result is never
    worse than the values that the student has, as for :func:`reconstruct`.

    Args:
        teacher: the whole model.
        student: the same without some of its layers; its parameters have the same shapes.
        calibration: unlabelled samples stacked along the first axis, by input name.
        seed: seed of the choice of output positions.
    """
    everything = PruningPlan(kept={}, shapes={})
    return _refitted(teacher, student, everything, calibration, seed, set(student.parameters))


def _refitted(
    model: Model, smaller: Model, plan: PruningPlan, calibration: Mapping[str, Array], seed: int,
    names: set[str],
) -> dict[str, Array]:  # fmt: skip
    """Parameters of the smaller model, the named weights refitted to the other model."""
    plain = dict(smaller.parameters)
    try:
        dense, pruned = Graph(to_onnx(model)), Graph(to_onnx(smaller))
    except ExportError as error:
        logger.warning("the weights stay as they are: %s", error)
        return plain
    batches = split_batches(model.inputs, calibration)
    fitting = int(len(batches) * FIT_SHARE)
    recovered = dict(plain)
    recovery = Recovery(plan, Walk(dense, batches), Walk(pruned, batches), recovered, fitting, seed)
    for layer in find_layers(dense.model):
        if layer.weight in names and layer.node.output[0] in pruned.made_at:
            recovery.refit(layer)
    before, after = (
        output_error(dense, pruned, values, batches[fitting:]) for values in (plain, recovered)
    )
    logger.info("recovery: output error on held-out samples %.4g -> %.4g", before, after)
    return recovered if after < before else plain


@dataclass
class Recovery:
    """Goes through the layers of the dense and of the pruned model side by side.

    Attributes:
        plan: what is kept.
        dense: the dense model on its way through the samples.
        pruned: the pruned model, likewise.
        values: parameters of the pruned model, which are refitted in place.
        fitting: number of batches to fit to; the others are held out.
        seed: seed of the choice of output positions.
    """

    plan: PruningPlan
    dense: Walk
    pruned: Walk
    values: dict[str, Array]
    fitting: int
    seed: int

    def refit(self, layer: Layer) -> None:
        """Replace one layer's weight and bias; all layers before it are final."""
        for walk, values in ((self.dense, {}), (self.pruned, self.values)):
            walk.advance(walk.graph.made_at[layer.node.output[0]], values)
        blocks = self._blocks(layer)
        fit, held_out = (Moments(blocks.matrices, MOST_INPUTS) for _ in range(2))
        self._accumulate(layer, blocks, fit, held_out)
        chosen = best_correction(fit, held_out, has_bias=layer.bias is not None)
        self._apply(layer, blocks, chosen)

    def _blocks(self, layer: Layer) -> Blocks:
        graph = self.pruned.graph
        node = graph.nodes[graph.made_at[layer.node.output[0]]]
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        return Blocks.of(self.values[layer.weight], layer.axes, groups)

    def _accumulate(self, layer: Layer, blocks: Blocks, fit: Moments, held_out: Moments) -> None:
        join = find_join(self.dense.graph, layer)
        if join and join.other not in self.pruned.graph.made_at:
            join = None
        others = [join.other] if join else []
        generator = np.random.default_rng(self.seed)
        rows = rows_for(fit.x.shape[1])
        stride = self._stride()
        batches = self.dense.batches[::stride]
        samples = sum(len(next(iter(batch.values()))) for batch in batches)
        streams = zip(
            self.dense.stream([layer.output, *others], {}, stride),
            self.pruned.stream([layer.data, *others], self.values, stride),
            strict=True,
        )
        for index, (dense, pruned) in enumerate(streams):
            output = dense[layer.output]
            cells = choose_cells(layer, output.shape, -(-rows // samples), generator)
            target = outputs_at(layer, output, cells)[:, self._kept(layer)]
            inputs = inputs_at(layer, pruned[layer.data], blocks.kernel, cells)
            wanted = target - self._offset(layer, target.shape[1])
            if join:
                wanted = wanted + self._missing_beside(layer, join, dense, pruned, cells)
            moments = fit if index * stride < self.fitting else held_out
            moments.add(blocks.split(inputs), blocks.split(wanted))

    def _stride(self) -> int:
        """Layers whose input is computed from the model's inputs get fewer samples.

        They stand at the beginning, where every sample has many positions.
        """
        is_late = not (self.dense.is_at_inputs or self.pruned.is_at_inputs)
        return 1 if is_late else -(-len(self.dense.batches) // MOST_FROM_INPUTS)

    def _missing_beside(
        self, layer: Layer, join: Join, dense: Mapping[str, Array], pruned: Mapping[str, Array],
        cells: Cells,
    ) -> Array:  # fmt: skip
        """What the branch that the layer's output is added to has lost."""
        whole = outputs_at(layer, dense[join.other], cells)[:, self._kept(layer)]
        left = outputs_at(layer, pruned[join.other], cells)
        return join.in_layer_units(whole - left, self.values)

    def _kept(self, layer: Layer) -> NDArray[np.int64]:
        """Output channels of the dense layer that the pruned one has."""
        axis = layer.axes[0]
        every = range(self.dense.graph.shape(layer.weight)[axis])
        kept = self.plan.kept.get(layer.weight, {})
        return np.asarray(kept.get(axis, every), dtype=np.int64)

    def _offset(self, layer: Layer, outputs: int) -> Array:
        """What the layer itself adds; a batch norm's mean is not part of the layer's output."""
        if layer.bias is None or layer.bias_sign < 0:
            return np.zeros(outputs, dtype=np.float32)
        return self.values[layer.bias].reshape(-1)

    def _apply(self, layer: Layer, blocks: Blocks, chosen: Correction) -> None:
        old = self.values[layer.weight]
        self.values[layer.weight] = blocks.corrected(chosen.weight).astype(old.dtype)
        if layer.bias is not None:
            bias = self.values[layer.bias]
            shift = layer.bias_sign * chosen.bias.reshape(bias.shape)
            self.values[layer.bias] = np.asarray(bias + shift, dtype=bias.dtype)


def output_error(
    dense: Graph, pruned: Graph, values: Mapping[str, Array], batches: Sequence[Mapping[str, Array]]
) -> float:
    """Mean squared difference of the outputs, summed over them."""
    wanted, found = (
        Walk(graph, batches).stream(graph.outputs, parameters)
        for graph, parameters in ((dense, {}), (pruned, values))
    )
    return sum(
        float(((left[name] - right[name]) ** 2).mean())
        for left, right in zip(wanted, found, strict=True)
        for name in dense.outputs
    ) / len(batches)
