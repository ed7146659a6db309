"""Concatenations of concatenations, written as one."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import IRModule, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_prune.transform.bindings import find_readers, op_name, values_of

_FUSED = frozenset(
    {
        "relax.add",
        "relax.clip",
        "relax.multiply",
        "relax.nn.leakyrelu",
        "relax.nn.relu",
        "relax.nn.silu",
        "relax.sigmoid",
    }
)
"""Ops whose kernels read the parts of a concatenation themselves: ``FuseOps`` fuses both."""


@tvm.transform.module_pass(opt_level=0, name="FlattenConcats")
class FlattenConcats:
    """Let a concatenation read the parts of those that it extends.

    Each layer of a dense block extends what the layers before it have made, and computes on all of
    it, element by element at first. Two readers keep a concatenation from being fused with either,
    so that all is copied once a layer. Where all that is left beside other concatenations is one
    reader that can be fused with it, nothing is copied.
    """

    def transform_module(self, module: IRModule, _context: Any) -> IRModule:
        """Return the module with ``main`` flattened."""
        module["main"] = _Flattener(module).visit_expr(module["main"])
        return relax.transform.DeadCodeElimination()(module)


@mutator
class _Flattener(PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: IRModule) -> None:
        super().__init__(module)
        self._values = values_of(module["main"])
        self._readers = find_readers(module["main"])
        self._parts: dict[Any, list[Any]] = {}

    def visit_var_binding_(self, binding: Any) -> None:
        """Remember the parts of a concatenation, and use those of the ones that it reads."""
        value = binding.value
        axis = _axis(value)
        if axis is None:
            super().visit_var_binding_(binding)
            return
        parts: list[Any] = []
        for part in value.args[0].fields:
            within = self._parts.get((part, axis), [])
            usable = within and self._may_be_read_in_parts(part, axis)
            parts += within if usable else [part]
        self._parts[binding.var, axis] = parts
        read = [self.visit_expr(part) for part in parts]
        self.set_var_remap(binding.var, self.builder_.emit(relax.op.concat(read, axis)))

    def _may_be_read_in_parts(self, data: Any, axis: int) -> bool:
        """Whether nothing needs a concatenation whole, if others read its parts."""
        values = [self._values.get(reader) for reader in self._readers[data]]
        others = [value for value in values if _axis(value) != axis]
        return len(others) <= 1 and all(op_name(value) in _FUSED for value in others)


def _axis(value: Any) -> int | None:
    """The axis of a concatenation of several variables, counted from the first one."""
    if op_name(value) != "relax.concat":
        return None
    if not isinstance(value.args[0], relax.Tuple) or value.attrs.axis is None:
        return None
    return int(value.attrs.axis) % int(value.ty.ndim)
