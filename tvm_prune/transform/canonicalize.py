"""The pass that brings imported modules into the form the op table knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tvm
import tvm_ffi
from tvm import IRModule, relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_prune.transform.fold_constants import FoldConstants

EMITTED: Mapping[str, Callable[[Any, Any], Any]] = {
    "maximum": relax.op.maximum,
    "minimum": relax.op.minimum,
}
"""Functions that importers emit through `call_tir`, and the Relax op each stands for."""


@mutator
class _RaiseCallTIR(PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: Any) -> Any:
        call = self.visit_expr_post_order(call)
        if getattr(call.op, "name", "") != "relax.call_tir":
            return call
        name = call.args[0].name_hint.rstrip("0123456789").rstrip("_")
        operands = list(call.args[1].fields)
        if name in EMITTED and len(operands) == 1:
            operands += self._bounds(call)
        if name in EMITTED and len(operands) == 2:
            return EMITTED[name](*operands)
        return call

    def _bounds(self, call: Any) -> list[Any]:
        """Numbers in the body of an emitted function: the bound of a clip."""
        found: list[Any] = []
        body = self.builder_.get()[call.args[0]].body
        tvm_ffi.structural_walk(body, (tirx.FloatImm, found.append))
        return [relax.const(number.value, call.ty.dtype) for number in found]


@tvm.transform.module_pass(opt_level=0, name="Canonicalize")
class Canonicalize:
    """Fold constants and raise emitted functions back to the ops they stand for."""

    def transform_module(self, module: IRModule, _context: Any) -> IRModule:
        """Return an equivalent module with one form for each computation."""
        raiser = _RaiseCallTIR(module)
        for global_var, function in module.functions_items():
            if isinstance(function, relax.Function):
                raiser.builder_.update_func(global_var, raiser.visit_expr(function))
        return tvm.transform.Sequential([FoldConstants()])(raiser.builder_.get())
