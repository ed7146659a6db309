"""Weights that a graph computes from other constants are computed once, when it is loaded."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence

import onnx
from onnx import numpy_helper

from tvm_prune.frontend.agreement import first_line, run
from tvm_prune.frontend.onnx_graph import (
    copy_of,
    read_values,
    remove_nodes,
    replace_nodes,
    subgraphs,
    without_dead_nodes,
)
from tvm_prune.frontend.onnx_weights import (
    FLOATING,
    LAYOUT,
    Weights,
    program_constants,
    program_values,
    set_inputs,
)
from tvm_prune.model import Array

logger = logging.getLogger(__name__)

RANDOM = frozenset({"RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"})


def fold_weights(proto: onnx.ModelProto, weights: Weights) -> None:
    """Replace what depends on constants alone by its value.

    Dequantized weights, gathered tables and reshaped kernels become weights. One keeps the name of
    the tensor that it was made from, where that is clear. Nodes that only rearrange the axes of a
    weight stay.

    Args:
        proto: the graph, which is changed.
        weights: its weights, to which the computed ones are added.
    """
    graph = proto.graph
    constants = program_constants(graph)
    computed = _constant_expressions(graph, {*constants, *weights})
    wanted = _read_outside(graph, computed, _last_layouts(graph, computed))
    if not wanted:
        return
    needed = _with_ancestors(computed, wanted)
    values = _evaluate(proto, needed, constants, weights, wanted)
    if values is None:
        return
    program = program_values(graph)
    sizes = {name: weight.size for name, weight in weights.items()}
    for node in needed:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            sizes[node.input[0]] = math.prod(constants[node.input[0]].dims)
    sources = {name: _source(name, value, needed, sizes) for name, value in values.items()}
    remove_nodes(graph, [node for node in needed if set(node.output) & set(wanted)])
    without_dead_nodes(proto)
    folded = {
        name: value
        for name, value in values.items()
        if value.ndim and _tensor_type(value) in FLOATING and name not in program
    }
    replace_nodes(
        graph,
        [
            *(_constant(name, value) for name, value in values.items() if name not in folded),
            *graph.node,
        ],
    )
    _add_weights(graph, weights, folded, sources)
    set_inputs(proto, list(graph.input), weights)


def _tensor_type(value: Array) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(value.dtype))


def _constant(name: str, value: Array) -> onnx.NodeProto:
    return onnx.helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))


def _constant_expressions(graph: onnx.GraphProto, constant: set[str]) -> list[onnx.NodeProto]:
    """Nodes that read nothing but constants, in order."""
    known = set(constant)
    found = []
    for node in graph.node:
        inputs = [name for name in node.input if name]
        plain = node.op_type not in RANDOM and not any(True for _ in subgraphs(node))
        if plain and inputs and all(name in known for name in inputs):
            found.append(node)
            known.update(node.output)
    return found


def _last_layouts(graph: onnx.GraphProto, computed: Sequence[onnx.NodeProto]) -> set[str]:
    """Results of the nodes that rearrange axes after everything else has been computed."""
    read_inside = program_values(graph)
    kept = set()
    for node in reversed(computed):
        if node.op_type in LAYOUT and node.output[0] not in read_inside:
            kept.add(node.output[0])
            read_inside.update(node.input[1:])
        else:
            read_inside.update(node.input)
    return kept


def _read_outside(
    graph: onnx.GraphProto, computed: Sequence[onnx.NodeProto], kept: set[str]
) -> list[str]:
    """Computed values that the rest of the graph reads; what is kept belongs to the rest."""
    results = {name for node in computed for name in node.output if name and name not in kept}
    inside = {id(node) for node in computed if not set(node.output) & kept}
    read = [name for node in graph.node if id(node) not in inside for name in node.input]
    read += [name for node in graph.node for g in subgraphs(node) for name in read_values(g)]
    read += [value.name for value in graph.output]
    return sorted(results & set(read))


def _with_ancestors(
    computed: Sequence[onnx.NodeProto], wanted: Iterable[str]
) -> list[onnx.NodeProto]:
    needed = set(wanted)
    found = []
    for node in reversed(computed):
        if set(node.output) & needed:
            found.append(node)
            needed.update(node.input)
    return found[::-1]


def _evaluate(
    proto: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, onnx.TensorProto],
    weights: Weights,
    wanted: Sequence[str],
) -> dict[str, Array] | None:
    """Values of the wanted names, computed by ONNX Runtime."""
    read = {name for node in nodes for name in node.input}
    tensors = []
    for name in sorted(read & set(constants)):
        tensors.append(copy_of(constants[name]))
        tensors[-1].name = name
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in wanted]
    graph = onnx.helper.make_graph(nodes, "constants", [], outputs, tensors)
    part = onnx.helper.make_model(graph, opset_imports=proto.opset_import)
    part.ir_version = proto.ir_version
    operands = {name: weights[name] for name in read & set(weights)}
    set_inputs(part, [], operands)
    try:
        return run(part, operands)
    except Exception as error:  # the runtime raises whatever its kernels trip over
        logger.debug("Constants stay as they are: %s", first_line(error))
        return None


def _source(
    name: str, value: Array, nodes: Sequence[onnx.NodeProto], sizes: Mapping[str, int]
) -> str:
    """The only tensor of equally many elements that a value was made from, or its own name."""
    reached = {name}
    for node in reversed(nodes):
        if set(node.output) & reached:
            reached.update(node.input)
    found = [other for other in reached if sizes.get(other) == value.size]
    return found[0] if len(found) == 1 and value.ndim else name


def _add_weights(
    graph: onnx.GraphProto, weights: Weights, folded: Weights, sources: dict[str, str]
) -> None:
    """Add computed weights under the names of their sources, where nothing else bears those."""
    read = read_values(graph)
    for name in set(weights) - read:
        del weights[name]
    taken = {*weights, *folded, *(tensor.name for tensor in graph.initializer)}
    taken |= {name for node in graph.node for name in node.output}
    results = {value.name for value in graph.output}
    renamed = {}
    for name, value in folded.items():
        source = sources[name]
        if source not in taken and name not in results:
            taken.add(source)
            renamed[name] = source
        weights[renamed.get(name, name)] = value
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
