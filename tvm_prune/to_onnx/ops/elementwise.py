"""Ops that work on every position by itself."""

from __future__ import annotations

import math

import numpy as np

from tvm_prune.to_onnx.rule import Converter, ConverterTable, OpExport

SAME: dict[str, str] = {
    "abs": "Abs",
    "acos": "Acos",
    "acosh": "Acosh",
    "add": "Add",
    "asin": "Asin",
    "asinh": "Asinh",
    "atan": "Atan",
    "atanh": "Atanh",
    "ceil": "Ceil",
    "cos": "Cos",
    "cosh": "Cosh",
    "divide": "Div",
    "equal": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "isinf": "IsInf",
    "isnan": "IsNaN",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "log": "Log",
    "maximum": "Max",
    "minimum": "Min",
    "multiply": "Mul",
    "negative": "Neg",
    "power": "Pow",
    "round": "Round",
    "sigmoid": "Sigmoid",
    "sign": "Sign",
    "sin": "Sin",
    "sinh": "Sinh",
    "sqrt": "Sqrt",
    "subtract": "Sub",
    "tan": "Tan",
    "tanh": "Tanh",
}
"""Relax ops that ONNX has under another name."""

LOGICAL: dict[str, str] = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}
BITWISE: dict[str, str] = {"bitwise_and": "And", "bitwise_or": "Or", "bitwise_xor": "Xor"}


def same(op_type: str) -> Converter:
    """The ONNX op on the same operands."""
    return lambda export: export.emit(op_type, *export.inputs())


def is_floating(dtype: str) -> bool:
    """Whether a dtype has fractions."""
    return "float" in dtype


def not_equal(export: OpExport) -> str:
    """Not Equal."""
    return export.emit("Not", export.emit("Equal", *export.inputs()))


def truth(export: OpExport, index: int) -> str:
    """An operand as booleans."""
    return export.cast(export.input(index), export.dtype(index), "bool")


def logical(op_type: str) -> Converter:
    """A boolean op on operands that need not be boolean."""
    return lambda export: export.emit(op_type, truth(export, 0), truth(export, 1))


def logical_not(export: OpExport) -> str:
    """Not."""
    return export.emit("Not", truth(export, 0))


def bitwise(op_type: str) -> Converter:
    """The bitwise op, which ONNX names differently for booleans."""
    return lambda export: export.emit(
        op_type if export.dtype() == "bool" else f"Bitwise{op_type}", *export.inputs()
    )


def left_shift(export: OpExport) -> str:
    """Multiplication by a power of two; ONNX shifts unsigned integers only."""
    value, count = export.inputs()
    return export.emit("Mul", value, export.emit("Pow", export.number(2), count))


def right_shift(export: OpExport) -> str:
    """Floor division by a power of two."""
    value, count = export.inputs()
    return _floor_quotient(export, value, export.emit("Pow", export.number(2), count))


def floor_divide(export: OpExport) -> str:
    """The quotient rounded down."""
    left, right = export.inputs()
    if is_floating(export.dtype()):
        return export.emit("Floor", export.emit("Div", left, right))
    return _floor_quotient(export, left, right)


def _floor_quotient(export: OpExport, left: str, right: str) -> str:
    """Floor division of integers: without its remainder, the left operand divides exactly."""
    remainder = export.emit("Mod", left, right)
    return export.emit("Div", export.emit("Sub", left, remainder), right)


def truncated_mod(export: OpExport) -> str:
    """The remainder with the sign of the dividend."""
    return export.emit("Mod", *export.inputs(), fmod=1)


def floor_mod(export: OpExport) -> str:
    """The remainder with the sign of the divisor."""
    left, right = export.inputs()
    if not is_floating(export.dtype()):
        return export.emit("Mod", left, right)
    quotient = export.emit("Floor", export.emit("Div", left, right))
    return export.emit("Sub", left, export.emit("Mul", quotient, right))


def rsqrt(export: OpExport) -> str:
    """One over the square root."""
    return export.emit("Reciprocal", export.emit("Sqrt", export.input()))


def square(export: OpExport) -> str:
    """The value times itself."""
    return export.emit("Mul", export.input(), export.input())


def trunc(export: OpExport) -> str:
    """The magnitude rounded down, with the sign put back."""
    value = export.input()
    magnitude = export.emit("Floor", export.emit("Abs", value))
    return export.emit("Mul", export.emit("Sign", value), magnitude)


def isfinite(export: OpExport) -> str:
    """Neither infinite nor a NaN."""
    value = export.input()
    bad = export.emit("Or", export.emit("IsInf", value), export.emit("IsNaN", value))
    return export.emit("Not", bad)


def atan2(export: OpExport) -> str:
    """The arc tangent of the quotient, mirrored on the left half plane."""
    y, x = export.inputs()
    zero = export.number(0.0)
    slope = export.emit("Div", y, export.emit("Abs", x))
    angle = export.emit("Atan", export.emit("Where", export.emit("Equal", y, zero), y, slope))
    is_below = export.emit("Less", y, zero)
    half_turn = export.emit("Where", is_below, export.number(-math.pi), export.number(math.pi))
    mirrored = export.emit("Sub", half_turn, angle)
    return export.emit("Where", export.emit("Less", x, zero), mirrored, angle)


def log_add_exp(export: OpExport) -> str:
    """log(exp(a) + exp(b)), from the larger operand on."""
    left, right = export.inputs()
    distance = export.emit("Abs", export.emit("Sub", left, right))
    correction = export.emit("Softplus", export.emit("Neg", distance))
    return export.emit("Add", export.emit("Max", left, right), correction)


def fused_multiply_add(export: OpExport) -> str:
    """A product plus an addend."""
    left, right, addend = export.inputs()
    return export.emit("Add", export.emit("Mul", left, right), addend)


def clip(export: OpExport) -> str:
    """Clip with scalar bounds of the operand's dtype."""
    bounds = []
    for index in (1, 2):
        bound = export.args[index]
        if not hasattr(bound, "value"):
            raise export.unsupported(
                f"the bound {bound}", "clip by numbers, or by minimum and maximum"
            )
        number = bound.value.numpy() if hasattr(bound.value, "numpy") else bound.value
        value = _within(export.dtype(), float(number))
        bounds.append(export.constant(value, ("min", "max")[index - 1]))
    return export.emit("Clip", export.input(), *bounds)


def _within(dtype: str, bound: float) -> np.ndarray[tuple[()], np.dtype[np.generic]]:
    """A bound as the dtype can hold it: clips of integers may come with infinite bounds."""
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        return np.asarray(int(min(max(bound, limits.min), limits.max)), dtype=kind)
    return np.asarray(bound, dtype=kind)


def where(export: OpExport) -> str:
    """Where with a boolean condition."""
    return export.emit("Where", truth(export, 0), export.input(1), export.input(2))


def astype(export: OpExport) -> str:
    """Cast, also to the same dtype, so that the result keeps its name."""
    return export.emit("Cast", export.input(), to=export.element_type(export.result_dtype))


def dropout(export: OpExport) -> tuple[str, str | None]:
    """The operand itself; a trained model has no mask."""
    return export.input(), None


ELEMENTWISE: ConverterTable = {
    **{f"relax.{name}": same(op_type) for name, op_type in SAME.items()},
    **{f"relax.{name}": logical(op_type) for name, op_type in LOGICAL.items()},
    **{f"relax.{name}": bitwise(op_type) for name, op_type in BITWISE.items()},
    "relax.astype": astype,
    "relax.atan2": atan2,
    "relax.bitwise_not": lambda export: export.emit(
        "Not" if export.dtype() == "bool" else "BitwiseNot", export.input()
    ),
    "relax.clip": clip,
    "relax.ewise_fma": fused_multiply_add,
    "relax.floor_divide": floor_divide,
    "relax.floor_mod": floor_mod,
    "relax.isfinite": isfinite,
    "relax.left_shift": left_shift,
    "relax.log_add_exp": log_add_exp,
    "relax.logical_not": logical_not,
    "relax.mod": truncated_mod,
    "relax.nn.dropout": dropout,
    "relax.not_equal": not_equal,
    "relax.right_shift": right_shift,
    "relax.rsqrt": rsqrt,
    "relax.square": square,
    "relax.trunc": trunc,
    "relax.where": where,
}
