"""Values of ops on constants, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.channels.ops.slicing import slice_bounds

Evaluate = Callable[[Any, list[Any]], NDArray[Any] | None]
"""From a call and the values of its arguments to its value, before the cast to its dtype.

None where an attribute of the call asks for what is not known here.
"""

LARGEST_FILL = 1 << 16
"""Elements of a tensor made from a shape up to which it is better kept as a constant."""


def _shape(call: Any) -> list[int]:
    return [int(extent) for extent in call.ty.shape.values]


def _by(function: Callable[..., Any]) -> Evaluate:
    return lambda _call, arguments: np.asarray(function(*arguments))


def _along(function: Callable[..., Any]) -> Evaluate:
    """By a function that takes the axis of the op's attributes."""
    return lambda call, arguments: np.asarray(
        function(*arguments, axis=None if call.attrs.axis is None else int(call.attrs.axis))
    )


def _reduced(function: Callable[..., Any]) -> Evaluate:
    """By a function that takes the axes of a reduction."""

    def evaluate(call: Any, arguments: list[Any]) -> NDArray[Any]:
        attrs = call.attrs
        axes = None if attrs.axis is None else tuple(int(axis) for axis in attrs.axis)
        return np.asarray(function(arguments[0], axis=axes, keepdims=bool(attrs.keepdims)))

    return evaluate


def _expand_dims(call: Any, arguments: list[Any]) -> NDArray[Any]:
    return np.expand_dims(arguments[0], tuple(int(axis) for axis in call.attrs.axis))


def _permute_dims(call: Any, arguments: list[Any]) -> NDArray[Any]:
    axes = call.attrs.axes
    return np.transpose(arguments[0], None if axes is None else [int(axis) for axis in axes])


def _to_shape(call: Any, arguments: list[Any]) -> NDArray[Any]:
    return np.reshape(arguments[0], _shape(call))


def _broadcast_to(call: Any, arguments: list[Any]) -> NDArray[Any]:
    return np.broadcast_to(arguments[0], _shape(call))


def _strided_slice(call: Any, arguments: list[Any]) -> NDArray[Any]:
    index = [slice(None)] * arguments[0].ndim
    for axis, bounds in slice_bounds(call, arguments[0].ndim).items():
        index[axis] = bounds
    return np.asarray(arguments[0][tuple(index)])


def _take(call: Any, arguments: list[Any]) -> NDArray[Any]:
    axis = None if call.attrs.axis is None else int(call.attrs.axis)
    if str(call.attrs.mode) == "clip":
        return np.asarray(np.take(arguments[0], arguments[1], axis=axis, mode="clip"))
    return np.asarray(np.take(arguments[0], arguments[1], axis=axis, mode="wrap"))


def _scatter_elements(call: Any, arguments: list[Any]) -> NDArray[Any] | None:
    if str(call.attrs.reduction) != "update":
        return None
    data, indices, updates = arguments
    axis = int(call.attrs.axis)
    result = data.copy()
    np.put_along_axis(result, np.where(indices < 0, indices + data.shape[axis], indices),
                      updates, axis)  # fmt: skip
    return np.asarray(result)


def _filled(value: float) -> Evaluate:
    return lambda call, _arguments: np.full(_shape(call), value)


def _arange(_call: Any, arguments: list[Any]) -> NDArray[Any]:
    start, stop, step = (value.item() for value in arguments)
    return np.arange(start, stop, step)


EVALUATE: Mapping[str, Evaluate] = {
    "relax.add": _by(np.add),
    "relax.subtract": _by(np.subtract),
    "relax.multiply": _by(np.multiply),
    "relax.divide": _by(np.divide),
    "relax.floor_divide": _by(np.floor_divide),
    "relax.mod": _by(np.fmod),
    "relax.floor_mod": _by(np.mod),
    "relax.power": _by(np.power),
    "relax.maximum": _by(np.maximum),
    "relax.minimum": _by(np.minimum),
    "relax.equal": _by(np.equal),
    "relax.not_equal": _by(np.not_equal),
    "relax.less": _by(np.less),
    "relax.less_equal": _by(np.less_equal),
    "relax.greater": _by(np.greater),
    "relax.greater_equal": _by(np.greater_equal),
    "relax.logical_and": _by(np.logical_and),
    "relax.logical_or": _by(np.logical_or),
    "relax.logical_not": _by(np.logical_not),
    "relax.negative": _by(np.negative),
    "relax.abs": _by(np.abs),
    "relax.floor": _by(np.floor),
    "relax.ceil": _by(np.ceil),
    "relax.exp": _by(np.exp),
    "relax.log": _by(np.log),
    "relax.sin": _by(np.sin),
    "relax.cos": _by(np.cos),
    "relax.sqrt": _by(np.sqrt),
    "relax.rsqrt": _by(lambda x: 1 / np.sqrt(x)),
    "relax.isnan": _by(np.isnan),
    "relax.where": _by(np.where),
    "relax.astype": _by(np.asarray),
    "relax.sum": _reduced(np.sum),
    "relax.prod": _reduced(np.prod),
    "relax.max": _reduced(np.max),
    "relax.min": _reduced(np.min),
    "relax.reshape": _to_shape,
    "relax.squeeze": _to_shape,
    "relax.broadcast_to": _broadcast_to,
    "relax.expand_dims": _expand_dims,
    "relax.permute_dims": _permute_dims,
    "relax.concat": _along(np.concatenate),
    "relax.stack": _along(np.stack),
    "relax.flip": _along(np.flip),
    "relax.take": _take,
    "relax.strided_slice": _strided_slice,
    "relax.scatter_elements": _scatter_elements,
    "relax.shape_to_tensor": _by(np.asarray),
    "relax.arange": _arange,
}
"""One row an op whose value follows from constant arguments."""

FILL: Mapping[str, Evaluate] = {
    "relax.zeros": _filled(0),
    "relax.ones": _filled(1),
    "relax.zeros_like": _filled(0),
    "relax.ones_like": _filled(1),
    "relax.full": lambda call, arguments: np.full(_shape(call), arguments[1]),
    "relax.full_like": lambda call, arguments: np.full(_shape(call), arguments[1]),
}
"""Ops that fill a shape; they become constants where they are small."""
