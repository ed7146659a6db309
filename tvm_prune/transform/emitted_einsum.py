"""The einsum that importers emit as a function: its subscripts are read off the function's body."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import tvm_ffi
from tvm import relax, tirx
from tvm.ir.expr import TensorLoad


def raised_einsum(function: Any, operands: Sequence[Any]) -> Any | None:
    """The Relax op for an emitted einsum; every loop variable becomes a letter.

    Args:
        function: a PrimFunc whose last parameter is the result.
        operands: the tensors it is called with.

    Returns:
        The op, or None where the function is not a sum of products of one value of each operand.
    """
    stores: list[Any] = []
    tvm_ffi.structural_walk(function.body, (tirx.BufferStore, stores.append))
    result, product = stores[-1], stores[-1].value
    if isinstance(product, tirx.Add) and isinstance(product.a, TensorLoad):
        product = product.b
    factors = _factors(product)
    parameters = list(function.params)[:-1]
    if len(factors) != len(parameters) or not all(map(_reads, factors, parameters)):
        return None
    letters: dict[Any, str] = {}

    def term(indices: Sequence[Any]) -> str:
        """Letters of some axes; one of extent 1 that is stretched has a letter of its own."""
        keys = [index if isinstance(index, tirx.Var) else object() for index in indices]
        for key in keys:
            letters.setdefault(key, string.ascii_letters[len(letters)])
        return "".join(letters[key] for key in keys)

    subscripts = ",".join(term(factor.indices) for factor in factors)
    return relax.op.einsum(list(operands), f"{subscripts}->{term(result.indices)}")


def _factors(product: Any) -> list[Any]:
    if isinstance(product, tirx.Mul):
        return [*_factors(product.a), *_factors(product.b)]
    return [product]


def _reads(factor: Any, parameter: Any) -> bool:
    return isinstance(factor, TensorLoad) and factor.source.same_as(parameter)
