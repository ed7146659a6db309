"""The ONNX graph while it is being written: nodes, names and constants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tvm_prune.errors import ExportError
from tvm_prune.model import Array

BASE_OPSET = 18
"""The first opset in which every reduction takes its axes as an input, and with bitwise ops."""

DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64"),
)

INTRODUCED: Mapping[str, int] = {
    "Gelu": 20,
    "GroupNormalization": 21,  # opset 18 scales groups instead of channels
    "RMSNormalization": 23,
}
"""Ops that newer opsets brought; a model asks for the oldest opset that has all of its own."""


@dataclass(frozen=True)
class Node:
    """One ONNX node."""

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]
    opset: int

    def renamed(self, names: Mapping[str, str]) -> Node:
        """The same node with other tensor names."""
        return replace(
            self,
            inputs=tuple(names.get(name, name) for name in self.inputs),
            outputs=tuple(names.get(name, name) for name in self.outputs),
        )

    def proto(self) -> onnx.NodeProto:
        """The node as protobuf, named after its first output."""
        return helper.make_node(
            self.op_type, self.inputs, self.outputs, name=self.outputs[0], **self.attrs
        )


class Names:
    """Tensor names in use."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.taken = set(taken)

    def unique(self, wanted: str) -> str:
        """A name that nothing has yet, and that is taken from now on."""
        name, number = wanted, 1
        while name in self.taken:
            number += 1
            name = f"{wanted}_{number}"
        self.taken.add(name)
        return name


class Graph:
    """Nodes in program order."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.nodes: list[Node] = []

    def node(
        self,
        op_type: str,
        inputs: Iterable[str],
        outputs: Sequence[str],
        attrs: Mapping[str, Any],
        opset: int = BASE_OPSET,
    ) -> None:
        """Append a node; attributes that are None are left out."""
        given = {name: value for name, value in attrs.items() if value is not None}
        opset = max(opset, INTRODUCED.get(op_type, BASE_OPSET))
        self.nodes.append(Node(op_type, tuple(inputs), tuple(outputs), given, opset))

    def constant(self, wanted: str, value: Array) -> str:
        """Append a Constant node; initializers are for the model's parameters alone."""
        name = self.names.unique(wanted)
        self.node("Constant", (), (name,), {"value": tensor(name, value)})
        return name

    def rename(self, start: int, names: Mapping[str, str]) -> None:
        """Give the results of the nodes from `start` on their final names."""
        self.nodes[start:] = [node.renamed(names) for node in self.nodes[start:]]

    def opset(self) -> int:
        """The oldest opset that has every node."""
        return max((node.opset for node in self.nodes), default=BASE_OPSET)


def tensor(name: str, value: Array) -> onnx.TensorProto:
    """A named ONNX tensor of an array."""
    element_type(str(value.dtype), f"tensor '{name}'")
    return numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)


def element_type(dtype: str, where: str) -> int:
    """ONNX element type of a Relax dtype.

    Raises:
        ExportError: if the base opset has none.
    """
    if dtype not in DTYPES:
        raise ExportError(
            f"The {where} has the type {dtype}, which ONNX's opset {BASE_OPSET} does not have; "
            f"cast it in the model to one of {', '.join(DTYPES)}."
        )
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def tensor_info(name: str, shape: Sequence[int], dtype: str) -> onnx.ValueInfoProto:
    """Name, shape and type of a tensor as ONNX states them."""
    return helper.make_tensor_value_info(name, element_type(dtype, f"tensor '{name}'"), shape)
