#!/usr/bin/env python
"""Save a Relay module as ONNX, for a TVM that no longer has Relay.

Runs on its own inside an old TVM (0.8 to 0.18), which needs the packages numpy and onnx:

    python relay_to_onnx.py module.json model.onnx --params params.bin

The module is what ``tvm.ir.save_json`` or ``str(module)`` gave; the parameters are what
``relay.save_param_dict`` gave. Layers in the layout NHWC are moved to NCHW. Where TVM's own
exporter (``tvm.contrib.target.onnx``) lacks an operator or writes it wrongly, the table below
stands in.
"""

from __future__ import annotations

import argparse
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

try:
    import tvm
    from tvm import relay
except ImportError as missing:
    sys.exit(f"This script runs inside an old TVM that still has Relay, 0.18 at most: {missing}.")

if not hasattr(onnx, "mapping"):
    # The exporter reads this table, which newer versions of onnx have replaced by functions.
    onnx.mapping = types.SimpleNamespace(
        NP_TYPE_TO_TENSOR_TYPE={
            np.dtype(name): onnx.helper.np_dtype_to_tensor_dtype(np.dtype(name))
            for name in (
                "bool float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64"
            ).split()
        }
    )

from tvm.contrib.target import onnx as exporter

LAYOUTS = {
    "nn.conv2d": ["NCHW", "OIHW"],
    "nn.max_pool2d": ["NCHW"],
    "nn.avg_pool2d": ["NCHW"],
    "nn.global_avg_pool2d": ["NCHW"],
    "nn.global_max_pool2d": ["NCHW"],
}

if TYPE_CHECKING:  # old Pythons cannot subscript these when they run
    from collections.abc import Callable, Mapping

    Nodes = Mapping[Any, Any]
    Write = Callable[[dict[str, Any], Any, Nodes], None]


class Row:
    """One operator in the form that the exporter calls."""

    def __init__(self, write: Write) -> None:
        self.write = write

    def __call__(self) -> Row:
        return self

    def convert(self, entry: dict[str, Any], container: Any, nodes: Nodes) -> None:
        """Add what the operator becomes to the container."""
        self.write(entry, container, nodes)


def extents(tensor: Any) -> list[int]:
    """Shape of a Relay tensor type."""
    return [int(extent) for extent in tensor.shape]


def operand(entry: dict[str, Any], nodes: Nodes, index: int = 0) -> list[int]:
    """Shape of an operand."""
    return extents(nodes[entry["inputs"][index]][0]["types"][0])


def add(entry: dict[str, Any], container: Any, op: str, *more: str, **attributes: Any) -> None:
    """Add one ONNX node on the operands of a Relay call."""
    inputs = [*entry["input_names"], *more]
    container.add_nodes([onnx.helper.make_node(op, inputs, entry["output_names"], **attributes)])


def same(op: str) -> Row:
    """An operator without attributes."""
    return Row(lambda entry, container, _nodes: add(entry, container, op))


def with_attribute(op: str, name: str, attribute: str) -> Row:
    """An operator with one number as attribute."""

    def write(entry: dict[str, Any], container: Any, _nodes: Nodes) -> None:
        value = float(getattr(entry["relay_node"].attrs, attribute))
        add(entry, container, op, **{name: value})

    return Row(write)


def to_shape(entry: dict[str, Any], container: Any, _nodes: Nodes) -> None:
    """Reshape to the shape that Relay inferred; the exporter copies Relay's own codes and axes."""
    shape = np.asarray(extents(entry["types"][0]), dtype=np.int64)
    name = exporter.add_input(shape, entry["name"], "shape", container)
    inputs = [entry["input_names"][0], name]
    container.add_nodes([onnx.helper.make_node("Reshape", inputs, entry["output_names"])])


def convolution(op: str) -> Row:
    """A convolution; the exporter needs an explicit kernel size, which Relay does not."""

    def write(entry: dict[str, Any], container: Any, nodes: Nodes) -> None:
        attrs = entry["relay_node"].attrs
        attributes = {
            "group": int(attrs.groups),
            "pads": [int(pad) for pad in attrs.padding],
            "strides": [int(stride) for stride in attrs.strides],
            "dilations": [int(dilation) for dilation in attrs.dilation],
            "kernel_shape": operand(entry, nodes, 1)[2:],
        }
        if op == "ConvTranspose":
            attributes["output_padding"] = [int(pad) for pad in attrs.output_padding]
        add(entry, container, op, **attributes)

    return Row(write)


def average_pool(entry: dict[str, Any], container: Any, _nodes: Nodes) -> None:
    """The exporter forgets whether padding counts."""
    attrs = entry["relay_node"].attrs
    add(
        entry,
        container,
        "AveragePool",
        kernel_shape=[int(extent) for extent in attrs.pool_size],
        strides=[int(stride) for stride in attrs.strides],
        pads=[int(pad) for pad in attrs.padding],
        ceil_mode=int(attrs.ceil_mode),
        count_include_pad=int(attrs.count_include_pad),
    )


def adaptive_average_pool(entry: dict[str, Any], container: Any, nodes: Nodes) -> None:
    """A mean over everything, or over windows of equal size."""
    before = np.asarray(operand(entry, nodes)[2:])
    after = np.asarray(extents(entry["types"][0])[2:])
    if (before % after).any():
        sys.exit(f"nn.adaptive_avg_pool2d from {before} to {after} has windows of unequal size.")
    window = (before // after).tolist()
    add(entry, container, "AveragePool", kernel_shape=window, strides=window)


def reduction(op: str) -> Row:
    """A reduction; axes may be negative, missing, or the ones to keep."""

    def write(entry: dict[str, Any], container: Any, nodes: Nodes) -> None:
        attrs, rank = entry["relay_node"].attrs, len(operand(entry, nodes))
        given = range(rank) if attrs.axis is None else attrs.axis
        axes = {int(axis) % rank for axis in given}
        axes = set(range(rank)) - axes if attrs.exclude else axes
        add(entry, container, op, axes=sorted(axes), keepdims=int(attrs.keepdims))

    return Row(write)


def softmax(entry: dict[str, Any], container: Any, nodes: Nodes) -> None:
    """In opset 11 a softmax runs over its axis and all later ones, so that axis must be last."""
    rank = len(operand(entry, nodes))
    axis = int(entry["relay_node"].attrs.axis) % rank
    order = [*(other for other in range(rank) if other != axis), axis]
    moved, normalised = f"{entry['name']}_moved", f"{entry['name']}_normalised"
    back = [order.index(place) for place in range(rank)]
    container.add_nodes(
        [
            onnx.helper.make_node("Transpose", entry["input_names"], [moved], perm=order),
            onnx.helper.make_node("Softmax", [moved], [normalised], axis=rank - 1),
            onnx.helper.make_node("Transpose", [normalised], entry["output_names"], perm=back),
        ]
    )


def batch_matmul(entry: dict[str, Any], container: Any, _nodes: Nodes) -> None:
    """Relay transposes the second operand unless told otherwise."""
    attrs = entry["relay_node"].attrs
    names = []
    for index, transposed in enumerate((attrs.transpose_a, attrs.transpose_b)):
        names.append(entry["input_names"][index])
        if transposed:
            names[-1] = f"{entry['name']}_transposed_{index}"
            node = onnx.helper.make_node(
                "Transpose", [entry["input_names"][index]], [names[-1]], perm=[0, 2, 1]
            )
            container.add_nodes([node])
    container.add_nodes([onnx.helper.make_node("MatMul", names, entry["output_names"])])


def layer_norm(entry: dict[str, Any], container: Any, nodes: Nodes) -> None:
    """Opset 11 has no layer norm: the mean, the deviation, the scale and the shift."""
    attrs, rank = entry["relay_node"].attrs, len(operand(entry, nodes))
    if int(attrs.axis) % rank != rank - 1:
        sys.exit(f"nn.layer_norm over axis {attrs.axis} cannot be written as ONNX, only the last.")
    data, scale, shift = entry["input_names"]
    name = entry["name"]
    epsilon = exporter.add_input(np.float32(attrs.epsilon).reshape(()), name, "epsilon", container)
    steps = [
        ("ReduceMean", [data], "mean", {"axes": [-1]}),
        ("Sub", [data, f"{name}_mean"], "centred", {}),
        ("Mul", [f"{name}_centred", f"{name}_centred"], "square", {}),
        ("ReduceMean", [f"{name}_square"], "variance", {"axes": [-1]}),
        ("Add", [f"{name}_variance", epsilon], "shifted", {}),
        ("Sqrt", [f"{name}_shifted"], "deviation", {}),
        ("Div", [f"{name}_centred", f"{name}_deviation"], "normal", {}),
        ("Mul", [f"{name}_normal", scale], "scaled", {}),
    ]
    container.add_nodes(
        [
            onnx.helper.make_node(op, i, [f"{name}_{o}"], **attributes)
            for op, i, o, attributes in steps
        ]
    )
    container.add_nodes(
        [onnx.helper.make_node("Add", [f"{name}_scaled", shift], entry["output_names"])]
    )


ROWS: dict[str, Row] = {
    "reshape": Row(to_shape),
    "expand_dims": Row(to_shape),
    "squeeze": Row(to_shape),
    "nn.conv1d": convolution("Conv"),
    "nn.conv2d": convolution("Conv"),
    "nn.conv2d_transpose": convolution("ConvTranspose"),
    "nn.avg_pool2d": Row(average_pool),
    "nn.adaptive_avg_pool2d": Row(adaptive_average_pool),
    "nn.global_max_pool2d": same("GlobalMaxPool"),
    "nn.softmax": Row(softmax),
    "nn.layer_norm": Row(layer_norm),
    "nn.batch_matmul": Row(batch_matmul),
    "nn.leaky_relu": with_attribute("LeakyRelu", "alpha", "alpha"),
    **{
        name: reduction(op)
        for name, op in {
            "mean": "ReduceMean",
            "sum": "ReduceSum",
            "max": "ReduceMax",
            "min": "ReduceMin",
        }.items()
    },
    **{
        name: same(op)
        for name, op in {
            "abs": "Abs",
            "ceil": "Ceil",
            "erf": "Erf",
            "floor": "Floor",
            "log": "Log",
            "maximum": "Max",
            "minimum": "Min",
            "negative": "Neg",
            "power": "Pow",
            "sqrt": "Sqrt",
            "tanh": "Tanh",
            "where": "Where",
        }.items()
    },
}
"""Operators that the exporter lacks or gets wrong."""


def read_module(path: Path) -> Any:
    """A Relay module from JSON or from text."""
    text = path.read_text(encoding="utf-8")
    parse = getattr(relay, "fromtext", None) or tvm.parser.fromtext
    try:
        module = tvm.ir.load_json(text) if text.lstrip().startswith("{") else parse(text)
    except (tvm.TVMError, tvm.error.DiagnosticError):  # the parser has told where and why
        sys.exit(
            f"{path} cannot be read as a Relay module. Relay's text form has no names with dots: "
            "save the module with tvm.ir.save_json instead."
        )
    return module if isinstance(module, tvm.IRModule) else tvm.IRModule.from_expr(module)


def prepared(module: Any) -> Any:
    """The module with inferred types and channels in front."""
    passes = [
        relay.transform.InferType(),
        relay.transform.ConvertLayout(LAYOUTS),
        relay.transform.InferType(),
    ]
    with tvm.transform.PassContext(opt_level=3):
        return tvm.transform.Sequential(passes)(module)


def require_supported(module: Any, rows: Any) -> None:
    """Name the operators that cannot be written, all at once."""
    unknown = set()

    def visit(expr: Any) -> None:
        if isinstance(expr, relay.Call):
            name = getattr(expr.op, "name", "a call of a function")
            if name not in rows:
                unknown.add(name)

    relay.analysis.post_order_visit(module["main"], visit)
    if unknown:
        sys.exit(f"These Relay operators cannot be written as ONNX: {', '.join(sorted(unknown))}.")


def to_onnx(module: Any, parameters: dict[str, Any], name: str) -> onnx.ModelProto:
    """A Relay module as ONNX, checked."""
    exporter.relay_to_onnx_op_mapping.update(ROWS)
    module = prepared(module)
    require_supported(module, exporter.relay_to_onnx_op_mapping)
    model = exporter.to_onnx(module, dict(parameters), name)
    onnx.checker.check_model(model)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("module", type=Path, help="Relay module as JSON or text")
    parser.add_argument("output", type=Path, help="the .onnx file to write")
    parser.add_argument("--params", type=Path, help="what relay.save_param_dict returned")
    parser.add_argument("--name", help="name of the graph (default: that of the output file)")
    options = parser.parse_args()
    for path in filter(None, (options.module, options.params)):
        if not path.is_file():
            sys.exit(f"There is no file {path}.")
    content = options.params.read_bytes() if options.params else None
    parameters = relay.load_param_dict(content) if content else {}
    model = to_onnx(read_module(options.module), parameters, options.name or options.output.stem)
    onnx.save(model, str(options.output))
    print(f"Wrote {options.output} with {len(model.graph.node)} nodes.")


if __name__ == "__main__":
    main()
