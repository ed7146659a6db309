"""Scaling and shifting of a layer's channels, folded into the layer's weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from numpy.typing import NDArray
from tvm import IRModule, relax
from tvm.ir import GenericConst, Var
from tvm.relax.expr_functor import PyExprMutator, mutator

Array = NDArray[Any]


@dataclass(frozen=True)
class _Layer:
    """A layer whose weights take a scale for every output channel.

    Attributes:
        scaled: weights after every output channel was scaled.
        axis: channel axis of the layer's output, from the end.
    """

    scaled: Callable[[Array, Array], Array]
    axis: int


_LAYERS: Mapping[str, _Layer] = {
    "relax.nn.conv1d": _Layer(lambda w, s: w * s.reshape(-1, 1, 1), -2),
    "relax.nn.conv2d": _Layer(lambda w, s: w * s.reshape(-1, 1, 1, 1), -3),
    "relax.matmul": _Layer(lambda w, s: w * s, -1),
}
"""Layers that can be scaled, with the layouts that importers write: OIW, OIHW, and (in, out)."""

_STEPS: Mapping[str, Callable[[Array, Array, Array], tuple[Array, Array]]] = {
    "relax.add": lambda scale, shift, value: (scale, shift + value),
    "relax.subtract": lambda scale, shift, value: (scale, shift - value),
    "relax.multiply": lambda scale, shift, value: (scale * value, shift * value),
    "relax.divide": lambda scale, shift, value: (scale / value, shift / value),
}
"""What an op with a constant does to scale and shift."""


@dataclass(frozen=True)
class _Affine:
    """``scale * layer + shift``, one scale and one shift for every channel."""

    layer: Any
    scale: Array
    shift: Array
    steps: int


@tvm.transform.module_pass(opt_level=0, name="FoldAffine")
class FoldAffine:
    """Fold additions and multiplications by constants per channel into the layer before them.

    ``FoldBatchnormToConv2D`` folds a batch norm that follows a convolution directly; with a bias in
    between, or behind a dense layer, four operations an element are left. Here all of them become
    one addition, and the scale goes into the weights.
    """

    def transform_module(self, module: IRModule, _context: Any) -> IRModule:
        """Return the module with ``main`` folded."""
        module["main"] = _Folder(module, _uses(module["main"])).visit_expr(module["main"])
        return relax.transform.DeadCodeElimination()(module)


@mutator
class _Folder(PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: IRModule, uses: Counter[Any]) -> None:
        super().__init__(module)
        self._uses = uses
        self._affine: dict[Any, _Affine] = {}

    def visit_var_binding_(self, binding: Any) -> None:
        """Follow chains of steps; write what they come to where they end."""
        found = self._found(binding.value)
        if found is not None:
            self._affine[binding.var] = found
        if found is None or found.steps < 2 or np.all(found.scale == 1):
            super().visit_var_binding_(binding)
            return
        layer = _LAYERS[found.layer.op.name]
        data, weights = found.layer.args
        scaled = layer.scaled(weights.value.numpy(), found.scale).astype(str(weights.ty.dtype))
        call = relax.Call(
            found.layer.op,
            [self.visit_expr(data), relax.const(scaled)],
            found.layer.attrs,
            found.layer.ty_args,
        )
        shape = (-1, *(1,) * (-1 - layer.axis))
        shift = relax.const(found.shift.reshape(shape).astype(str(weights.ty.dtype)))
        folded = relax.op.add(self.builder_.emit(call), shift)
        self.set_var_remap(binding.var, self.builder_.emit(folded))

    def _found(self, value: Any) -> _Affine | None:
        name = getattr(getattr(value, "op", None), "name", "")
        if name in _LAYERS and isinstance(value.args[1], GenericConst):
            return _unscaled(value)
        if name not in _STEPS or not isinstance(value.args[1], GenericConst):
            return None
        before = self._affine.get(value.args[0])
        if before is None or self._uses[value.args[0]] != 1:
            return None
        layer = _LAYERS[before.layer.op.name]
        constant = _per_channel(value.args[1].value.numpy(), layer.axis, before.scale.size)
        if constant is None or len(value.ty.shape.values) != len(before.layer.ty.shape.values):
            return None
        return _Affine(
            before.layer, *_STEPS[name](before.scale, before.shift, constant), before.steps + 1
        )


def _unscaled(call: Any) -> _Affine | None:
    layer, ty = _LAYERS[call.op.name], call.ty
    known = len(ty.shape.values) >= -layer.axis and str(ty.dtype).startswith("float")
    if not known or not _has_usual_layout(call):
        return None
    channels = int(ty.shape.values[layer.axis])
    return _Affine(call, np.ones(channels), np.zeros(channels), 0)


def _has_usual_layout(call: Any) -> bool:
    if call.op.name == "relax.matmul":
        return len(call.args[1].ty.shape.values) == 2
    attributes = call.attrs
    return (str(attributes.data_layout)[:2], str(attributes.kernel_layout)[:2]) == ("NC", "OI")


def _per_channel(value: Array, axis: int, channels: int) -> Array | None:
    """A constant as one value a channel, or None where it varies along another axis."""
    padded = value.reshape((1,) * max(0, -axis - value.ndim) + value.shape)
    if padded.size not in (1, padded.shape[axis]) or padded.shape[axis] not in (1, channels):
        return None
    return np.broadcast_to(padded.reshape(-1).astype(np.float64), (channels,))


def _uses(function: Any) -> Counter[Any]:
    """How often each variable is read."""
    counted: Counter[Any] = Counter()
    for block in function.body.blocks:
        for binding in block.bindings:
            tvm_ffi.structural_walk(binding.value, (Var, lambda v: counted.update([v])))
    tvm_ffi.structural_walk(function.body.body, (Var, lambda v: counted.update([v])))
    return counted
