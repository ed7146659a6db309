"""A dense model in which layers read channels that were filled in from others.

What a layer reads of a removed channel is replaced by the best linear prediction from the channels
that stay. The layer's own weights, refitted by least squares to what stays, would compute the
same; but this way one session serves every width, and nothing upstream is computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from tvm_prune.importance import Consumer, InputMoments
from tvm_prune.model import Array

DAMPING = 1e-3
"""Added to the second moments, as a share of their mean diagonal."""


@dataclass(frozen=True)
class Mixer:
    """Fills in removed channels where one layer reads them.

    Attributes:
        consumer: the layer.
        moments: second moments of what it reads.
    """

    consumer: Consumer
    moments: InputMoments

    @property
    def matrix(self) -> str:
        """Name of the tensor that mixes channels."""
        return f"{self.consumer.layer.weight}/mix"

    @property
    def shift(self) -> str:
        """Name of the tensor that is added to the mixed channels."""
        return f"{self.consumer.layer.weight}/shift"

    def tensors(self, kept: NDArray[np.bool_]) -> dict[str, Array]:
        """The mixing matrix and shift for the units that stay.

        Args:
            kept: which units of the group stay, shape (width,).
        """
        repeats = self.consumer.extent // self.moments.channels
        gone_channels = self.consumer.positions[~kept[self.consumer.units]]
        gone = np.unique(gone_channels // repeats)
        size = self.moments.channels
        stays = np.setdiff1d(np.arange(size), gone)
        mean = self.moments.mean
        covariance = self.moments.covariance() * self.consumer.together(size)
        second = covariance[np.ix_(stays, stays)]
        damping = DAMPING * np.trace(second) / max(1, len(stays)) + 1e-12
        weights = np.linalg.solve(
            second + damping * np.eye(len(stays)), covariance[np.ix_(stays, gone)]
        )
        matrix, shift = np.eye(size), np.zeros(size)
        matrix[gone] = 0.0
        matrix[np.ix_(gone, stays)] = weights.T
        shift[gone] = mean[gone] - weights.T @ mean[stays]
        whole = np.kron(matrix, np.eye(repeats)) if repeats > 1 else matrix
        return self._shaped(whole.astype(np.float32), np.repeat(shift, repeats).astype(np.float32))

    def _shaped(self, matrix: Array, shift: Array) -> dict[str, Array]:
        if self.consumer.layer.is_convolution:
            return {self.matrix: matrix[:, :, None, None], self.shift: shift}
        return {self.matrix: np.ascontiguousarray(matrix.T), self.shift: shift}

    def nodes(self, mixed: str) -> list[onnx.NodeProto]:
        """Nodes that compute the mixed input of the layer."""
        data, name = self.consumer.layer.data, f"{mixed}/product"
        if self.consumer.layer.is_convolution:
            inputs = [data, self.matrix, self.shift]
            return [onnx.helper.make_node("Conv", inputs, [mixed], kernel_shape=[1, 1])]
        return [
            onnx.helper.make_node("MatMul", [data, self.matrix], [name]),
            onnx.helper.make_node("Add", [name, self.shift], [mixed]),
        ]


def with_mixers(model: onnx.ModelProto, mixers: Sequence[Mixer]) -> onnx.ModelProto:
    """The model with mixers before some of its layers; their tensors are to be fed."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    by_output = {mixer.consumer.layer.node.output[0]: mixer for mixer in mixers}
    nodes = []
    for node in result.graph.node:
        mixer = by_output.get(node.output[0])
        if mixer is not None:
            mixed = f"{node.output[0]}/mixed"
            nodes += mixer.nodes(mixed)
            node.input[0] = mixed
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del result.graph.node[:]
    result.graph.node.extend(copies)
    for mixer in mixers:
        every = np.ones(int(mixer.consumer.units.max()) + 1, dtype=bool)
        for name, value in mixer.tensors(every).items():
            result.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return result
