"""What every converter of an ATen op needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Converter = Callable[[Any, Any], Any]
"""Takes an FX node and TVM's importer, and emits the node's value."""


def arguments_of(node: Any, importer: Any, names: str) -> list[Any]:
    """Positional and keyword arguments of a node in the order of `names`; absent ones are None."""
    given = dict(zip(names.split(), node.args, strict=False)) | dict(node.kwargs)
    values = {name: importer._retrieve_args(value) for name, value in given.items()}
    return [values.get(name) for name in names.split()]


def shape_of(expr: Any) -> list[int]:
    """Static shape of a tensor."""
    return [int(extent) for extent in expr.ty.shape.values]
