"""The pass that brings imported modules into the form the op table knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tvm
from tvm import IRModule, relax, tirx
from tvm.relax.expr_functor import mutator

from tvm_prune.transform.emitted_functions import Emitted, raised
from tvm_prune.transform.fold_constants import FoldingMutator, mutated, static_shape

op = relax.op


def _dynamic_strided_slice(call: Any, bounds: list[Any]) -> Any | None:
    """A `strided_slice`, where the bounds are constant."""
    if any(bound is None for bound in bounds):
        return None
    begins, ends, strides = (bound.tolist() for bound in bounds)
    return op.strided_slice(call.args[0], list(range(len(begins))), begins, ends, strides)


def _pixel_shuffle(call: Any, _constants: list[Any]) -> Any | None:
    """A `reshape`, `permute_dims` and another `reshape`."""
    shape = static_shape(call.args[0])
    if shape is None:
        return None
    *batch, channels, height, width = shape
    factor = int(call.attrs.upscale_factor)
    inner = channels // factor**2
    rank = len(batch)
    parts = op.reshape(call.args[0], (*batch, inner, factor, factor, height, width))
    order = [*range(rank), *(rank + axis for axis in (0, 3, 1, 4, 2))]
    return op.reshape(
        op.permute_dims(parts, order), (*batch, inner, height * factor, width * factor)
    )


def _batch_flatten(call: Any, _constants: list[Any]) -> Any | None:
    """A `reshape`."""
    shape = static_shape(call)
    return None if shape is None else op.reshape(call.args[0], shape)


def _outer(call: Any, _constants: list[Any]) -> Any:
    """A `multiply` that broadcasts."""
    return op.multiply(op.expand_dims(call.args[0], 1), op.expand_dims(call.args[1], 0))


def _fused_multiply_add(call: Any, _constants: list[Any]) -> Any:
    """A `multiply` and an `add`."""
    return op.add(op.multiply(call.args[0], call.args[1]), call.args[2])


def _index_one_axis(call: Any, _constants: list[Any]) -> Any | None:
    """A `take`, where only the first axis is indexed."""
    indices: Any = call.args[1]
    fields = list(indices.fields) if isinstance(indices, relax.Tuple) else []
    return op.take(call.args[0], fields[0], axis=0) if len(fields) == 1 else None


def _transposing_layout(call: Any, _constants: list[Any]) -> Any | None:
    """A `permute_dims`, where nothing but the order of the axes changes."""
    index_map = call.attrs.index_map
    before, after = list(index_map.initial_indices), list(index_map.final_indices)
    if len(before) != len(after) or not all(isinstance(axis, tirx.Var) for axis in after):
        return None
    order = [next(i for i, old in enumerate(before) if old.same_as(new)) for new in after]
    return op.permute_dims(call.args[0], order)


def _inference_batch_norm(call: Any, _constants: list[Any]) -> Any | None:
    """With the running statistics; some importers leave the mark of training on every one."""
    attrs = call.attrs
    if not attrs.training:
        return None
    return op.nn.batch_norm(
        *call.args,
        axis=attrs.axis,
        epsilon=attrs.epsilon,
        center=attrs.center,
        scale=attrs.scale,
        training=False,
    )


REWRITES: Mapping[str, Callable[[Any, list[Any]], Any | None]] = {
    "relax.dynamic_strided_slice": _dynamic_strided_slice,
    "relax.nn.pixel_shuffle": _pixel_shuffle,
    "relax.nn.batch_flatten": _batch_flatten,
    "relax.outer": _outer,
    "relax.ewise_fma": _fused_multiply_add,
    "relax.index_tensor": _index_one_axis,
    "relax.layout_transform": _transposing_layout,
    "relax.nn.batch_norm": _inference_batch_norm,
}
"""Ops that are written as others: from a call and the constants behind its other arguments."""


@mutator
class _Canonicalizer(FoldingMutator):
    def visit_call_(self, call: Any) -> Any:
        call = self.with_known_shapes(self.visit_expr_post_order(call))
        return self.folded(self._rewritten(call))

    def _rewritten(self, call: Any) -> Any:
        name = getattr(call.op, "name", "")
        if name == "relax.call_tir":
            function = self.builder_.get()[call.args[0]]
            found = raised(Emitted(call, function), call.args[0].name_hint)
        elif name in REWRITES:
            call = self.builder_.normalize(call)
            constants = [self._constant(argument) for argument in call.args[1:]]
            found = REWRITES[name](call, constants)
        else:
            return call
        return call if found is None else self.visit_expr_post_order(self.builder_.normalize(found))


@tvm.transform.module_pass(opt_level=0, name="Canonicalize")
class Canonicalize:
    """Fold constants, and write every computation in one form.

    Functions that importers emit are raised back to the ops they stand for, shape arithmetic on
    known shapes is folded, and ops that are others in disguise are written as those.
    """

    def transform_module(self, module: IRModule, _context: Any) -> IRModule:
        """Return an equivalent module with one form for each computation."""
        return mutated(module, _Canonicalizer(module))
