"""A lowered model as a straight list of kernel calls on buffers: all that firmware needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax
from tvm.ir import GenericConst
from tvm.tirx import PrimFunc

from tvm_prune.errors import ExportError


@dataclass(frozen=True, eq=False)
class Buffer:
    """Memory that is written while the model runs.

    Attributes:
        name: for people.
        bytes: size.
    """

    name: str
    bytes: int


@dataclass(frozen=True, eq=False)
class Constant:
    """Memory that is only read: weights."""

    name: str
    value: NDArray[Any]

    @property
    def bytes(self) -> int:
        """Size."""
        return self.value.nbytes


Argument: TypeAlias = Buffer | Constant


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a kernel.

    Attributes:
        kernel: its name.
        inputs: what it reads.
        outputs: what it writes.
    """

    kernel: str
    inputs: tuple[Argument, ...]
    outputs: tuple[Buffer, ...]


@dataclass(frozen=True, eq=False)
class Program:
    """A model without control flow.

    Attributes:
        inputs: buffers of the model's inputs, in order.
        calls: what is done with them, in order.
        outputs: what holds the model's outputs afterwards, in order; an output that needs no
            computing is an input or a constant.
        kernels: the PrimFuncs that are called, unscheduled, by name.
    """

    inputs: tuple[Buffer, ...]
    calls: tuple[Call, ...]
    outputs: tuple[Argument, ...]
    kernels: Mapping[str, PrimFunc]


def read_program(lowered: tvm.IRModule) -> Program:
    """Read a lowered module as a program.

    Reshapes cost nothing: their result is the same buffer.

    Args:
        lowered: result of :func:`tvm_prune.tuning.lower`, unscheduled.

    Raises:
        ExportError: if it holds something that is no kernel call.
    """
    module = relax.transform.RewriteDataflowReshape()(lowered)
    reader = _Reader(module)
    main = module["main"]
    inputs = tuple(reader.define(parameter, parameter.name) for parameter in main.params)
    for block in main.body.blocks:
        for binding in block.bindings:
            reader.bind(binding.var, binding.value)
    outputs = tuple(_flat(reader.value(main.body.body)))
    calls = _needed(reader.calls, outputs)
    names = dict.fromkeys(call.kernel for call in calls)
    return Program(inputs, calls, outputs, {name: module[name] for name in names})


_Value: TypeAlias = "Argument | tuple[_Value, ...]"


class _Reader:
    """Follows the bindings of a function."""

    def __init__(self, module: tvm.IRModule) -> None:
        self.calls: list[Call] = []
        self._module = module
        self._values: dict[Any, Any] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Constant] = {}
        self._ops: Mapping[str, Callable[[Any, Any], _Value]] = {
            "relax.call_tir": self._call_kernel,
            "relax.reshape": lambda _variable, value: self.value(value.args[0]),
            "relax.memory.ensure_zero_offset": lambda _variable, value: self.value(value.args[0]),
        }

    def define(self, variable: Any, name: str) -> Buffer:
        """A new buffer for a variable."""
        buffer = _buffer(name, variable.ty)
        self._values[variable] = buffer
        return buffer

    def bind(self, variable: Any, value: Any) -> None:
        """Follow one binding."""
        if isinstance(value, relax.Call):
            name = str(getattr(value.op, "name", value.op))
            if name not in self._ops:
                raise ExportError(
                    f"The model calls '{name}', which has no kernel of fixed shape; firmware "
                    "runs kernels only. Fix all input shapes (--shape), or take the op out."
                )
            self._values[variable] = self._ops[name](variable, value)
        else:
            self._values[variable] = self.value(value)

    def value(self, expression: Any) -> _Value:
        """What an expression stands for."""
        if isinstance(expression, GenericConst):
            return self._constant(expression.value.numpy())
        if isinstance(expression, relax.Tuple):
            return tuple(self.value(field) for field in expression.fields)
        if isinstance(expression, relax.TupleGetItem):
            fields = self.value(expression.tuple_value)
            assert isinstance(fields, tuple)
            return fields[int(expression.index)]
        if expression in self._values:
            return self._values[expression]  # type: ignore[no-any-return]
        raise ExportError(
            f"The model holds an expression of kind {type(expression).__name__}, but firmware runs "
            "straight lists of kernels: fix all input shapes (--shape), and leave no control flow."
        )

    def _call_kernel(self, variable: Any, call: Any) -> _Value:
        name = call.args[0].name_hint
        inputs = tuple(_flat(self.value(call.args[1])))
        tensors = call.ty_args[0]
        fields = tensors.fields if isinstance(tensors, relax.TupleType) else [tensors]
        outputs = tuple(
            _buffer(variable.name if len(fields) == 1 else f"{variable.name}_{index}", field)
            for index, field in enumerate(fields)
        )
        self.calls.append(Call(name, inputs, outputs))
        return outputs if isinstance(tensors, relax.TupleType) else outputs[0]

    def _constant(self, value: NDArray[Any]) -> Constant:
        key = str(value.dtype), value.shape, value.tobytes()
        if key not in self._constants:
            self._constants[key] = Constant(f"constant{len(self._constants)}", value)
        return self._constants[key]


def _needed(calls: Sequence[Call], outputs: Sequence[Argument]) -> tuple[Call, ...]:
    """The calls that the outputs depend on."""
    wanted, kept = set(outputs), []
    for call in reversed(calls):
        if wanted.intersection(call.outputs):
            wanted.update(call.inputs)
            kept.append(call)
    return tuple(reversed(kept))


def _flat(value: _Value) -> Iterator[Argument]:
    if isinstance(value, tuple):
        for field in value:
            yield from _flat(field)
    else:
        yield value


def _buffer(name: str, ty: Any) -> Buffer:
    try:
        shape = [int(extent) for extent in ty.shape.values]
    except (TypeError, AttributeError, ValueError) as error:
        raise ExportError(
            f"The tensor '{name}' has no fixed shape ({ty}), which firmware needs; "
            "fix all input shapes (--shape)."
        ) from error
    return Buffer(name, math.prod(shape) * np.dtype(str(ty.dtype)).itemsize)
