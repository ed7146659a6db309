"""Rewrites of an ONNX graph that need neither shapes nor values: one form for each thing said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import Message
from onnx import numpy_helper

Proto = TypeVar("Proto", bound=Message)

CHAINED = {"Sum": "Add"}
"""Ops of many operands, and the op of two that a chain of them is made of."""


def readable(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the marks of tools and with its own functions inlined."""
    without_marks(proto)
    return onnx.inliner.inline_local_functions(proto) if proto.functions else proto


def standardise(proto: onnx.ModelProto) -> None:
    """Apply the other rewrites of this module."""
    inputs_without_weights(proto)
    dense_constants(proto)
    inference_batch_norms(proto)
    without_copies(proto)
    chains_of_two(proto)


def inputs_without_weights(proto: onnx.ModelProto) -> None:
    """Old files list the weights among the inputs as well."""
    names = {tensor.name for tensor in proto.graph.initializer}
    for value in [value for value in proto.graph.input if value.name in names]:
        proto.graph.input.remove(value)


def without_marks(proto: onnx.ModelProto) -> None:
    """Remove what tools have noted on Constant nodes, which makes them invalid."""
    for node in proto.graph.node:
        if node.op_type == "Constant":
            for entry in [e for e in node.attribute if e.name not in CONSTANT_ATTRIBUTES]:
                node.attribute.remove(entry)


def dense_constants(proto: onnx.ModelProto) -> None:
    """Write every constant as an initializer or as a Constant node with a dense ``value``."""
    graph = proto.graph
    for sparse in graph.sparse_initializer:
        graph.initializer.append(numpy_helper.from_array(_dense(sparse), sparse.values.name))
    del graph.sparse_initializer[:]
    for node in graph.node:
        if node.op_type != "Constant":
            continue
        value = next(filter(None, map(_constant_value, node.attribute)), None)
        if value is None:
            continue
        del node.attribute[:]
        node.attribute.append(onnx.helper.make_attribute("value", value))


def _constant_value(attribute: onnx.AttributeProto) -> onnx.TensorProto | None:
    read = CONSTANT_FORMS.get(attribute.name)
    return read(attribute) if read is not None else None


def _dense(sparse: onnx.SparseTensorProto) -> np.ndarray[Any, Any]:
    values = numpy_helper.to_array(sparse.values)
    indices = numpy_helper.to_array(sparse.indices)
    result = np.zeros(tuple(sparse.dims), values.dtype)
    where = tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, result.shape)
    result[where] = values
    return result


def _tensor(values: Any, dtype: str) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype=dtype))


CONSTANT_FORMS: Mapping[str, Callable[[onnx.AttributeProto], onnx.TensorProto]] = {
    "value": lambda attribute: copy_of(attribute.t),
    "sparse_value": lambda attribute: numpy_helper.from_array(_dense(attribute.sparse_tensor)),
    "value_float": lambda attribute: _tensor(attribute.f, "float32"),
    "value_floats": lambda attribute: _tensor(attribute.floats, "float32"),
    "value_int": lambda attribute: _tensor(attribute.i, "int64"),
    "value_ints": lambda attribute: _tensor(attribute.ints, "int64"),
}
"""How to read each attribute that may hold a constant; strings are none of a network's."""
CONSTANT_ATTRIBUTES = frozenset({*CONSTANT_FORMS, "value_string", "value_strings"})


def inference_batch_norms(proto: onnx.ModelProto) -> None:
    """Batch norms use their stored statistics, also where the export was made in training mode."""
    read = read_values(proto.graph)
    for node in proto.graph.node:
        if node.op_type != "BatchNormalization" or set(node.output[1:]) & read:
            continue
        del node.output[1:]
        for attribute in [entry for entry in node.attribute if entry.name == "training_mode"]:
            node.attribute.remove(attribute)


def without_copies(proto: onnx.ModelProto) -> None:
    """Remove Identity and Dropout; what reads their result reads their operand."""
    graph = proto.graph
    given = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    results = {value.name for value in graph.output}
    read = read_values(graph)
    renamed: dict[str, str] = {}
    removed = []
    for node in graph.node:
        is_copy = node.op_type == "Identity" or (
            node.op_type == "Dropout" and not set(node.output[1:]) & read
        )
        if not is_copy or node.domain not in ("", "ai.onnx"):
            continue
        source = _renamed(node.input[0], renamed)
        if node.output[0] not in results:
            renamed[node.output[0]] = source
            removed.append(node)
        elif source not in given and source not in results:
            renamed[source] = node.output[0]
            results.add(node.output[0])
            removed.append(node)
    remove_nodes(graph, removed)
    rename_values(graph, renamed)


def read_values(graph: onnx.GraphProto) -> set[str]:
    """Names that the nodes of a graph read, and its outputs."""
    read = {name for node in graph.node for name in _reads(node)}
    return read | {value.name for value in graph.output}


def _reads(node: onnx.NodeProto) -> Iterable[str]:
    """Values that a node reads, in its subgraphs as well."""
    yield from node.input
    for graph in subgraphs(node):
        for inner in graph.node:
            yield from _reads(inner)
        yield from (value.name for value in graph.output)


def subgraphs(node: onnx.NodeProto) -> Iterable[onnx.GraphProto]:
    """The graphs that a control-flow node holds."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def rename_values(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename values wherever a node of the graph, or of a graph inside it, mentions them."""
    for node in graph.node:
        node.input[:] = [_renamed(name, names) for name in node.input]
        node.output[:] = [_renamed(name, names) for name in node.output]
        for inner in subgraphs(node):
            rename_values(inner, names)
            for value in inner.output:
                value.name = _renamed(value.name, names)


def _renamed(name: str, names: Mapping[str, str]) -> str:
    while name in names:
        name = names[name]
    return name


def take_decided_branches(proto: onnx.ModelProto) -> bool:
    """Put the branch of every If whose condition is constant in its place.

    Returns:
        whether there was one.
    """
    graph = proto.graph
    conditions = {tensor.name: tensor for tensor in graph.initializer}
    conditions |= {
        node.output[0]: entry.t
        for node in graph.node
        if node.op_type == "Constant"
        for entry in node.attribute
        if entry.name == "value"
    }
    nodes: list[onnx.NodeProto] = []
    decided = False
    for node in graph.node:
        if node.op_type != "If" or node.input[0] not in conditions:
            nodes.append(node)
            continue
        decided = True
        wanted = (
            "then_branch" if numpy_helper.to_array(conditions[node.input[0]]) else "else_branch"
        )
        branch = copy_of(next(entry.g for entry in node.attribute if entry.name == wanted))
        graph.initializer.extend(branch.initializer)
        nodes.extend(branch.node)
        nodes.extend(
            onnx.helper.make_node("Identity", [inner.name], [outer])
            for inner, outer in zip(branch.output, node.output, strict=True)
            if outer
        )
    if decided:
        replace_nodes(graph, nodes)
        without_copies(proto)
    return decided


def chains_of_two(proto: onnx.ModelProto) -> None:
    """Write every Sum as a chain of Adds; the importer stacks its operands and reduces instead."""
    nodes = []
    for node in proto.graph.node:
        if node.op_type not in CHAINED or len(node.input) < 2:
            nodes.append(node)
            continue
        total = node.input[0]
        for index, operand in enumerate(node.input[1:], start=2):
            last = index == len(node.input)
            result = node.output[0] if last else f"{node.output[0]}#{index}"
            nodes.append(
                onnx.helper.make_node(
                    CHAINED[node.op_type], [total, operand], [result], name=result
                )
            )
            total = result
    replace_nodes(proto.graph, nodes)


def without_dead_nodes(proto: onnx.ModelProto) -> None:
    """Remove the nodes and the constants whose values nobody reads."""
    graph = proto.graph
    read = {value.name for value in graph.output}
    alive = []
    for node in reversed(graph.node):
        if set(node.output) & read:
            alive.append(node)
            read.update(_reads(node))
    if len(alive) < len(graph.node):
        replace_nodes(graph, reversed(alive))
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Give a graph other nodes, which may be some of its own."""
    copies = [copy_of(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def remove_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Take nodes out of a graph."""
    gone = {id(node) for node in nodes}
    if gone:
        replace_nodes(graph, [node for node in graph.node if id(node) not in gone])


def copy_of(message: Proto) -> Proto:
    """A copy of a protobuf message."""
    result: Proto = type(message)()
    result.CopyFrom(message)
    return result


def unique_name(wanted: str, taken: set[str]) -> str:
    """The wanted name, or the first variant of it that is free; it is taken afterwards."""
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    taken.add(name)
    return name
