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

DENSE = frozenset({"Gemm", "MatMul"})


@dataclass(frozen=True)
class Layer:
    """A convolution or dense layer.

    Attributes:
        node: the ONNX node.
        weight: name of its weight.
        axes: output and input axis of the weight.
        output: name of the activation it writes, its bias added.
        bias: name of its bias, or of the running mean of the batch norm that follows it.
        bias_sign: +1 for a bias, -1 for a running mean, which is subtracted.
        attributes: the node's attributes.
    """

    node: onnx.NodeProto
    weight: str
    axes: tuple[int, int]
    output: str
    bias: str | None
    bias_sign: int
    attributes: Mapping[str, Any]

    @property
    def data(self) -> str:
        """Name of the activation it reads."""
        return str(self.node.input[0])

    @property
    def is_convolution(self) -> bool:
        """Whether it is a convolution."""
        return bool(self.node.op_type == "Conv")


def find_layers(model: onnx.ModelProto) -> list[Layer]:
    """Ungrouped two-dimensional convolutions and dense layers, in program order.

    A weight that several layers share is left out: what suits one of them need not suit the others.
    """
    return list(filter(None, map(_Finder(model).layer, model.graph.node)))


class _Finder:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        self.made_by = {name: node for node in model.graph.node for name in node.output}
        self.read_by: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.read_by.setdefault(name, []).append(node)

    def layer(self, node: onnx.NodeProto) -> Layer | None:
        """The layer that a node is, if it is one."""
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        found = self._weight(node, attributes)
        if found is None or not _supported(node, attributes, self.weights[found[0]]):
            return None
        weight, axes = found
        output, bias, sign = self._bias(node)
        outputs = self.weights[weight][axes[0]]
        if bias is not None and math.prod(self.weights.get(bias, ())) != outputs:
            return None
        return Layer(node, weight, axes, output, bias, sign, attributes)

    def _weight(
        self, node: onnx.NodeProto, attributes: Mapping[str, Any]
    ) -> tuple[str, tuple[int, int]] | None:
        """Name of a layer's weight and its output and input axis."""
        if node.op_type != "Conv" and node.op_type not in DENSE:
            return None
        name, rows_first = node.input[1], node.op_type == "Conv" or attributes.get("transB", 0)
        maker = self.made_by.get(name)
        if maker is not None and maker.op_type == "Transpose":
            name, rows_first = maker.input[0], not rows_first
        is_matrix_or_direct = name == node.input[1] or len(self.weights.get(name, ())) == 2
        if name not in self.weights or len(self.read_by[name]) > 1 or not is_matrix_or_direct:
            return None
        return name, (0, 1) if rows_first else (1, 0)

    def _bias(self, node: onnx.NodeProto) -> tuple[str, str | None, int]:
        """Output of a layer, and what is added to it: its own bias, or that of the next node."""
        output = node.output[0]
        if len(node.input) > 2 and node.input[2]:
            return output, node.input[2], 1
        [reader, *others] = self.read_by.get(output, [None])
        if others or reader is None:
            return output, None, 1
        if reader.op_type == "BatchNormalization":
            return output, reader.input[3], -1
        if reader.op_type == "Add" and node.op_type in DENSE:
            addend = next((name for name in reader.input if name != output), "")
            if len(self.weights.get(addend, ())) == 1 and len(self.read_by[addend]) == 1:
                return reader.output[0], addend, 1
        return output, None, 1


def _supported(node: onnx.NodeProto, attributes: Mapping[str, Any], shape: tuple[int, ...]) -> bool:
    if node.op_type in DENSE:
        plain = attributes.get("alpha", 1.0) == 1.0 and attributes.get("beta", 1.0) == 1.0
        return bool(plain and not attributes.get("transA", 0) and len(shape) == 2)
    padding = attributes.get("auto_pad", b"NOTSET")
    return len(shape) == 4 and attributes.get("group", 1) == 1 and padding == b"NOTSET"


def activations(
    model: onnx.ModelProto,
    parameters: Mapping[str, Array],
    names: Sequence[str],
    batches: Sequence[Mapping[str, Array]],
) -> list[Array]:
    """Activations of a model, one stacked array a name.

    Args:
        model: the ONNX model.
        parameters: values in place of those of its initializers.
        names: tensors of its graph.
        batches: inputs, one batch after the other.
    """
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
    is_image = layer.is_convolution
    height, width = output.shape[2:] if is_image else (math.prod(output.shape[1:-1]), 1)
    samples = np.arange(len(output))
    if len(samples) > most:
        samples = np.sort(generator.permutation(samples)[:most])
    count = max(1, min(height * width, most // len(samples)))
    cells = np.concatenate([generator.permutation(height * width)[:count] for _ in samples])
    return np.repeat(samples, count), cells // width, cells % width


def patches(
    layer: Layer,
    data: Array,
    kernel: tuple[int, ...],
    positions: Positions,
) -> NDArray[np.float64]:
    """What a layer computes some of its outputs from.

    Args:
        layer: a convolution or dense layer.
        data: its input, (n, channels, height, width) or (n, ..., features).
        kernel: shape of its weight.
        positions: output positions.

    Returns:
        (positions, channels * kernel window).
    """
    sample, row, column = positions
    if not layer.is_convolution:
        return _rows(data)[sample, row].astype(np.float64)
    top, left, bottom, right = layer.attributes.get("pads", [0, 0, 0, 0])
    strides = layer.attributes.get("strides", [1, 1])
    dilations = layer.attributes.get("dilations", [1, 1])
    padded = np.pad(data, ((0, 0), (0, 0), (top, bottom), (left, right)))
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
    chosen = output[sample, :, row, column] if layer.is_convolution else _rows(output)[sample, row]
    return chosen[:, channels].astype(np.float64)


def _rows(data: Array) -> Array:
    """(n, ..., features) as (n, rows, features)."""
    return data.reshape(len(data), -1, data.shape[-1])
