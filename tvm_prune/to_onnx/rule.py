"""The shape of one row of the converter table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from tvm import relax, tirx
from tvm.ir import GenericConst

from tvm_prune.errors import ExportError
from tvm_prune.model import Array
from tvm_prune.to_onnx.graph import BASE_OPSET, Graph, element_type

Value: TypeAlias = "str | tuple[Value, ...] | None"
"""Tensor name of a Relax expression, or of each of its fields; None where ONNX has no value."""


@dataclass(frozen=True)
class OpExport:
    """One call of the model while it is being written as ONNX nodes.

    Attributes:
        call: the Relax call.
        name: name of its result in the ONNX graph.
        graph: where nodes are added.
        values: the ONNX value of every Relax variable so far.
    """

    call: Any
    name: str
    graph: Graph
    values: Mapping[Any, Value]

    @property
    def attrs(self) -> Any:
        """Attributes of the Relax op."""
        return self.call.attrs

    @property
    def args(self) -> Sequence[Any]:
        """Arguments of the Relax op."""
        arguments: Sequence[Any] = self.call.args
        return arguments

    @property
    def op(self) -> str:
        """The op's name without the prefix."""
        return str(getattr(self.call.op, "name", self.call.op)).removeprefix("relax.")

    def value(self, expr: Any) -> str:
        """Tensor name of an expression.

        Raises:
            ExportError: if it is no tensor, or a result that ONNX does not compute.
        """
        found = self.resolve(expr)
        if not isinstance(found, str):
            raise self.unsupported(f"its operand {expr}", "remove what computes it from the model")
        return found

    def resolve(self, expr: Any) -> Value:
        """Tensor name of an expression, or the names of a tuple's fields."""
        if isinstance(expr, relax.Var):
            return self.values.get(expr)
        if isinstance(expr, relax.Tuple):
            return tuple(self.resolve(part) for part in expr.fields)
        if isinstance(expr, relax.TupleGetItem):
            fields = self.resolve(expr.tuple_value)
            return fields[int(expr.index)] if isinstance(fields, tuple) else None
        if isinstance(expr, GenericConst):
            return self.constant(np.asarray(expr.value.numpy()))
        if isinstance(expr, tirx.IntImm | tirx.FloatImm):
            return self.constant(np.asarray(expr.value, dtype=str(expr.ty)))
        if isinstance(expr, relax.ShapeExpr):
            return self.ints([int(extent) for extent in expr.values], "shape")
        return None

    def input(self, index: int = 0) -> str:
        """Tensor name of one argument."""
        return self.value(self.args[index])

    def inputs(self) -> list[str]:
        """Tensor names of all arguments."""
        return [self.value(argument) for argument in self.args]

    def fields(self, index: int = 0) -> list[str]:
        """Tensor names of the fields of a tuple argument."""
        found = self.resolve(self.args[index])
        names = found if isinstance(found, tuple) else (None,)
        if not all(isinstance(name, str) for name in names):
            raise self.unsupported("one of its operands", "remove what computes it from the model")
        return [str(name) for name in names]

    def field_shapes(self, index: int = 0) -> list[tuple[int, ...]]:
        """Shapes of the fields of a tuple argument."""
        return [static_shape(ty) for ty in self.args[index].ty.fields]

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """Shape of one argument."""
        return shape_of(self.args[index])

    def dtype(self, index: int = 0) -> str:
        """Dtype of one argument."""
        return str(self.args[index].ty.dtype)

    @property
    def result_shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return shape_of(self.call)

    @property
    def result_dtype(self) -> str:
        """Dtype of the result."""
        return str(self.call.ty.dtype)

    def axis(self, index: int = 0) -> int:
        """The attribute `axis` counted from the front of one argument."""
        return int(self.attrs.axis) % len(self.shape(index))

    def emit(self, op_type: str, *inputs: str, since: int = BASE_OPSET, **attrs: Any) -> str:
        """Add a node with one result.

        Args:
            op_type: the ONNX op.
            inputs: tensor names.
            since: the first opset that has the op in this form.
            attrs: ONNX attributes; None leaves one out.

        Returns:
            Name of the result.
        """
        return self.emit_many(op_type, inputs, 1, since=since, **attrs)[0]

    def emit_many(
        self,
        op_type: str,
        inputs: Sequence[str],
        count: int,
        *,
        since: int = BASE_OPSET,
        **attrs: Any,
    ) -> tuple[str, ...]:
        """Add a node with several results."""
        wanted = f"{self.name}.{op_type}"
        outputs = tuple(self.graph.names.unique(wanted) for _ in range(count))
        self.graph.node(op_type, inputs, outputs, attrs, since)
        return outputs

    def constant(self, value: Array, role: str = "constant") -> str:
        """Add a constant tensor."""
        return self.graph.constant(f"{self.name}.{role}", value)

    def ints(self, values: Sequence[int], role: str) -> str:
        """Add a constant int64 vector: a shape, axes or bounds."""
        return self.constant(np.asarray(values, dtype=np.int64), role)

    def number(self, value: float, dtype: str | None = None) -> str:
        """Add a scalar of the given dtype, by default the first argument's."""
        return self.constant(np.asarray(value, dtype=np.dtype(dtype or self.dtype())))

    def cast(self, value: str, before: str, after: str) -> str:
        """Cast a tensor where its dtype is not the wanted one."""
        return value if before == after else self.emit("Cast", value, to=self.element_type(after))

    def element_type(self, dtype: str) -> int:
        """ONNX element type of a dtype."""
        return element_type(dtype, f"result of {self.op} '{self.name}'")

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Reshape a tensor to a static shape."""
        return self.emit("Reshape", value, self.ints(shape, "shape"))

    def transpose(self, value: str, order: Sequence[int]) -> str:
        """Permute axes, where they are not in order yet."""
        in_order = list(order) == list(range(len(order)))
        return value if in_order else self.emit("Transpose", value, perm=list(order))

    def unsupported(self, what: str, way_out: str) -> ExportError:
        """The error for what ONNX cannot express."""
        return ExportError(
            f"{self.op} '{self.name}' cannot be written as ONNX because of {what}; {way_out}."
        )


def shape_of(expr: Any) -> tuple[int, ...]:
    """Static shape of a tensor expression."""
    return static_shape(expr.ty)


def static_shape(ty: Any) -> tuple[int, ...]:
    """Static shape of a tensor type.

    Raises:
        ExportError: if it is not static.
    """
    extents: list[Any] = list(ty.shape.values) if isinstance(ty.shape, relax.ShapeExpr) else [None]
    if not all(isinstance(extent, tirx.IntImm) for extent in extents):
        raise ExportError(
            f"A tensor has the shape {ty.shape or '?'}, which is not static; fix the shapes of the "
            "inputs, for example with --shape input:1,3,224,224."
        )
    return tuple(int(extent) for extent in extents)


Converter = Callable[[OpExport], Value]
"""Adds the nodes of one call and returns the name of its result."""

ConverterTable = Mapping[str, Converter]
