"""The convolutions and dense layers of an ONNX model: what they read, compute and add."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx

DENSE = frozenset({"Gemm", "MatMul"})


@dataclass(frozen=True)
class Layer:
    """A convolution or a dense layer.

    Attributes:
        node: the ONNX node.
        weight: name of its weight.
        axes: output and input axis of the weight.
        groups: number of groups of a convolution, else 1.
        output: name of the activation it writes, its bias added.
        bias: name of its bias, or of the running mean of the batch norm that follows it.
        bias_sign: +1 for a bias, -1 for a running mean, which is subtracted.
        norm: the batch norm that alone reads its output, or None.
        attributes: the node's attributes.
    """

    node: onnx.NodeProto
    weight: str
    axes: tuple[int, int]
    groups: int
    output: str
    bias: str | None
    bias_sign: int
    norm: onnx.NodeProto | None
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
    """Convolutions, grouped ones too, and dense layers, in program order.

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
        output, bias, sign, norm = self._bias(node)
        outputs = self.weights[weight][axes[0]]
        if bias is not None and math.prod(self.weights.get(bias, ())) != outputs:
            return None
        groups = int(attributes.get("group", 1))
        return Layer(node, weight, axes, groups, output, bias, sign, norm, attributes)

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

    def _bias(self, node: onnx.NodeProto) -> tuple[str, str | None, int, onnx.NodeProto | None]:
        """Output of a layer, what is added to it, its sign, and the batch norm that follows."""
        output = node.output[0]
        [reader, *others] = self.read_by.get(output, [None])
        is_normed = not others and reader is not None and reader.op_type == "BatchNormalization"
        norm = reader if is_normed and self._is_fixed(reader) else None
        if len(node.input) > 2 and node.input[2]:
            return output, node.input[2], 1, norm
        if others or reader is None:
            return output, None, 1, None
        if norm is not None:
            return output, norm.input[3], -1, norm
        if reader.op_type == "Add" and node.op_type in DENSE:
            addend = next((name for name in reader.input if name != output), "")
            if len(self.weights.get(addend, ())) == 1 and len(self.read_by[addend]) == 1:
                return reader.output[0], addend, 1, None
        return output, None, 1, None

    def _is_fixed(self, norm: onnx.NodeProto) -> bool:
        """Whether the parameters of a batch norm are the model's, and no other node's."""
        return all(n in self.weights and len(self.read_by[n]) == 1 for n in norm.input[1:])


def _supported(node: onnx.NodeProto, attributes: Mapping[str, Any], shape: tuple[int, ...]) -> bool:
    if node.op_type in DENSE:
        plain = attributes.get("alpha", 1.0) == 1.0 and attributes.get("beta", 1.0) == 1.0
        return bool(plain and not attributes.get("transA", 0) and len(shape) == 2)
    return len(shape) > 2 and attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
