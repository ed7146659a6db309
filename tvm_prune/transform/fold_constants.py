"""Constant folding in numpy.

TVM's own ``FoldConstant`` compiles and runs a kernel for every constant expression, which takes
ten seconds on a MobileNet; the handful of ops that importers and batch-norm folding leave on
constants are evaluated here directly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import IRModule, relax
from tvm.ir import GenericConst
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm.tirx import FloatImm, IntImm

Evaluate = Callable[[Any, list[Any]], NDArray[Any]]


def _expand_dims(call: Any, arguments: list[Any]) -> NDArray[Any]:
    return np.expand_dims(arguments[0], tuple(int(axis) for axis in call.attrs.axis))


def _permute_dims(call: Any, arguments: list[Any]) -> NDArray[Any]:
    axes = call.attrs.axes
    return np.transpose(arguments[0], None if axes is None else [int(axis) for axis in axes])


def _to_shape(call: Any, arguments: list[Any]) -> NDArray[Any]:
    return np.reshape(arguments[0], [int(extent) for extent in call.ty.shape.values])


def _broadcast_to(call: Any, arguments: list[Any]) -> NDArray[Any]:
    return np.broadcast_to(arguments[0], [int(extent) for extent in call.ty.shape.values])


def _by(function: Callable[..., Any]) -> Evaluate:
    return lambda _call, arguments: np.asarray(function(*arguments))


EVALUATE: Mapping[str, Evaluate] = {
    "relax.add": _by(np.add),
    "relax.subtract": _by(np.subtract),
    "relax.multiply": _by(np.multiply),
    "relax.divide": _by(np.divide),
    "relax.maximum": _by(np.maximum),
    "relax.minimum": _by(np.minimum),
    "relax.negative": _by(np.negative),
    "relax.sqrt": _by(np.sqrt),
    "relax.rsqrt": _by(lambda x: 1 / np.sqrt(x)),
    "relax.isnan": _by(np.isnan),
    "relax.where": _by(np.where),
    "relax.astype": _by(np.asarray),
    "relax.reshape": _to_shape,
    "relax.squeeze": _to_shape,
    "relax.broadcast_to": _broadcast_to,
    "relax.expand_dims": _expand_dims,
    "relax.permute_dims": _permute_dims,
}
"""One row an op: its value from the values of its arguments, before the cast to its dtype."""


@mutator
class _Folder(PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: Any) -> Any:
        call = self.visit_expr_post_order(call)
        evaluate = EVALUATE.get(getattr(call.op, "name", ""))
        if evaluate is None:
            return call
        values = []
        for argument in call.args:
            constant = self._constant(argument)
            if constant is None and not isinstance(argument, relax.ShapeExpr):
                return call
            values.append(constant)
        value = evaluate(self.builder_.normalize(call), values)
        return relax.const(np.ascontiguousarray(value, dtype=str(call.ty.dtype)))

    def _constant(self, expr: Any) -> NDArray[Any] | None:
        if isinstance(expr, relax.Var):
            expr = self.lookup_binding(expr)
        if isinstance(expr, GenericConst):
            value: NDArray[Any] = expr.value.numpy()
            return value
        if isinstance(expr, FloatImm | IntImm):
            return np.asarray(expr.value, dtype=str(expr.ty))
        return None


@tvm.transform.module_pass(opt_level=0, name="FoldConstants")
class FoldConstants:
    """Evaluate every op of the table whose tensor arguments are all constants."""

    def transform_module(self, module: IRModule, _context: Any) -> IRModule:
        """Return the module with constant expressions replaced by their values."""
        folder = _Folder(module)
        for global_var, function in module.functions_items():
            if isinstance(function, relax.Function):
                folder.builder_.update_func(global_var, folder.visit_expr(function))
        folded = folder.builder_.get()
        return relax.transform.DeadCodeElimination()(relax.transform.CanonicalizeBindings()(folded))
