"""Layers that ONNX writes as one node: a contraction, its transposed weight and its bias."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tvm import relax

from tvm_prune.to_onnx.ops.contraction import convolution, dense, transposed_convolution
from tvm_prune.to_onnx.ops.elementwise import is_floating
from tvm_prune.to_onnx.rule import Converter, shape_of

CONVOLUTIONS: Mapping[str, Any] = {
    **{f"relax.nn.conv{rank}d": convolution for rank in (1, 2, 3)},
    **{f"relax.nn.conv{rank}d_transpose": transposed_convolution for rank in (1, 2, 3)},
}


@dataclass(frozen=True)
class Layer:
    """Several bindings that become one node.

    Attributes:
        call: the contraction.
        convert: writes it together with what it absorbs.
        absorbed: variables that the node computes inside itself.
    """

    call: Any
    convert: Converter
    absorbed: tuple[Any, ...]


def find_layers(function: Any, parameters: set[Any]) -> Mapping[Any, Layer]:
    """Layers of a function, by the variable that holds their result.

    What they absorb is used nowhere else, and depends on ranks rather than extents, so that a
    pruned function has the same layers as the dense one.

    Args:
        function: a Relax function.
        parameters: its variables that are parameters of the model.
    """
    finder = _Finder(function, parameters)
    layers = dict(finder.biased())
    absorbed = {variable for layer in layers.values() for variable in layer.absorbed}
    layers.update(finder.unbiased(absorbed))
    return layers


class _Finder:
    def __init__(self, function: Any, parameters: set[Any]) -> None:
        self.parameters = parameters
        self.values = {
            binding.var: binding.value
            for block in function.body.blocks
            for binding in block.bindings
        }
        self.uses: Counter[Any] = Counter()
        for value in (*self.values.values(), function.body.body):
            self.uses.update(_variables(value))

    def biased(self) -> Iterator[tuple[Any, Layer]]:
        """Contractions followed by the addition of a bias."""
        for variable, value in self.values.items():
            if _op(value) != "relax.add":
                continue
            for product, addend in (value.args, value.args[::-1]):
                layer = self._layer(product, addend)
                if layer is not None:
                    yield variable, layer
                    break

    def unbiased(self, absorbed: set[Any]) -> Iterator[tuple[Any, Layer]]:
        """Dense layers without a bias whose weight is transposed."""
        for variable, value in self.values.items():
            if variable not in absorbed and self._is_dense(value):
                weight, gone = self._transposed(value.args[1])
                if gone:
                    convert = partial(dense, weight=weight, transposed=True)
                    yield variable, Layer(value, convert, gone)

    def _layer(self, product: Any, addend: Any) -> Layer | None:
        call = self._only_use(product)
        if _op(call) in CONVOLUTIONS:
            layout = call.attrs.out_layout or call.attrs.data_layout
            bias, gone = self._bias(addend, len(layout) - layout.index("C"), call)
            if bias is not None:
                convert = partial(CONVOLUTIONS[_op(call)], bias=bias)
                return Layer(call, convert, (product, *gone))
        elif self._is_dense(call):
            bias, gone = self._bias(addend, 1, call)
            weight, transpose = self._transposed(call.args[1])
            if bias is not None and weight in self.parameters:
                convert = partial(dense, weight=weight, bias=bias, transposed=bool(transpose))
                return Layer(call, convert, (product, *gone, *transpose))
        return None

    def _is_dense(self, value: Any) -> bool:
        return (
            _op(value) == "relax.matmul"
            and len(shape_of(value.args[0])) == len(shape_of(value.args[1])) == 2
            and is_floating(str(value.ty.dtype))
            and all(argument.ty.dtype == value.ty.dtype for argument in value.args)
        )

    def _transposed(self, weight: Any) -> tuple[Any, tuple[Any, ...]]:
        """The parameter behind a transposed weight, and the variable of the transpose."""
        value = self._only_use(weight)
        if _op(value) == "relax.permute_dims" and value.args[0] in self.parameters:
            return value.args[0], (weight,)
        return weight, ()

    def _bias(self, addend: Any, trailing: int, call: Any) -> tuple[Any | None, tuple[Any, ...]]:
        """The vector behind an addend that lies along the axis at `-trailing` of a result."""
        shape = shape_of(addend)
        channels = shape_of(call)[-trailing]
        aligned = len(shape) >= trailing and shape[-trailing] == channels
        if not aligned or channels != _size(shape):
            return None, ()
        if len(shape) == 1 and addend in self.parameters:
            return addend, ()
        value = self._only_use(addend)
        if _op(value) in ("relax.reshape", "relax.expand_dims"):
            vector = value.args[0]
            if vector in self.parameters and len(shape_of(vector)) == 1:
                return vector, (addend,)
        return None, ()

    def _only_use(self, variable: Any) -> Any:
        """The value of a variable that is used once, None for all others."""
        return self.values.get(variable) if self.uses[variable] == 1 else None


def _op(value: Any) -> str:
    return getattr(value.op, "name", "") if isinstance(value, relax.Call) else ""


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for extent in shape:
        size *= extent
    return size


def _variables(expr: Any) -> Iterator[Any]:
    """Every occurrence of a variable in an expression."""
    if isinstance(expr, relax.Var):
        yield expr
    elif isinstance(expr, relax.Call):
        for argument in expr.args:
            yield from _variables(argument)
    elif isinstance(expr, relax.Tuple):
        for field in expr.fields:
            yield from _variables(field)
    elif isinstance(expr, relax.TupleGetItem):
        yield from _variables(expr.tuple_value)
