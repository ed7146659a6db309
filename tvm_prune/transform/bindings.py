"""What the variables of a function hold, and what reads them.

Functions are Relax functions without branches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import relax


def op_name(value: Any) -> str:
    """Name of the op that an expression calls; empty where it calls none."""
    return getattr(getattr(value, "op", None), "name", "")


def values_of(function: Any) -> dict[Any, Any]:
    """The value of every variable that a function binds, in program order."""
    return {
        binding.var: binding.value for block in function.body.blocks for binding in block.bindings
    }


def variables_in(expr: Any) -> list[Any]:
    """Variables that an expression reads, once for each time."""
    if isinstance(expr, relax.Var):
        return [expr]
    if isinstance(expr, relax.Tuple):
        return [variable for part in expr.fields for variable in variables_in(part)]
    if isinstance(expr, relax.TupleGetItem):
        return variables_in(expr.tuple_value)
    if isinstance(expr, relax.Call):
        return [variable for argument in expr.args for variable in variables_in(argument)]
    return []


def find_readers(function: Any) -> Mapping[Any, list[Any]]:
    """The variables whose values read each variable, once for each time.

    None stands for the function's result. There is no entry where there are none.
    """
    readers: dict[Any, list[Any]] = {}
    for variable, value in [*values_of(function).items(), (None, function.body.body)]:
        for read in variables_in(value):
            readers.setdefault(read, []).append(variable)
    return readers
