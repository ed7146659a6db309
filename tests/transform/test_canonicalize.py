"""Constants are folded and emitted functions become the ops they stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm
from support.evaluate import evaluate
from support.networks import Layers, build, random_input, random_parameters
from tvm import IRModule, relax, topi

from tvm_prune.transform.canonicalize import Canonicalize
from tvm_prune.transform.fold_constants import EVALUATE, FoldConstants

op = relax.op


def constant(*shape: int, dtype: str = "float32") -> Any:
    values = np.random.default_rng(0).uniform(0.5, 2.0, shape)
    return relax.const(values.astype(dtype), dtype)


CONSTANT_EXPRESSIONS: dict[str, Callable[[], Any]] = {
    "relax.add": lambda: op.add(constant(3, 1, 1), constant(3, 1, 1)),
    "relax.subtract": lambda: op.subtract(constant(3, 1, 1), constant(6)),
    "relax.multiply": lambda: op.multiply(constant(3, 1, 1), constant()),
    "relax.divide": lambda: op.divide(constant(), constant(3, 1, 1)),
    "relax.maximum": lambda: op.maximum(constant(3, 1, 1), relax.const(1.0)),
    "relax.minimum": lambda: op.minimum(constant(3, 1, 1), relax.const(1.0)),
    "relax.negative": lambda: op.negative(constant(3, 1, 1)),
    "relax.sqrt": lambda: op.sqrt(constant(3, 1, 1)),
    "relax.rsqrt": lambda: op.rsqrt(constant(3, 1, 1)),
    "relax.isnan": lambda: op.astype(op.isnan(constant(3, 1, 1)), "float32"),
    "relax.where": lambda: op.where(op.isnan(constant(6)), constant(), constant(3, 1, 1)),
    "relax.astype": lambda: op.astype(op.astype(constant(6), "int32"), "float32"),
    "relax.reshape": lambda: op.reshape(constant(3, 6), (3, 1, 6)),
    "relax.squeeze": lambda: op.squeeze(constant(1, 3, 1, 1), [0]),
    "relax.broadcast_to": lambda: op.broadcast_to(constant(3, 1, 1), (3, 6, 6)),
    "relax.expand_dims": lambda: op.expand_dims(constant(3), [1, -1]),
    "relax.permute_dims": lambda: op.permute_dims(constant(6, 1, 3), None),
}


def plus_constant(expression: Callable[[], Any]) -> IRModule:
    return build(lambda net, x: net.emit(op.add(x, net.emit(expression()))))


def bindings(module: IRModule) -> list[Any]:
    return [binding.value for block in module["main"].body.blocks for binding in block.bindings]


def op_names(module: IRModule) -> list[str]:
    return [value.op.name for value in bindings(module) if isinstance(value, relax.Call)]


def test_every_foldable_op_has_an_expression() -> None:
    assert set(CONSTANT_EXPRESSIONS) == set(EVALUATE)


@pytest.mark.parametrize("name", CONSTANT_EXPRESSIONS)
def test_a_constant_expression_becomes_its_value(name: str) -> None:
    module = plus_constant(CONSTANT_EXPRESSIONS[name])
    folded = FoldConstants()(module)
    assert op_names(folded) == ["relax.add"]
    x = random_input(module)
    (expected,) = evaluate(module, x, {})
    (actual,) = evaluate(folded, x, {})
    assert np.abs(expected - x).max() > 1e-3 or name == "relax.isnan"
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_a_chain_of_constants_folds_at_once() -> None:
    def body(net: Layers, x: Any) -> Any:
        scale = net.emit(op.sqrt(op.add(constant(3), relax.const(1e-5))))
        return net.emit(op.divide(x, net.emit(op.reshape(scale, (1, 3, 1, 1)))))

    assert op_names(FoldConstants()(build(body))) == ["relax.divide"]


def test_what_depends_on_inputs_or_parameters_is_not_folded() -> None:
    def body(net: Layers, x: Any) -> Any:
        return net.emit(op.add(op.negative(x), op.negative(net.parameter((3, 1, 1)))))

    module = build(body)
    folded = FoldConstants()(module)
    assert sorted(op_names(folded)) == ["relax.add", "relax.negative", "relax.negative"]
    tvm.ir.assert_structural_equal(FoldConstants()(folded), folded)


def clip_in_emitted_functions(net: Layers, x: Any) -> Any:
    """Clip as TVM's ONNX importer writes it."""
    h = net.builder.emit_te(topi.maximum, net.conv(x, 4), 0.25)
    return net.head(net.builder.emit_te(topi.minimum, h, relax.const(0.5)))


def clip_in_ops(net: Layers, x: Any) -> Any:
    h = net.emit(op.maximum(net.conv(x, 4), relax.const(0.25)))
    return net.head(net.emit(op.minimum(h, relax.const(0.5))))


def test_emitted_functions_become_ops() -> None:
    canonical = Canonicalize()(build(clip_in_emitted_functions))
    expected = relax.transform.CanonicalizeBindings()(build(clip_in_ops))
    tvm.ir.assert_structural_equal(canonical, expected)


def test_raising_keeps_the_result() -> None:
    module = build(clip_in_emitted_functions)
    x, parameters = random_input(module), random_parameters(module)
    (expected,) = evaluate(module, x, parameters)
    (actual,) = evaluate(Canonicalize()(module), x, parameters)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_functions_that_are_not_known_stay() -> None:
    def body(net: Layers, x: Any) -> Any:
        return net.builder.emit_te(topi.nn.relu, x, primfunc_name_hint="my_kernel")

    assert op_names(Canonicalize()(build(body))) == ["relax.call_tir"]
