"""Rewrites of an ONNX graph before it is imported: weights found wherever they are, plain ops."""

from __future__ import annotations

from collections import Counter

import onnx

FLOATING = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
        onnx.TensorProto.DOUBLE,
    }
)


def weights_to_initializers(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Make every weight an initializer, and everything else that is constant a Constant node.

    Weights are floating tensors; scalars (clip bounds, epsilons) and integers (shapes, indices)
    are part of the program.
    """
    graph = proto.graph
    names = {tensor.name for tensor in graph.initializer}
    for value in [value for value in graph.input if value.name in names]:  # as old files list them
        graph.input.remove(value)
    for tensor in [tensor for tensor in graph.initializer if not _is_weight(tensor)]:
        node = onnx.helper.make_node("Constant", [], [tensor.name], value=tensor)
        graph.initializer.remove(tensor)
        graph.node.insert(0, node)
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        tensor = next((entry.t for entry in node.attribute if entry.name == "value"), None)
        if tensor is not None and _is_weight(tensor):
            graph.initializer.append(tensor)
            graph.initializer[-1].name = node.output[0]
            graph.node.remove(node)
    return proto


def one_parameter_per_use(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Clone weights that several nodes share.

    Exporters merge equal tensors, so that the zero biases of unrelated layers become one weight,
    which would tie the channels of those layers together.
    """
    graph = proto.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    uses: Counter[str] = Counter()
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name not in weights:
                continue
            uses[name] += 1
            if uses[name] > 1:
                clone = onnx.TensorProto()
                clone.CopyFrom(weights[name])
                clone.name = f"{name}#{uses[name]}"
                graph.initializer.append(clone)
                node.input[index] = clone.name
    return proto


def sums_to_additions(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Write every Sum as a chain of Adds; the importer stacks its operands and reduces instead."""
    nodes = []
    for node in proto.graph.node:
        if node.op_type != "Sum" or len(node.input) < 2:
            nodes.append(node)
            continue
        total = node.input[0]
        for index, operand in enumerate(node.input[1:], start=2):
            last = index == len(node.input)
            result = node.output[0] if last else f"{node.output[0]}#{index}"
            nodes.append(onnx.helper.make_node("Add", [total, operand], [result], name=result))
            total = result
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def _is_weight(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.dims) and tensor.data_type in FLOATING
