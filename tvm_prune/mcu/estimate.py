"""About how many instructions a kernel spends on its padding, told from its loops alone.

A copied element is loaded, stored and counted. Padding that is folded in asks for each element, as
often as it is loaded, whether it is inside the image on each side where it might not be. What the
two cost was read off the convolutions of the MLPerf Tiny networks under QEMU; it is there to rank
places for the padding, not to tell a kernel's cost.
"""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm.ir import Expr
from tvm.tirx import BufferStore, For, IfThenElse, PrimFunc

_COPY = 3.0
"""Instructions of copying an element."""

_COMPARISON = 2.0
"""Instructions of a comparison for an element that is loaded."""


def padding_instructions(function: PrimFunc) -> float:
    """Instructions that one call spends on padding, about.

    Args:
        function: lowered by :func:`tvm_prune.mcu.unpack.unpacked`.
    """
    return _statement(function.body, set())


def _statement(node: Any, known: set[int]) -> float:
    """Instructions of a statement.

    Args:
        node: the statement.
        known: conditional loads before it in the same turn of the same loop; no compiler makes
            them twice.
    """
    if isinstance(node, For):
        return int(node.extent) * _statement(node.body, set())
    if isinstance(node, IfThenElse):
        cases = [node.then_case, node.else_case]
        return max(_statement(case, set()) for case in cases if case is not None)
    if (statements := getattr(node, "seq", None)) is not None:
        return sum(_statement(each, known) for each in statements)
    if (body := getattr(node, "body", None)) is not None:
        return _statement(body, known)
    if isinstance(node, BufferStore) and _is_choice(node.value):
        return _COPY
    return _choices(node, known)


def _is_choice(expression: Any) -> bool:
    return type(expression).__name__ == "Call" and "if_then_else" in str(expression.op)


def _choices(statement: Any, known: set[int]) -> float:
    """Instructions of the conditional loads in a statement that holds no others."""
    found = 0.0

    def count(each: Any) -> None:
        nonlocal found
        if _is_choice(each) and (key := tvm_ffi.structural_hash(each)) not in known:
            known.add(key)
            found += _COMPARISON * _comparisons(each.args[0])

    tvm_ffi.structural_walk(statement, (Expr, count))
    return found


def _comparisons(condition: Any) -> int:
    """Parts of a conjunction; common ones may have become variables."""
    names: list[str] = []
    tvm_ffi.structural_walk(condition, (Expr, lambda each: names.append(type(each).__name__)))
    return 1 + names.count("And")
