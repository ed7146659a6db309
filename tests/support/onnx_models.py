"""Small ONNX models, written in ONNX's text form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, parser

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
"""Well-known architectures with generated weights, part of the onnx package."""

Array = NDArray[Any]


def light(name: str) -> Path:
    return LIGHT / f"light_{name}.onnx"


def weight(*shape: int, seed: int = 0) -> Array:
    scale = (2 / max(1, int(np.prod(shape[1:])))) ** 0.5
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype("float32")


def onnx_model(
    body: str,
    weights: Mapping[str, Array] | None = None,
    *,
    inputs: str = "float[1,3,8,8] x",
    outputs: str = "y",
    opset: int = 17,
    check: bool = True,
) -> onnx.ModelProto:
    """A model from lines like ``y = Relu(x)``, with the given initializers.

    The text form has no dots in names: write ``conv__weight`` for ``conv.weight``.
    """
    results = ", ".join(f"float {name}" for name in outputs.split(","))
    proto = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}]> net ({inputs}) => ({results}) {{ {body} }}'
    )
    for node in proto.graph.node:
        node.input[:] = [name.replace("__", ".") for name in node.input]
    for name, value in (weights or {}).items():
        proto.graph.initializer.append(numpy_helper.from_array(value, name))
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    if check:
        proto = onnx.shape_inference.infer_shapes(proto)
        onnx.checker.check_model(proto)
    for output in proto.graph.output:
        output.type.tensor_type.shape.SetInParent()
    return proto


def copy_of(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A model that can be changed without changing the other."""
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    return result


def constant_nodes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with every initializer as a Constant node."""
    result = copy_of(proto)
    tensors = list(result.graph.initializer)
    del result.graph.initializer[:]
    for tensor in tensors:
        node = onnx.helper.make_node("Constant", [], [tensor.name], value=tensor)
        result.graph.node.insert(0, node)
    return result
