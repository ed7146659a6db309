"""Constant folding in numpy.

TVM's own ``FoldConstant`` compiles and runs a kernel for every constant expression, which takes
ten seconds on a MobileNet; the ops that importers and batch-norm folding leave on constants are
evaluated here directly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import IRModule, relax
from tvm.ir import GenericConst
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm.tirx import FloatImm, IntImm

from tvm_prune.transform.bindings import op_name
from tvm_prune.transform.constant_values import EVALUATE, FILL, LARGEST_FILL, Evaluate


class FoldingMutator(PyExprMutator):  # type: ignore[misc]
    """Replaces ops on constants by their values, and shapes that are known by themselves."""

    def folded(self, call: Any) -> Any:
        """The value of a call, or the call itself where it depends on more than constants."""
        name = op_name(call)
        if name in ("relax.shape_of", "relax.size", "relax.tensor_to_shape"):
            return self._shape_query(call, name)
        evaluate = EVALUATE.get(name) or self._fill(call, name)
        if evaluate is None:
            return call
        values = [self._constant(argument) for argument in call.args]
        if name in EVALUATE and any(value is None for value in values):
            return call
        call = self.builder_.normalize(call)
        with np.errstate(all="ignore"):
            value = evaluate(call, values)
        if value is None:
            return call
        dtype = str(call.ty.dtype)
        return relax.const(np.array(value, dtype=dtype, order="C"), dtype)

    def with_known_shapes(self, call: Any) -> Any:
        """The call with shapes themselves in place of variables that hold them."""
        if not any(self._is_shape_variable(argument) for argument in call.args):
            return call
        arguments = [
            self.lookup_binding(argument) if self._is_shape_variable(argument) else argument
            for argument in call.args
        ]
        return relax.Call(call.op, arguments, call.attrs, call.ty_args)

    def _is_shape_variable(self, expr: Any) -> bool:
        return isinstance(expr, relax.Var) and isinstance(
            self.lookup_binding(expr), relax.ShapeExpr
        )

    def _fill(self, call: Any, name: str) -> Evaluate | None:
        if name not in FILL:
            return None
        shape = static_shape(self.builder_.normalize(call))
        return FILL[name] if shape is not None and np.prod(shape) <= LARGEST_FILL else None

    def _shape_query(self, call: Any, name: str) -> Any:
        """Shapes and sizes of tensors whose extents are known."""
        if name == "relax.tensor_to_shape":
            value = self._constant(call.args[0])
            return call if value is None else relax.ShapeExpr(value.tolist())
        shape = static_shape(call.args[0])
        if shape is None:
            return call
        if name == "relax.size":
            return relax.const(np.prod(shape, dtype=np.int64), "int64")
        return relax.ShapeExpr(shape)

    def _constant(self, expr: Any) -> Any:
        """Value of a constant, a list of them for a tuple, None for what is not constant."""
        if isinstance(expr, relax.Var):
            expr = self.lookup_binding(expr)
        if isinstance(expr, GenericConst):
            value: NDArray[Any] = expr.value.numpy()
            return value
        if isinstance(expr, FloatImm | IntImm):
            return np.asarray(expr.value, dtype=str(expr.ty))
        if isinstance(expr, relax.ShapeExpr):
            return _integers(expr.values)
        if isinstance(expr, relax.Tuple):
            values = [self._constant(field) for field in expr.fields]
            return None if any(value is None for value in values) else values
        return None


@mutator
class _Folder(FoldingMutator):
    def visit_call_(self, call: Any) -> Any:
        return self.folded(self.with_known_shapes(self.visit_expr_post_order(call)))


def static_shape(expr: Any) -> list[int] | None:
    """Extents of a tensor, or None where one of them is not known."""
    shape = getattr(expr.ty, "shape", None)
    values = _integers(shape.values) if isinstance(shape, relax.ShapeExpr) else None
    return None if values is None else values.tolist()


def _integers(values: Any) -> NDArray[np.int64] | None:
    if not all(isinstance(value, IntImm) for value in values):
        return None
    return np.array([int(value) for value in values], dtype=np.int64)


@tvm.transform.module_pass(opt_level=0, name="FoldConstants")
class FoldConstants:
    """Evaluate every op of the table whose tensor arguments are all constants."""

    def transform_module(self, module: IRModule, _context: Any) -> IRModule:
        """Return the module with constant expressions replaced by their values."""
        return mutated(module, _Folder(module))


def mutated(module: IRModule, folder: Any) -> IRModule:
    """The module with every Relax function rewritten, and what is left unused removed."""
    for global_var, function in module.functions_items():
        if isinstance(function, relax.Function):
            folder.builder_.update_func(global_var, folder.visit_expr(function))
    result = folder.builder_.get()
    return relax.transform.DeadCodeElimination()(relax.transform.CanonicalizeBindings()(result))
