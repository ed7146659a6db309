"""Constants are folded and emitted functions become the ops they stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm
from support.evaluate import compiled, evaluate
from support.networks import Layers, build, random_input, random_parameters
from tvm import IRModule, relax, topi

from tvm_prune.transform.canonicalize import Canonicalize
from tvm_prune.transform.fold_constants import EVALUATE, FoldConstants

op = relax.op


def constant(*shape: int, dtype: str = "float32") -> Any:
    values = np.random.default_rng(0).uniform(0.5, 2.0, shape)
    return relax.const(values.astype(dtype), dtype)


def number(expr: Any) -> Any:
    return op.astype(expr, "float32")


def compared(by: Callable[[Any, Any], Any]) -> Callable[[], Any]:
    def expression() -> Any:
        whole = op.astype(op.multiply(constant(3, 1, 6), relax.const(2.0)), "int32")
        return number(by(whole, relax.const(2, "int32")))

    return expression


def indices(*values: int) -> Any:
    return relax.const(list(values), "int64")


BINARY = {
    **dict.fromkeys(["relax.add", "relax.subtract", "relax.multiply", "relax.divide"]),
    **dict.fromkeys(["relax.maximum", "relax.minimum", "relax.power", "relax.mod"]),
    **dict.fromkeys(["relax.floor_divide", "relax.floor_mod"]),
}
COMPARISONS = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]
UNARY = ["negative", "abs", "floor", "ceil", "exp", "log", "sin", "cos", "sqrt", "rsqrt"]
REDUCTIONS = ["sum", "prod", "max", "min"]


def named(name: str) -> Any:
    return getattr(op, name.removeprefix("relax."))


def flags() -> tuple[Any, Any]:
    return op.less(constant(6), relax.const(1.2)), op.less(constant(6), relax.const(1.0))


CONSTANT_EXPRESSIONS: dict[str, Callable[[], Any]] = {
    **{name: lambda name=name: named(name)(constant(3, 1, 6), constant(6)) for name in BINARY},
    **{f"relax.{name}": compared(named(name)) for name in COMPARISONS},
    **{f"relax.{name}": lambda name=name: named(name)(constant(3, 1, 6)) for name in UNARY},
    **{
        f"relax.{name}": lambda name=name: named(name)(constant(2, 3, 6, 6), [0, 3], True)
        for name in REDUCTIONS
    },
    "relax.logical_and": lambda: number(op.logical_and(*flags())),
    "relax.logical_or": lambda: number(op.logical_or(*flags())),
    "relax.logical_not": lambda: number(op.logical_not(flags()[0])),
    "relax.isnan": lambda: number(op.isnan(constant(3, 1, 1))),
    "relax.where": lambda: op.where(op.isnan(constant(6)), constant(), constant(3, 1, 1)),
    "relax.astype": lambda: number(op.astype(constant(6), "int32")),
    "relax.reshape": lambda: op.reshape(constant(3, 6), (3, 1, 6)),
    "relax.squeeze": lambda: op.squeeze(constant(1, 3, 1, 1), [0]),
    "relax.broadcast_to": lambda: op.broadcast_to(constant(3, 1, 1), (3, 6, 6)),
    "relax.expand_dims": lambda: op.expand_dims(constant(3), [1, -1]),
    "relax.permute_dims": lambda: op.permute_dims(constant(6, 1, 3), None),
    "relax.concat": lambda: op.concat([constant(2, 1, 1), constant(1, 1, 1)], axis=0),
    "relax.stack": lambda: op.stack(
        [constant(6, 6), op.negative(constant(6, 6)), constant(6, 6)], 0
    ),
    "relax.flip": lambda: op.flip(constant(3, 1, 6), axis=2),
    "relax.take": lambda: op.take(constant(3, 4, 1), indices(3, 0, 0, 1, 2, 3), axis=1),
    "relax.strided_slice": lambda: op.strided_slice(constant(3, 13, 1), [1], [11], [-14], [-2]),
    "relax.scatter_elements": lambda: op.scatter_elements(
        constant(6), indices(4, -6), relax.const([5.0, 7.0], "float32")
    ),
    "relax.shape_to_tensor": lambda: number(op.shape_to_tensor(relax.ShapeExpr([3, 1, 6][:1]))),
    "relax.arange": lambda: op.arange(2, 14, 2, "float32"),
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
    runs = compiled({"before": module, "after": folded})
    (expected,), (actual,) = runs["before"](x, {}), runs["after"](x, {})
    assert np.abs(expected - x).max() > 1e-3 or name == "relax.isnan"
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


def test_a_chain_of_constants_folds_at_once() -> None:
    def body(net: Layers, x: Any) -> Any:
        scale = net.emit(op.sqrt(op.add(constant(3), relax.const(1e-5))))
        return net.emit(op.divide(x, net.emit(op.reshape(scale, (1, 3, 1, 1)))))

    assert op_names(FoldConstants()(build(body))) == ["relax.divide"]


def test_a_value_keeps_its_rank_and_its_dtype() -> None:
    expression = op.take(op.shape_to_tensor(relax.ShapeExpr([3, 6])), relax.const(1, "int64"), 0)
    folded = FoldConstants()(build(lambda net, x: net.emit(net.emit(expression))))
    (constant,) = bindings(folded)
    assert (constant.value.numpy().shape, str(constant.ty.dtype)) == ((), "int64")
    assert constant.value.numpy() == 6


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


EMITTED_FUNCTIONS: dict[str, tuple[Callable[..., Any], list[Any], str]] = {
    "pad": (topi.nn.pad, [[0, 0, 1, 2], [0, 0, 3, 0], 0.5], "relax.nn.pad"),
    "pad_nothing": (topi.nn.pad, [[0, 0, 0, 0], [0, 0, 0, 0], 0.5], ""),
    "pad_channels": (topi.nn.pad, [[0, 2, 0, 0], [0, 1, 0, 0], 0.0], "relax.nn.pad"),
    "reflect": (topi.nn.mirror_pad, [[0, 0, 1, 2], [0, 0, 3, 0], "REFLECT"], "relax.nn.pad"),
    "replicate": (topi.nn.replicate_pad, [[0, 1, 1, 2], [0, 0, 3, 9]], "relax.nn.pad"),
    "circular": (topi.nn.circular_pad, [[0, 0, 1, 6], [0, 0, 3, 0]], "relax.nn.pad"),
    "tile": (topi.tile, [[1, 2, 1, 3]], "relax.tile"),
    "tile_new_axis": (topi.tile, [[2, 1, 2, 1, 1]], "relax.tile"),
    "flip": (topi.flip, [1], "relax.flip"),
    "flip_last": (topi.flip, [-1], "relax.flip"),
    "lower": (topi.maximum, [0.25], "relax.maximum"),
    "upper": (topi.minimum, [0.25], "relax.minimum"),
}


@pytest.mark.parametrize(
    ("function", "arguments", "name"), EMITTED_FUNCTIONS.values(), ids=EMITTED_FUNCTIONS
)
def test_an_emitted_function_becomes_the_op_it_stands_for(
    function: Callable[..., Any], arguments: list[Any], name: str
) -> None:
    def body(net: Layers, x: Any) -> Any:
        return net.emit(op.negative(net.builder.emit_te(function, x, *arguments)))

    assert_canonical(build(body), [name, "relax.negative"] if name else ["relax.negative"])


def assert_canonical(module: IRModule, names: list[str]) -> None:
    canonical = Canonicalize()(module)
    assert op_names(canonical) == names
    x = random_input(module)
    runs = compiled({"before": module, "after": canonical})
    for expected, actual in zip(runs["before"](x, {}), runs["after"](x, {}), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("name", ["pad", "tile", "flip", "maximum", "mirror_pad"])
def test_a_function_that_only_shares_a_name_stays(name: str) -> None:
    def body(net: Layers, x: Any) -> Any:
        return net.builder.emit_te(topi.multiply, x, 2.0, primfunc_name_hint=name)

    assert op_names(Canonicalize()(build(body))) == ["relax.call_tir"]


def slice_by_tensors(x: Any) -> Any:
    return op.dynamic_strided_slice(
        x, indices(0, 1, 0, 5), indices(2, 3, 6, -7), indices(1, 1, 2, -1)
    )


REWRITTEN: dict[str, tuple[Callable[[Any], Any], list[str]]] = {
    "dynamic_strided_slice": (slice_by_tensors, ["relax.strided_slice"]),
    "batch_flatten": (op.nn.batch_flatten, ["relax.reshape"]),
    "index_tensor": (lambda x: op.index_tensor(x, [indices(1, 0, 0)]), ["relax.take"]),
    "layout": (
        lambda x: op.layout_transform(x, lambda n, c, h, w: (n, w, h, c)),
        ["relax.permute_dims"],
    ),
    "outer": (
        lambda x: op.outer(op.max(x, [0, 1, 2]), op.max(x, [0, 2, 3])),
        ["relax.max", "relax.max", "relax.expand_dims", "relax.expand_dims", "relax.multiply"],
    ),
    "reshape_to_computed_shape": (
        lambda x: op.reshape(
            x,
            op.tensor_to_shape(op.take(op.shape_to_tensor(op.shape_of(x)), indices(1, 0, 2, 3), 0)),
        ),
        ["relax.reshape"],
    ),
    "scale_by_size": (
        lambda x: op.divide(x, op.astype(op.size(x), "float32")),
        ["relax.divide"],
    ),
    "large_fills_stay": (
        lambda x: op.add(op.sum(op.zeros((512, 256), "float32")), x),
        ["relax.zeros", "relax.sum", "relax.add"],
    ),
    "small_fills_fold": (
        lambda x: op.multiply(op.add(op.full((6,), relax.const(2.0)), op.zeros_like(x)), x),
        ["relax.multiply"],
    ),
}


@pytest.mark.parametrize(("expression", "names"), REWRITTEN.values(), ids=REWRITTEN)
def test_ops_are_written_in_one_form(expression: Callable[[Any], Any], names: list[str]) -> None:
    assert_canonical(build(lambda net, x: net.emit(expression(x))), names)


def test_pixel_shuffle_becomes_a_transpose() -> None:
    """TVM has no kernel for it, so the values are those of numpy."""

    def body(net: Layers, x: Any) -> Any:
        return net.emit(op.nn.pixel_shuffle(op.concat([x, op.negative(x)] * 2, 1), 2))

    module = build(body)
    canonical = Canonicalize()(module)
    assert "relax.nn.pixel_shuffle" not in op_names(canonical)
    x = random_input(module)
    (actual,) = evaluate(canonical, x, {})
    blocks = np.concatenate([x, -x, x, -x], axis=1).reshape(2, 3, 2, 2, 6, 6)
    expected = blocks.transpose(0, 1, 4, 2, 5, 3).reshape(2, 3, 12, 12)
    np.testing.assert_array_equal(actual, expected)


def test_a_fused_multiply_add_becomes_two_ops() -> None:
    """TVM has no kernel for it either."""
    module = build(lambda net, x: net.emit(op.ewise_fma(x, op.negative(x), x)))
    canonical = Canonicalize()(module)
    assert op_names(canonical) == ["relax.negative", "relax.multiply", "relax.add"]


def test_functions_that_are_not_known_stay() -> None:
    def body(net: Layers, x: Any) -> Any:
        return net.builder.emit_te(topi.nn.relu, x, primfunc_name_hint="my_kernel")

    assert op_names(Canonicalize()(build(body))) == ["relax.call_tir"]
