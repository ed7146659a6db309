"""Rewrites of an ONNX graph that need to know shapes: padding as numbers, norms as one node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tvm_prune.frontend.onnx_graph import replace_nodes, without_dead_nodes
from tvm_prune.frontend.onnx_weights import Weights, program_constants
from tvm_prune.model import Array

LAYER_NORM_OPSET = 17

Shape = tuple[int, ...]


@dataclass(frozen=True)
class View:
    """A graph as patterns look at it.

    Attributes:
        producers: the node that makes each value.
        uses: how many nodes and outputs read each value.
        shapes: static shapes of the values whose shape is known.
        constants: the constants that the graph holds itself, still as tensors.
        weights: the weights that have been taken out.
    """

    producers: Mapping[str, onnx.NodeProto]
    uses: Mapping[str, int]
    shapes: Mapping[str, Shape]
    constants: Mapping[str, onnx.TensorProto]
    weights: Weights

    @classmethod
    def of(cls, proto: onnx.ModelProto, weights: Weights) -> View:
        """Look at a graph whose weights have been taken out."""
        graph = proto.graph
        return cls(
            producers={name: node for node in graph.node for name in node.output},
            uses=Counter(name for node in graph.node for name in node.input)
            + Counter(value.name for value in graph.output),
            shapes=_static_shapes(proto),
            constants=program_constants(graph),
            weights=weights,
        )

    def maker(self, name: str, op: str) -> onnx.NodeProto | None:
        """The node that makes a value, if it is of this kind."""
        node = self.producers.get(name)
        return node if node is not None and node.op_type == op else None

    def constant(self, name: str) -> Array | None:
        """Value of a constant or a weight."""
        if name in self.weights:
            return self.weights[name]
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def number(self, name: str) -> float | None:
        """Value of a constant of one element."""
        value = self.constant(name)
        return None if value is None or value.size != 1 else float(value.reshape(()))


def _static_shapes(proto: onnx.ModelProto) -> dict[str, Shape]:
    try:
        graph = onnx.shape_inference.infer_shapes(proto).graph
    except (onnx.shape_inference.InferenceError, ValueError):
        graph = proto.graph
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.dim_value > 0 for d in dims):
            found[value.name] = tuple(int(d.dim_value) for d in dims)
    return found | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def explicit_padding(proto: onnx.ModelProto, view: View) -> None:
    """Replace ``auto_pad`` by the pads that it means.

    The importer pads the data in an operation of its own instead, and for pools it rounds the
    output of SAME_LOWER down.
    """
    for node in proto.graph.node:
        attributes = _attributes(node)
        mode = attributes.get("auto_pad", b"NOTSET")
        if mode == b"NOTSET" or node.op_type not in WINDOWED:
            continue
        pads = _pads(node, attributes, mode, view)
        if pads is None:
            continue
        for entry in [e for e in node.attribute if e.name in ("auto_pad", "pads", "output_shape")]:
            node.attribute.remove(entry)
        node.attribute.append(helper.make_attribute("pads", pads))


WINDOWED = frozenset({"Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"})


def _pads(
    node: onnx.NodeProto, attributes: Mapping[str, Any], mode: bytes, view: View
) -> list[int] | None:
    data, weight = view.shapes.get(node.input[0]), None
    if len(node.input) > 1:
        weight = view.shapes.get(node.input[1])
    kernel = attributes.get("kernel_shape") or (weight[2:] if weight else None)
    if data is None or kernel is None:
        return None
    rank = len(kernel)
    if mode == b"VALID":
        return [0] * (2 * rank)
    strides = attributes.get("strides", [1] * rank)
    dilations = attributes.get("dilations", [1] * rank)
    before, after = [], []
    for axis in range(rank):
        window = (kernel[axis] - 1) * dilations[axis] + 1
        if node.op_type == "ConvTranspose":
            if "output_shape" in attributes:
                return None
            extra = attributes.get("output_padding", [0] * rank)[axis]
            total = window + extra - strides[axis]
        else:
            extent = data[2 + axis]
            total = (-(-extent // strides[axis]) - 1) * strides[axis] + window - extent
        small, large = max(total, 0) // 2, max(total, 0) - max(total, 0) // 2
        before.append(small if mode == b"SAME_UPPER" else large)
        after.append(large if mode == b"SAME_UPPER" else small)
    return before + after


def transposed_weights_as_flags(proto: onnx.ModelProto, view: View) -> None:
    """A Gemm that reads a transposed weight reads the weight and transposes it itself."""
    for node in proto.graph.node:
        if node.op_type != "Gemm":
            continue
        transpose = view.maker(node.input[1], "Transpose")
        if transpose is None or len(view.shapes.get(node.input[1], ())) != 2:
            continue
        if transpose.input[0] not in view.weights:
            continue
        if list(_attributes(transpose).get("perm", [1, 0])) == [1, 0]:
            flag = int(_attributes(node).get("transB", 0))
            for entry in [entry for entry in node.attribute if entry.name == "transB"]:
                node.attribute.remove(entry)
            node.attribute.append(helper.make_attribute("transB", 1 - flag))
            node.input[1] = transpose.input[0]


@dataclass(frozen=True)
class _Norm:
    """A layer norm as its parts: the value normalised, over which last axes, and the rest."""

    data: str
    shape: Shape
    epsilon: Array


def whole_layer_norms(proto: onnx.ModelProto, view: View) -> None:
    """Write layer norms that were exported as arithmetic as LayerNormalization.

    As arithmetic, the mean over the channels freezes them; a layer norm can be pruned.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in proto.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    replaced: dict[str, list[onnx.NodeProto]] = {}
    for node in proto.graph.node:
        norm = _matched_norm(node, view)
        if norm is not None:
            last, nodes = _affine_norm(node, norm, view, readers)
            replaced[last] = nodes
    if replaced:
        nodes = [
            new
            for node in proto.graph.node
            for new in replaced.get(node.output[0] if node.output else "", [node])
        ]
        replace_nodes(proto.graph, nodes)
        without_dead_nodes(proto)


def _matched_norm(divide: onnx.NodeProto, view: View) -> _Norm | None:
    """Recognise (x - mean(x)) / sqrt(mean((x - mean(x)) ** 2) + epsilon)."""
    if divide.op_type != "Div":
        return None
    centred, deviation = view.maker(divide.input[0], "Sub"), view.maker(divide.input[1], "Sqrt")
    variance = view.maker(deviation.input[0], "Add") if deviation is not None else None
    if centred is None or variance is None:
        return None
    epsilons = [name for name in variance.input if view.number(name) is not None]
    if len(epsilons) != 1:
        return None
    spread = view.maker(variance.input[variance.input[0] == epsilons[0]], "ReduceMean")
    mean = view.maker(centred.input[1], "ReduceMean")
    if spread is None or mean is None or mean.input[0] != centred.input[0]:
        return None
    shape = view.shapes.get(centred.input[0])
    if shape is None or not _is_square(spread.input[0], centred, view):
        return None
    axes = _last_axes(mean, shape, view)
    if axes is None or axes != _last_axes(spread, shape, view):
        return None
    epsilon = view.constant(epsilons[0])
    return None if epsilon is None else _Norm(centred.input[0], shape[axes:], epsilon)


def _is_square(name: str, centred: onnx.NodeProto, view: View) -> bool:
    def is_centred(value: str) -> bool:
        node = view.maker(value, "Sub")
        return node is not None and list(node.input) == list(centred.input)

    power, product = view.maker(name, "Pow"), view.maker(name, "Mul")
    if power is not None:
        return is_centred(power.input[0]) and view.number(power.input[1]) == 2
    return product is not None and all(is_centred(value) for value in product.input)


def _last_axes(mean: onnx.NodeProto, shape: Shape, view: View) -> int | None:
    """First of the axes that a mean is taken over, if those are all axes from it to the end."""
    attributes = _attributes(mean)
    axes = attributes.get("axes")
    operand = view.constant(mean.input[1]) if len(mean.input) > 1 else None
    if operand is not None:
        axes = operand.ravel().tolist()
    if not axes or not attributes.get("keepdims", 1):
        return None
    found = sorted(axis % len(shape) for axis in axes)
    return found[0] if found == list(range(found[0], len(shape))) else None


def _affine_norm(
    divide: onnx.NodeProto,
    norm: _Norm,
    view: View,
    readers: Mapping[str, list[onnx.NodeProto]],
) -> tuple[str, list[onnx.NodeProto]]:
    """A LayerNormalization with the scale and shift that follow; and the value that it makes."""
    last, scale = _absorbed(divide.output[0], "Mul", norm, view, readers)
    shift = None
    if scale is not None:
        last, shift = _absorbed(last, "Add", norm, view, readers)
    nodes = []
    if scale is None:
        scale = f"{divide.output[0]}#scale"
        nodes.append(helper.make_node("Constant", [], [scale], value=_ones(norm)))
    inputs = [norm.data, scale, *([shift] if shift else [])]
    attributes = {
        "axis": -len(norm.shape),
        "epsilon": float(norm.epsilon.reshape(())),
    }
    nodes.append(helper.make_node("LayerNormalization", inputs, [last], name=last, **attributes))
    return last, nodes


def _absorbed(
    value: str, op: str, norm: _Norm, view: View, readers: Mapping[str, list[onnx.NodeProto]]
) -> tuple[str, str | None]:
    """Result and operand of the only reader, where it applies a weight of the norm's shape."""
    if view.uses.get(value) == 1 and (readers.get(value) or [None])[0] is not None:
        reader = readers[value][0]
        if reader.op_type == op:
            other = reader.input[1 if reader.input[0] == value else 0]
            if other in view.weights and view.weights[other].shape == norm.shape:
                return reader.output[0], other
    return value, None


def _ones(norm: _Norm) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(norm.shape, norm.epsilon.dtype))
