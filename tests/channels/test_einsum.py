"""Subscripts of einsum, spelled out and read back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from support.networks import Layers, build
from tvm import relax, topi

from tvm_prune.channels import find_channels
from tvm_prune.channels.ops.contraction import terms
from tvm_prune.transform.canonicalize import Canonicalize
from tvm_prune.transform.emitted_einsum import raised_einsum

CASES: dict[str, list[tuple[int, ...]]] = {
    "bhid,bhjd->bhij": [(2, 3, 4, 5), (2, 3, 6, 5)],
    "bi, oij, bj -> bo": [(2, 3), (5, 3, 4), (2, 4)],
    "ij,jk": [(3, 4), (4, 2)],
    "ba": [(3, 4)],
    "ii->i": [(3, 3)],
    "ii": [(3, 3)],
    "ij->": [(3, 4)],
    "ij->ji": [(3, 4)],
    "...ij,...j->...i": [(2, 3, 4), (2, 4)],
    "...c,co": [(2, 3, 4), (4, 5)],
    "a...,...b->a...b": [(2, 3), (5, 3, 4)],
    "bi,bi->b": [(2, 3), (1, 3)],
    "A...,A...->...": [(2, 3), (2, 3)],
}

each_case = pytest.mark.parametrize(("subscripts", "shapes"), CASES.items(), ids=CASES)


def operands(shapes: list[tuple[int, ...]]) -> list[Any]:
    generator = np.random.default_rng(0)
    return [generator.standard_normal(shape) for shape in shapes]


@each_case
def test_terms_mean_what_the_subscripts_do(subscripts: str, shapes: list[tuple[int, ...]]) -> None:
    letters, result = terms(subscripts, [len(shape) for shape in shapes])
    assert [len(term) for term in letters] == [len(shape) for shape in shapes]
    values = operands(shapes)
    spelled = np.einsum(f"{','.join(letters)}->{result}", *values)
    np.testing.assert_allclose(spelled, np.einsum(subscripts, *values))


@each_case
def test_an_emitted_einsum_is_read_back(subscripts: str, shapes: list[tuple[int, ...]]) -> None:
    builder = relax.BlockBuilder()
    tensors = [relax.Var(f"x{n}", relax.TensorType(shape)) for n, shape in enumerate(shapes)]
    with builder.function("main", tensors):
        emitted = builder.emit_te(topi.einsum, subscripts.replace(" ", ""), *tensors)
        builder.emit_func_output(emitted)
    raised = raised_einsum(builder.get()["einsum"], tensors)
    values = operands(shapes)
    actual = np.einsum(str(raised.attrs.subscripts), *values)
    np.testing.assert_allclose(actual, np.einsum(subscripts, *values))


def test_one_tensor_may_be_several_operands() -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((3, 3)))
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit_te(topi.einsum, "ij,jk->ik", x, x))
    assert str(raised_einsum(builder.get()["einsum"], [x, x]).attrs.subscripts) == "ab,bc->ac"


def test_another_function_of_that_name_is_left_alone() -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((3, 4)))
    with builder.function("main", [x]):
        emitted = builder.emit_te(topi.exp, x, primfunc_name_hint="einsum")
        builder.emit_func_output(emitted)
    assert raised_einsum(builder.get()["einsum"], [x]) is None


def test_an_imported_einsum_is_no_barrier() -> None:
    def body(net: Layers, x: Any) -> Any:
        return net.builder.emit_te(topi.einsum, "btc,oc->bo", x, net.parameter((5, 4)))

    module = tvm.transform.Sequential([Canonicalize()])(build(body, (2, 3, 4)))
    assert not find_channels(module).labelling.barriers
