"""Which tensors of an ONNX graph are weights, and how each becomes one named parameter.

A weight is a floating tensor with axes that flows into the computation. Everything else that is
constant is part of the program: scalars, integers, and whatever decides shapes or bounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import onnx
from onnx import numpy_helper

from tvm_prune.frontend.onnx_graph import (
    copy_of,
    read_values,
    remove_nodes,
    replace_nodes,
    unique_name,
)
from tvm_prune.model import Array

Weights: TypeAlias = dict[str, Array]

FLOATING = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
        onnx.TensorProto.DOUBLE,
    }
)

PROGRAM_OPERANDS: Mapping[str, tuple[int, ...]] = {
    "CenterCropPad": (1,),
    "Clip": (1, 2),
    "ConstantOfShape": (0,),
    "CumSum": (1,),
    "DequantizeLinear": (1, 2),
    "Dropout": (1, 2),
    "Expand": (1,),
    "NonMaxSuppression": (2, 3, 4),
    "OneHot": (1, 2),
    "Pad": (1, 2, 3),
    "Pow": (1,),
    "QuantizeLinear": (1, 2),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}
"""Operands that an op reads as part of the program, by position."""

SHAPE_ONLY = frozenset({"Shape", "Size"})
"""Ops whose result depends on the shape of their operand alone."""

LAYOUT = frozenset({"Transpose", "Unsqueeze", "Squeeze", "Expand"})
"""Ops that leave every axis of a weight recognisable; they stay, so that the weight keeps its
name and the axes that the user knows."""


def take_weights(proto: onnx.ModelProto) -> Weights:
    """Move the values of all weights out of the graph; the weights become graph inputs.

    Without values, simplifiers can neither merge nor rename nor fold weights, and a graph of half a
    gigabyte is simplified as fast as a small one.
    """
    graph = proto.graph
    program = program_values(graph)
    weights = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if _is_weight(tensor) and tensor.name not in program
    }
    others = [copy_of(tensor) for tensor in graph.initializer if tensor.name not in weights]
    del graph.initializer[:]
    graph.initializer.extend(others)
    found = [
        (node, tensor)
        for node, tensor in constant_nodes(graph)
        if _is_weight(tensor) and node.output[0] not in program
    ]
    weights |= {node.output[0]: numpy_helper.to_array(tensor) for node, tensor in found}
    remove_nodes(graph, [node for node, _ in found])
    set_inputs(proto, list(graph.input), weights)
    return weights


def set_inputs(
    proto: onnx.ModelProto, inputs: Sequence[onnx.ValueInfoProto], weights: Weights
) -> None:
    """Give a graph its inputs: those of the user, and then the weights in the order of use."""
    graph = proto.graph
    order = dict.fromkeys(name for node in graph.node for name in node.input if name in weights)
    order |= dict.fromkeys(sorted(read_values(graph) & set(weights)))
    infos = [copy_of(value) for value in inputs if value.name not in weights]
    infos += [
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(weights[name].dtype), weights[name].shape
        )
        for name in order
    ]
    del graph.input[:]
    graph.input.extend(infos)


def constants_as_nodes(proto: onnx.ModelProto) -> None:
    """Write what the program holds as constants as Constant nodes, as the importer wants it."""
    graph = proto.graph
    nodes = [
        onnx.helper.make_node("Constant", [], [tensor.name], value=tensor)
        for tensor in graph.initializer
    ]
    del graph.initializer[:]
    if nodes:
        replace_nodes(graph, [*nodes, *graph.node])


def program_values(graph: onnx.GraphProto) -> set[str]:
    """Names of the values that decide shapes or bounds, and of all they are computed from."""
    producers = {name: node for node in graph.node for name in node.output}
    open_names = [name for node in graph.node for name in _program_operands(node)]
    found: set[str] = set()
    while open_names:
        name = open_names.pop()
        if name in found:
            continue
        found.add(name)
        producer = producers.get(name)
        if producer is not None and producer.op_type not in SHAPE_ONLY:
            open_names.extend(filter(None, producer.input))
    return found


def _program_operands(node: onnx.NodeProto) -> list[str]:
    positions = (1,) if node.op_type.startswith("Reduce") else PROGRAM_OPERANDS.get(node.op_type)
    return [node.input[i] for i in positions or () if i < len(node.input) and node.input[i]]


def constant_nodes(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, onnx.TensorProto]]:
    """Constant nodes of a graph and their tensors."""
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    yield node, attribute.t


def program_constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Every constant that a graph still holds itself, by name."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    return found | {node.output[0]: tensor for node, tensor in constant_nodes(graph)}


def one_parameter_per_use(proto: onnx.ModelProto, weights: Weights) -> None:
    """Clone weights that several nodes share.

    Exporters merge equal tensors, so that the zero biases of unrelated layers become one weight,
    which would tie the channels of those layers together.
    """
    graph = proto.graph
    _one_layout_per_use(graph, weights)
    taken = {name for node in graph.node for name in node.output} | set(weights)
    uses: Counter[str] = Counter()
    originals = set(weights)
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name not in originals:
                continue
            uses[name] += 1
            if uses[name] > 1:
                clone = unique_name(f"{name}#{uses[name]}", taken)
                weights[clone] = weights[name]
                node.input[index] = clone


def _one_layout_per_use(graph: onnx.GraphProto, weights: Weights) -> None:
    """Repeat what only rearranges the axes of a weight for each of its readers."""
    layouts = _layouts_of_weights(graph, weights)
    if not layouts:
        return
    clones: dict[str, list[Any]] = {name: [] for name in layouts}
    used: set[str] = set()
    nodes = []
    for node in reversed(graph.node):
        together = [node, *clones.get(node.output[0], ())]
        for reader in together:
            for index, name in enumerate(reader.input):
                if name in layouts and name in used:
                    clone = copy_of(layouts[name])
                    clone.output[0] = f"{name}#{len(clones[name]) + 2}"
                    clone.name = f"{clone.name}#{len(clones[name]) + 2}"
                    clones[name].append(clone)
                    reader.input[index] = clone.output[0]
                used.add(name)
        nodes += together
    replace_nodes(graph, reversed(nodes))


def _layouts_of_weights(graph: onnx.GraphProto, weights: Weights) -> dict[str, onnx.NodeProto]:
    """Nodes that only rearrange the axes of a weight, by the name of their output."""
    constants = program_constants(graph)
    found: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        if (
            node.op_type in LAYOUT
            and (node.input[0] in weights or node.input[0] in found)
            and all(name in constants for name in node.input[1:])
        ):
            found[node.output[0]] = node
    return found


def _is_weight(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.dims) and tensor.data_type in FLOATING
