"""Walks a Relax function once and gives every channel position its label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import IRModule, relax
from tvm.ir import GenericConst
from tvm.tirx import IntImm

from tvm_prune.channels.labels import AxisLabels, LabelSpace, TensorLabels, frozen_axis
from tvm_prune.channels.ops import OPS
from tvm_prune.channels.ops.axes import users_of
from tvm_prune.channels.requests import matching_parameters
from tvm_prune.channels.rule import AttentionUnit, OpCall, ValueLabels
from tvm_prune.errors import ModelError


@dataclass(frozen=True)
class Barrier:
    """An op without a row in the table: it freezes what it touches."""

    op: str
    count: int


@dataclass(frozen=True)
class Labelling:
    """Labels of every value of a function.

    Attributes:
        space: the ties between the labels, and the reasons for what is frozen.
        values: labels of every variable of the function (and every constant in it).
        parameters: labels of each parameter of the function, by name, in order.
        barriers: ops that have no row, and how often each occurs.
        attention: what attention layers can lose.
    """

    space: LabelSpace
    values: Mapping[Any, ValueLabels]
    parameters: Mapping[str, TensorLabels]
    barriers: tuple[Barrier, ...]
    attention: AttentionUnit

    def axes(self) -> Iterator[AxisLabels]:
        """Every distinct array of axis labels in the function, in program order."""
        seen: dict[int, AxisLabels] = {}
        for labels in self.values.values():
            for axis in _flat(labels):
                seen.setdefault(id(axis), axis)
        yield from seen.values()


def _flat(labels: ValueLabels) -> Iterator[AxisLabels]:
    for part in labels or ():
        if isinstance(part, tuple):
            yield from _flat(part)
        elif part is not None:
            yield part


def input_count(function: Any) -> int:
    """Number of leading parameters of the function that are model inputs, not weights."""
    attrs = function.attrs
    if attrs is None or "num_input" not in attrs:
        return len(function.params)
    return int(attrs["num_input"])


def label(
    module: IRModule,
    function_name: str = "main",
    attention: AttentionUnit = "dims",
    keep: Sequence[str] = (),
) -> Labelling:
    """Give every channel position of a function a label and collect the ties.

    Args:
        module: a Relax module with static shapes; the function's attribute ``num_input`` tells how
            many of its leading parameters are inputs, the rest are weights.
        function_name: the function to label.
        attention: what attention layers can lose.
        keep: parameters or layers that lose nothing, by name or glob.

    Raises:
        PruneError: if a name in `keep` matches nothing.
    """
    function = module[function_name]
    walker = _Walker(attention, users_of(function))
    inputs = input_count(function)
    for index, parameter in enumerate(function.params):
        walker.bind_parameter(parameter, is_input=index < inputs)
    for block in function.body.blocks:
        for binding in block.bindings:
            walker.bind(binding)
    walker.freeze_outputs(function.body.body)
    walker.keep(function.params[inputs:], keep)
    return Labelling(
        space=walker.space,
        values=walker.values,
        parameters={
            parameter.name: walker.values[parameter] for parameter in function.params[inputs:]
        },
        barriers=tuple(Barrier(op, count) for op, count in walker.barriers.most_common()),
        attention=attention,
    )


class _Walker:
    def __init__(self, attention: AttentionUnit, users: Mapping[Any, Sequence[Any]]) -> None:
        self.attention = attention
        self.users = users
        self.space = LabelSpace()
        self.values: dict[Any, Any] = {}
        self.barriers: Counter[str] = Counter()

    def bind_parameter(self, parameter: Any, is_input: bool) -> None:
        self.values[parameter] = self._fresh(parameter.ty)
        if is_input:
            for axis in self.values[parameter]:
                self.space.freeze(axis, f"belongs to the input '{parameter.name}'")

    def bind(self, binding: Any) -> None:
        value, variable = binding.value, binding.var
        if isinstance(value, relax.Call):
            self.values[variable] = self._call(value, variable)
        else:
            self.values[variable] = self._expression(value)

    def freeze_outputs(self, output: Any) -> None:
        for axis in _flat(self._expression(output)):
            self.space.freeze(axis, "is a model output")

    def keep(self, parameters: Sequence[Any], patterns: Sequence[str]) -> None:
        kept = matching_parameters([parameter.name for parameter in parameters], patterns)
        for parameter in parameters:
            if parameter.name in kept:
                self.space.freeze_tensor(self.values[parameter], "is kept as asked")

    def _call(self, call: Any, variable: Any) -> ValueLabels:
        inputs = tuple(self._expression(argument) for argument in call.args)
        op = call.op.name if hasattr(call.op, "name") else type(call.op).__name__
        rule = OPS.get(op)
        if rule is None:
            return self._barrier(call, _callee(call, op), inputs)
        where = f"{op.removeprefix('relax.')} '{variable.name}'"
        return rule.labels(
            OpCall(call, inputs, self.space, where, variable, self.users, self.attention)
        )

    def _barrier(self, call: Any, op: str, inputs: tuple[ValueLabels, ...]) -> ValueLabels:
        self.barriers[op] += 1
        for axis in _flat(inputs):
            self.space.freeze(axis, f"meets the barrier {op}")
        result: ValueLabels = _frozen(call.ty, op)
        return result

    def _expression(self, expr: Any) -> ValueLabels:
        if isinstance(expr, relax.Var):
            labels: ValueLabels = self.values[expr]
            return labels
        if isinstance(expr, relax.Tuple):
            return tuple(self._expression(part) for part in expr.fields)
        if isinstance(expr, relax.TupleGetItem):
            fields: Any = self._expression(expr.tuple_value)
            return fields[expr.index]  # type: ignore[no-any-return]
        if isinstance(expr, GenericConst):
            if expr not in self.values:
                self.values[expr] = self._fresh(expr.ty)
            constant: ValueLabels = self.values[expr]
            return constant
        return None

    def _fresh(self, ty: Any) -> TensorLabels:
        return tuple(self.space.fresh_axis(int(extent)) for extent in ty.shape.values)


def _callee(call: Any, op: str) -> str:
    """Name of a barrier; a call_tir is known by the function it calls."""
    if op in ("relax.call_tir", "relax.call_dps_packed"):
        return f"{op.removeprefix('relax.')}({call.args[0].name_hint})"
    return op


def _frozen(ty: Any, op: str) -> Any:
    if isinstance(ty, relax.TupleType):
        return tuple(_frozen(part, op) for part in ty.fields)
    if not isinstance(ty, relax.TensorType):
        return None
    extents: list[Any] = list(ty.shape.values) if isinstance(ty.shape, relax.ShapeExpr) else [None]
    if not all(isinstance(extent, IntImm) for extent in extents):
        raise ModelError(
            f"The shape of what {op} computes depends on its data, but every shape must be known; "
            "cut that part off the model."
        )
    return tuple(frozen_axis(int(extent)) for extent in extents)
