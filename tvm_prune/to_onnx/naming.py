"""Names of the tensors in the ONNX graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tvm import relax

from tvm_prune.to_onnx.graph import Names

Place: TypeAlias = "tuple[Any, int | None]"
"""A variable that a call computes, and the field of it where it is a tuple."""


@dataclass(frozen=True)
class ResultName:
    """Name of what a variable holds.

    Attributes:
        name: the tensor, or what the names of a tuple's other tensors start with.
        fields: the tensors of a tuple.
    """

    name: str
    fields: tuple[str, ...] | None = None


def result_names(function: Any, outputs: Sequence[str], names: Names) -> Mapping[Any, ResultName]:
    """Name every variable of a function: as an output where it is one, else as in Relax.

    Args:
        function: a Relax function.
        outputs: names of its results, in order.
        names: names in use; the outputs' are among them.
    """
    places: dict[Any, Place] = {}
    wanted: dict[Place, str] = {}
    hints: dict[Place, str] = {}
    for variable, value in bindings_of(function):
        place = _place(value, places) or (variable, None)
        places[variable] = place
        hints.setdefault(place, variable.name)
    for name, expr in zip(outputs, results_of(function), strict=True):
        source = _place(expr, places)
        if source is not None:
            wanted.setdefault(source, name)
    return {
        variable: _result_name(variable, wanted, hints, names)
        for variable, place in places.items()
        if place == (variable, None)
    }


def _place(expr: Any, places: Mapping[Any, Place]) -> Place | None:
    """Where an expression that computes nothing takes its value from."""
    if isinstance(expr, relax.Var):
        found: Place = places.get(expr, (expr, None))
        return found
    if isinstance(expr, relax.TupleGetItem):
        source = _place(expr.tuple_value, places)
        if source is not None and source[1] is None:
            return source[0], int(expr.index)
    return None


def _result_name(
    variable: Any, wanted: Mapping[Place, str], hints: Mapping[Place, str], names: Names
) -> ResultName:
    if not isinstance(variable.ty, relax.TupleType):
        return ResultName(wanted.get((variable, None)) or names.unique(variable.name))
    name = names.unique(variable.name)
    places = [(variable, index) for index in range(len(variable.ty.fields))]
    fields = [
        wanted.get(place) or names.unique(hints.get(place, f"{name}.{place[1]}"))
        for place in places
    ]
    return ResultName(name, tuple(fields))


def bindings_of(function: Any) -> Iterator[tuple[Any, Any]]:
    """Variables and their values, in program order."""
    for block in function.body.blocks:
        for binding in block.bindings:
            yield binding.var, getattr(binding, "value", None)


def results_of(function: Any) -> list[Any]:
    """Expressions of the function's results."""
    body = function.body.body
    if isinstance(body, relax.Tuple):
        return list(body.fields)
    if isinstance(body.ty, relax.TupleType):
        return [relax.TupleGetItem(body, index) for index in range(len(body.ty.fields))]
    return [body]
