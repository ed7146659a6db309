"""One-dimensional resizing, which the importer writes as a kernel of its own, as that of images."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tvm_prune.frontend.onnx_graph import replace_nodes, unique_name
from tvm_prune.frontend.onnx_patterns import View
from tvm_prune.model import Array

AXIS = 2
"""Where a line gets the axis that makes it an image of one row."""

AXES_AS_INPUT = 13
"""Opset since which Squeeze and Unsqueeze read their axes from an input."""


def lines_as_images(proto: onnx.ModelProto, view: View) -> None:
    """Resize (N, C, W) as (N, C, 1, W), in models of an opset that reads axes from an input."""
    if max(entry.version for entry in proto.opset_import if not entry.domain) < AXES_AS_INPUT:
        return
    taken = {name for node in proto.graph.node for name in (*node.input, *node.output)}
    nodes: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        extents = _extents_of_a_line(node, view)
        nodes += [node] if extents is None else _resized_image(node, *extents, taken)
    if len(nodes) > len(proto.graph.node):
        replace_nodes(proto.graph, nodes)


def _extents_of_a_line(node: onnx.NodeProto, view: View) -> tuple[int, Array] | None:
    """Which input of a Resize holds the scales or sizes of three axes, and their values."""
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    mode = attributes.get("coordinate_transformation_mode", b"half_pixel")
    # TVM divides by the rows of the result but one where corners are aligned
    if node.op_type != "Resize" or "axes" in attributes or mode == b"align_corners":
        return None
    roi = view.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    if roi is not None and roi.size:
        return None
    for position in range(2, len(node.input)):
        value = view.constant(node.input[position]) if node.input[position] else None
        if value is not None and value.size == 3:
            return position, value
    return None


def _resized_image(
    node: onnx.NodeProto,
    position: int,
    extents: Array,
    taken: set[str],
) -> list[onnx.NodeProto]:
    """The data with an axis more, its resize with another extent of 1, and without the axis."""
    data, result = node.input[0], node.output[0]
    axes, image, wanted, resized = (
        unique_name(f"{result}.{part}", taken) for part in ("axes", "image", "extents", "resized")
    )
    middle = onnx.NodeProto()
    middle.CopyFrom(node)
    middle.input[0], middle.input[position], middle.output[0] = image, wanted, resized
    return [
        _constant(axes, np.array([AXIS], dtype="int64")),
        _constant(wanted, np.insert(extents, AXIS, 1)),
        helper.make_node("Unsqueeze", [data, axes], [image], name=image),
        middle,
        helper.make_node("Squeeze", [resized, axes], [result], name=result),
    ]


def _constant(name: str, value: Array) -> onnx.NodeProto:
    tensor = numpy_helper.from_array(value)
    return helper.make_node("Constant", [], [name], name=name, value=tensor)
