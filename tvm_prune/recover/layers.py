"""The layers of an ONNX model whose weights can be reconstructed, and what they see and compute."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from tvm_prune.model import Array


@dataclass(frozen=True)
class Layer:
    """A convolution or dense layer.

    Attributes:
        node: the ONNX node.
        weight: name of its weight.
        bias: name of its bias, or of the running mean of the batch norm that follows it.
        bias_sign: +1 for a bias, -1 for a running mean, which is subtracted.
        attributes: the node's attributes.
    """

    node: onnx.NodeProto
    weight: str
    bias: str | None
    bias_sign: int
    attributes: Mapping[str, Any]

    @property
    def data(self) -> str:
        """Name of the activation it reads."""
        return str(self.node.input[0])

    @property
    def output(self) -> str:
        """Name of the activation it writes."""
        return str(self.node.output[0])

    @property
    def axes(self) -> tuple[int, int]:
        """Output and input axis of the weight."""
        rows_first = self.is_convolution or self.attributes.get("transB", 0)
        return (0, 1) if rows_first else (1, 0)

    @property
    def is_convolution(self) -> bool:
        """Whether it is a convolution."""
        return bool(self.node.op_type == "Conv")


def find_layers(model: onnx.ModelProto) -> list[Layer]:
    """Ungrouped two-dimensional convolutions and dense layers, in program order."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    norms = {
        node.input[0]: node.input[3]
        for node in model.graph.node
        if node.op_type == "BatchNormalization"
    }
    layers = []
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm") or node.input[1] not in weights:
            continue
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if not _supported(node, attributes, weights[node.input[1]]):
            continue
        bias, sign = node.input[2] if len(node.input) > 2 and node.input[2] else None, 1
        if bias is None and node.output[0] in norms:
            bias, sign = norms[node.output[0]], -1
        layer = Layer(node, node.input[1], bias, sign, attributes)
        if bias is None or _one_an_output(weights.get(bias), weights[layer.weight], layer):
            layers.append(layer)
    return layers


def _one_an_output(bias: Any | None, weight: Any, layer: Layer) -> bool:
    return bias is not None and math.prod(bias.dims) == weight.dims[layer.axes[0]]


def _supported(node: onnx.NodeProto, attributes: Mapping[str, Any], weight: Any) -> bool:
    if node.op_type == "Gemm":
        plain = attributes.get("alpha", 1.0) == 1.0 and attributes.get("beta", 1.0) == 1.0
        return bool(plain and not attributes.get("transA", 0))
    padding = attributes.get("auto_pad", b"NOTSET")
    return len(weight.dims) == 4 and attributes.get("group", 1) == 1 and padding == b"NOTSET"


def activations(
    model: onnx.ModelProto,
    parameters: Mapping[str, Array],
    names: Sequence[str],
    batches: Sequence[Mapping[str, Array]],
) -> list[Array]:
    """Activations of a model with the given parameter values, one stacked array a name."""
    given = {value.name for value in model.graph.input}
    computed = [name for name in names if name not in given]
    session = _exposing(model, parameters, computed) if computed else None
    stacked: dict[str, list[Array]] = {name: [] for name in names}
    for batch in batches:
        outputs = session.run(computed, dict(batch)) if session else []
        values = {**batch, **dict(zip(computed, outputs, strict=True))}
        for name in names:
            stacked[name].append(values[name])
    return [np.concatenate(stacked[name]) for name in names]


def _exposing(
    model: onnx.ModelProto, parameters: Mapping[str, Array], names: Sequence[str]
) -> onnxruntime.InferenceSession:
    """A session of the model with other parameter values that can tell these activations."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    for tensor in exposed.graph.initializer:
        if tensor.name in parameters:
            tensor.CopyFrom(onnx.numpy_helper.from_array(parameters[tensor.name], tensor.name))
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return onnxruntime.InferenceSession(
        exposed.SerializeToString(), providers=["CPUExecutionProvider"]
    )


Positions = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Sample, row and column of output positions, each of shape (positions,)."""


def choose_positions(
    layer: Layer, output: Array, most: int, generator: np.random.Generator
) -> Positions:
    """Random output positions of a layer, equally many from every sample, samples in order."""
    height, width = output.shape[2:] if layer.is_convolution else (1, 1)
    samples = output.shape[0]
    count = max(1, min(height * width, most // samples))
    cells = np.concatenate([generator.permutation(height * width)[:count] for _ in range(samples)])
    return np.repeat(np.arange(samples), count), cells // width, cells % width


def patches(
    layer: Layer,
    data: Array,
    kernel: tuple[int, ...],
    channels: NDArray[np.int64],
    positions: Positions,
) -> NDArray[np.float64]:
    """What a layer computes some of its outputs from.

    Args:
        layer: a convolution or dense layer.
        data: its input, (n, channels, height, width) or (n, features).
        kernel: shape of its weight.
        channels: input channels to look at.
        positions: output positions.

    Returns:
        (positions, channels * kernel window).
    """
    sample, row, column = positions
    if not layer.is_convolution:
        return data[:, channels][sample].astype(np.float64)
    top, left, bottom, right = layer.attributes.get("pads", [0, 0, 0, 0])
    strides = layer.attributes.get("strides", [1, 1])
    dilations = layer.attributes.get("dilations", [1, 1])
    padded = np.pad(data[:, channels], ((0, 0), (0, 0), (top, bottom), (left, right)))
    spans = [(size - 1) * step + 1 for size, step in zip(kernel[2:], dilations, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=(2, 3))
    chosen = windows[sample, :, row * strides[0], column * strides[1]]
    chosen = chosen[:, :, :: dilations[0], :: dilations[1]]
    return chosen.reshape(len(sample), -1).astype(np.float64)


def targets(
    layer: Layer, output: Array, channels: NDArray[np.int64], positions: Positions
) -> NDArray[np.float64]:
    """Some outputs of a layer, (positions, channels)."""
    sample, row, column = positions
    chosen = output[sample, :, row, column] if layer.is_convolution else output[sample]
    return chosen[:, channels].astype(np.float64)
