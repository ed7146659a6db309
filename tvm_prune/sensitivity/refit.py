"""Layers refitted by least squares to fewer channels, as recovery refits them.

The inputs that stay take over what can be predicted linearly of those that go. Where one group
alone gets narrower, everything before its readers is as in the dense model, so the second moments
of what they read there, taken once, serve all widths.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from tvm_prune.activations import Blocks, Graph, Walk, choose_cells, inputs_at, rows_for
from tvm_prune.importance import Consumer, Context, InputMoments
from tvm_prune.model import Array

DAMPING = 1e-3
"""Added to the second moments, as a share of their mean diagonal."""
MOST_INPUTS = 8_192
"""Convolutions that read more share what is predicted over their window; wider layers are left
out."""


@dataclass(frozen=True)
class Reader:
    """A layer that reads a group, and can be refitted to fewer of its channels.

    Attributes:
        consumer: the layer.
        blocks: its weight.
        shared: adjacent inputs that are predicted alike: pixels of a flattened image.
        moments: second moments of the inputs of each of the layer's own groups; without any, what
            goes is not made up for.
    """

    consumer: Consumer
    blocks: Blocks
    shared: int
    moments: tuple[InputMoments, ...]

    @property
    def shift(self) -> str:
        """Name of the tensor that is added to what the layer computes."""
        return f"{self.consumer.layer.weight}/shift"

    def tensors(self, kept: NDArray[np.bool_]) -> dict[str, Array]:
        """The refitted weight and the shift.

        Args:
            kept: which units of the group stay, shape (width,).
        """
        lost = np.zeros(self.consumer.extent, dtype=bool)
        lost[self.consumer.positions[~kept[self.consumer.units]]] = True
        window = math.prod(self.blocks.kernel[2:])
        gone = np.repeat(lost, window).reshape(len(self.moments), -1, self.shared).any(axis=2)
        parts = zip(self.blocks.matrices, self.moments, np.asarray(gone), strict=True)
        pairs = [_taken_over(*part) for part in parts]
        change = np.stack([change.reshape(self.blocks.matrices[0].shape) for change, _ in pairs])
        shift = np.concatenate([shift for _, shift in pairs])
        return {
            self.consumer.layer.weight: self.blocks.corrected(change).astype(np.float32),
            self.shift: self.shaped(shift.astype(np.float32)),
        }

    def shaped(self, shift: Array) -> Array:
        """One number for every output channel, (outputs,), as it is added to the output."""
        if not self.consumer.layer.is_convolution:
            return shift
        return shift.reshape(1, -1, *[1] * len(self.blocks.kernel[2:]))

    def add(self, rows: Array) -> None:
        """Take in what the layer reads at some positions, shape (positions, inputs)."""
        for own, moments in zip(self.blocks.split(rows), self.moments, strict=True):
            apart = own.reshape(len(own), -1, self.shared).swapaxes(1, 2)
            moments.add(apart.reshape(-1, moments.channels))


def _taken_over(
    weight: NDArray[np.float64], moments: InputMoments, gone: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What changes in a weight, (inputs, outputs), when inputs go, and what is added: (outputs,).

    Args:
        weight: of one group of a layer, shape (inputs, outputs).
        moments: of its inputs; adjacent ones that are predicted alike count as one.
        gone: which of them go.
    """
    by_input = weight.reshape(len(gone), -1)
    if moments.rows == 0:
        return np.where(gone[:, None], -by_input, 0.0), np.zeros(weight.shape[1])
    covariance, stays = moments.covariance(), ~gone
    second = covariance[np.ix_(stays, stays)]
    second += (DAMPING * np.trace(second) / max(1, len(second)) + 1e-12) * np.eye(len(second))
    change = np.zeros_like(by_input)
    change[stays] = np.linalg.solve(second, covariance[np.ix_(stays, gone)] @ by_input[gone])
    change[gone] = -by_input[gone]
    shift = -(moments.mean @ change).reshape(-1, weight.shape[1]).sum(axis=0)
    return change, shift


def find_readers(
    context: Context, graph: Graph, batches: Sequence[Mapping[str, Array]]
) -> list[list[Reader]]:
    """The layers that read each group, and what they read in some samples, if any."""
    readers = [
        [reader for consumer in group for reader in _reader(consumer, context.parameters)]
        for group in context.consumers
    ]
    if batches:
        _take_in([reader for group in readers for reader in group], context, graph, batches)
    return readers


def _take_in(
    every: Sequence[Reader], context: Context, graph: Graph, batches: Sequence[Mapping[str, Array]]
) -> None:
    """Add up second moments of what layers read in some samples."""
    generator = np.random.default_rng(context.seed)
    names = sorted({reader.consumer.layer.data for reader in every})
    for batch in Walk(graph, batches).stream(names, {}):
        for reader in every:
            layer, kernel = reader.consumer.layer, reader.blocks.kernel
            shape = graph.shape(layer.node.output[0])
            rows = rows_for(reader.blocks.matrices.shape[1])
            cells = choose_cells(layer, shape, -(-rows // (len(batches) * shape[0])), generator)
            reader.add(inputs_at(layer, batch[layer.data], kernel, cells))
    for reader in every:
        for moments in reader.moments:
            moments.finish()


def _reader(consumer: Consumer, parameters: Mapping[str, Array]) -> Iterator[Reader]:
    """The reader that a layer is, unless it is too wide."""
    layer = consumer.layer
    blocks = Blocks.of(parameters[layer.weight], layer.axes, layer.groups)
    inputs, window = blocks.matrices.shape[1], math.prod(blocks.kernel[2:])
    shared = consumer.run_length
    if layer.is_convolution:
        shared = window if inputs > MOST_INPUTS else 1
    if inputs // shared <= MOST_INPUTS:
        moments = tuple(InputMoments(inputs // shared) for _ in blocks.matrices)
        yield Reader(consumer, blocks, shared, moments)


def with_shifts(model: onnx.ModelProto, readers: Sequence[Reader]) -> onnx.ModelProto:
    """The model with something added to what some of its layers compute, nothing by default."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    by_output = {reader.consumer.layer.node.output[0]: reader for reader in readers}
    nodes = []
    for node in model.graph.node:
        nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
        reader = by_output.get(node.output[0])
        if reader is not None:
            plain = f"{node.output[0]}/plain"
            nodes[-1].output[0] = plain
            nodes.append(onnx.helper.make_node("Add", [plain, reader.shift], [node.output[0]]))
            outputs = len(reader.moments) * reader.blocks.matrices.shape[2]
            nothing = reader.shaped(np.zeros(outputs, dtype=np.float32))
            result.graph.initializer.append(onnx.numpy_helper.from_array(nothing, reader.shift))
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result
