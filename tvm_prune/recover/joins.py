"""Where a layer's output is added to another branch, it also makes up for what that one lacks.

After He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", 2017, who let the
last layer of a residual block reconstruct the block's output.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from tvm_prune.activations import Graph, Layer
from tvm_prune.model import Array

LEAST_SLOPE = 1e-2
"""Scales of a batch norm below this share of the largest are not divided by."""


@dataclass(frozen=True)
class Join:
    """An addition that a layer's output goes into.

    Attributes:
        other: the tensor that is added to it.
        norm: the batch norm between layer and addition, or None.
    """

    other: str
    norm: onnx.NodeProto | None

    def in_layer_units(self, lacking: Array, values: dict[str, Array]) -> Array:
        """What the layer has to add so that the sum gains `lacking`: (rows, channels)."""
        if self.norm is None:
            return lacking
        scale, variance = (values[self.norm.input[index]] for index in (1, 4))
        epsilon = next((a.f for a in self.norm.attribute if a.name == "epsilon"), 1e-5)
        slope = scale / np.sqrt(variance + epsilon)
        usable = np.abs(slope) > LEAST_SLOPE * np.abs(slope).max()
        return np.asarray(lacking * np.where(usable, 1 / np.where(usable, slope, 1.0), 0.0))


def find_join(graph: Graph, layer: Layer) -> Join | None:
    """The addition of a layer's output to a branch that is computed before the layer."""
    name = layer.output if layer.norm is None else layer.norm.output[0]
    readers = [node for node in graph.nodes if name in node.input]
    if len(readers) != 1 or readers[0].op_type != "Add" or name in graph.outputs:
        return None
    [other] = [read for read in readers[0].input if read != name] or [""]
    position = graph.made_at[layer.node.output[0]]
    is_ready = other in graph.made_at and graph.made_at[other] < position
    if not is_ready or not graph.varies(other) or not graph.knows(other):
        return None
    return Join(other, layer.norm) if graph.shape(other) == graph.shape(name) else None
