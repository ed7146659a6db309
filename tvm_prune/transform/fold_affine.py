"""Scaling and shifting by constants, folded into the weights of a layer or into one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import IRModule, relax
from tvm.ir import GenericConst
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_prune.transform.bindings import find_readers, op_name

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


@dataclass(frozen=True)
class _Step:
    """An op with a constant.

    Attributes:
        affine: scale and shift after it, from those before it and the constant.
        scales: whether it changes the scale; else it changes the shift alone.
        cost: of doing it for an element, that of an addition being one.
    """

    affine: Callable[[Array, Array, Array], tuple[Array, Array]]
    scales: bool
    cost: int = 1


_STEPS: Mapping[str, _Step] = {
    "relax.add": _Step(lambda scale, shift, value: (scale, shift + value), False),
    "relax.subtract": _Step(lambda scale, shift, value: (scale, shift - value), False),
    "relax.multiply": _Step(lambda scale, shift, value: (scale * value, shift * value), True),
    "relax.divide": _Step(lambda scale, shift, value: (scale / value, shift / value), True, cost=4),
}


@dataclass(frozen=True)
class _Affine:
    """``scale * data + shift``, where both are constants that data's shape holds.

    What is written is told by the steps alone, never by the values of constants: at all widths of a
    model the same kernels are called.

    Attributes:
        data: a variable.
        layer: what computes `data`, where its weights can take the scale.
        scale: one value, or any shape that broadcasts to that of `data`.
        shift: likewise.
        has_scale: whether there is a step that scales.
        has_shift: whether there is one that shifts.
        cost: of the steps that it was written in, for each element.
    """

    data: Any
    layer: Any | None = None
    scale: Array = field(default_factory=lambda: np.ones(1))
    shift: Array = field(default_factory=lambda: np.zeros(1))
    has_scale: bool = False
    has_shift: bool = False
    cost: int = 0

    @property
    def is_worthwhile(self) -> bool:
        """Whether it costs less at once than in the steps that it was written in."""
        return self.cost > (self.has_scale and self.layer is None) + self.has_shift

    def then(self, name: str, constant: Array) -> _Affine:
        """The same after another step."""
        step = _STEPS[name]
        scale, shift = step.affine(self.scale, self.shift, constant.astype(np.float64))
        return replace(
            self,
            scale=scale,
            shift=shift,
            has_scale=self.has_scale or step.scales,
            has_shift=self.has_shift or not step.scales,
            cost=self.cost + step.cost,
        )


@tvm.transform.module_pass(opt_level=0, name="FoldAffine")
class FoldAffine:
    """Fold additions and multiplications by constants into the layer before them, or one another.

    ``FoldBatchnormToConv2D`` folds a batch norm that follows a convolution directly; with a bias in
    between, or behind a dense layer, four operations an element are left, one of which divides.
    Here all of them become one addition, and the scale goes into the weights. Where no layer can
    take it, as behind a concatenation, a multiplication and an addition are left.
    """

    def transform_module(self, module: IRModule, _context: Any) -> IRModule:
        """Return the module with ``main`` folded."""
        module["main"] = _Folder(module).visit_expr(module["main"])
        return relax.transform.DeadCodeElimination()(module)


@mutator
class _Folder(PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: IRModule) -> None:
        super().__init__(module)
        self._readers = find_readers(module["main"])
        self._affine: dict[Any, _Affine] = {}

    def visit_var_binding_(self, binding: Any) -> None:
        """Follow chains of steps; write what they come to where that is worthwhile."""
        found = self._found(binding)
        if found is not None:
            self._affine[binding.var] = found
        if found is not None and found.is_worthwhile:
            self.set_var_remap(binding.var, self.builder_.emit(self._written(found)))
        else:
            super().visit_var_binding_(binding)

    def _found(self, binding: Any) -> _Affine | None:
        value, name = binding.value, op_name(binding.value)
        if name in _LAYERS:
            return _Affine(binding.var, value) if _takes_a_scale(value) else None
        if name not in _STEPS or not isinstance(value.args[1], GenericConst):
            return None
        data, constant = value.args[0], value.args[1].value.numpy()
        before = self._affine.get(data)
        if before is None or len(self._readers[data]) != 1 or not _suits(constant, before.layer):
            before = _Affine(data)
        return before.then(name, constant) if _is_of_its_type(value, data) else None

    def _written(self, found: _Affine) -> Any:
        """The expression; all of it but the last operation is emitted."""
        scale, shift = found.scale, found.shift
        if found.layer is not None:
            axis, channels = _LAYERS[found.layer.op.name].axis, _channels(found.layer)
            scale, shift = (np.broadcast_to(each.ravel(), channels) for each in (scale, shift))
            result = self._scaled(found.layer, scale)
            shift = shift.reshape(-1, *(1,) * (-1 - axis))
        else:
            result = self.visit_expr(found.data)
            if found.has_scale:
                result = relax.op.multiply(result, _constant(scale, found.data))
        if found.has_shift:
            result = relax.op.add(self.builder_.emit(result), _constant(shift, found.data))
        return result

    def _scaled(self, call: Any, scale: Array) -> Any:
        """A layer, its weights scaled."""
        data, weights = call.args
        scaled = _LAYERS[call.op.name].scaled(weights.value.numpy(), scale)
        arguments = [self.visit_expr(data), _constant(scaled, weights)]
        return relax.Call(call.op, arguments, call.attrs, call.ty_args)


def _constant(values: Array, like: Any) -> Any:
    """A constant of another expression's data type."""
    return relax.const(values.astype(str(like.ty.dtype)))


def _takes_a_scale(call: Any) -> bool:
    """Whether a layer's weights are known, its output of known shape, its layout the usual one."""
    layer, ty = _LAYERS[call.op.name], call.ty
    known = isinstance(call.args[1], GenericConst) and len(ty.shape.values) >= -layer.axis
    return known and str(ty.dtype).startswith("float") and _has_usual_layout(call)


def _has_usual_layout(call: Any) -> bool:
    if call.op.name == "relax.matmul":
        return len(call.args[1].ty.shape.values) == 2
    attributes = call.attrs
    return (str(attributes.data_layout)[:2], str(attributes.kernel_layout)[:2]) == ("NC", "OI")


def _channels(call: Any) -> int:
    return int(call.ty.shape.values[_LAYERS[call.op.name].axis])


def _suits(constant: Array, layer: Any | None) -> bool:
    """Whether a layer, if there is one, can take a constant: it varies along its channels alone."""
    if layer is None:
        return True
    axis = _LAYERS[layer.op.name].axis
    padded = constant.reshape((1,) * max(0, -axis - constant.ndim) + constant.shape)
    return padded.size == padded.shape[axis] and padded.shape[axis] in (1, _channels(layer))


def _is_of_its_type(value: Any, data: Any) -> bool:
    """Whether a step's result is of floating point, and of its data's shape."""
    if value.ty.shape is None or data.ty.shape is None:
        return False
    shape = list(value.ty.shape.values)
    return str(value.ty.dtype).startswith("float") and shape == list(data.ty.shape.values)
