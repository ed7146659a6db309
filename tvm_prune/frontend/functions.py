"""What the front ends for Relax and PyTorch do with an imported function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import IRModule, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_prune.errors import ModelError
from tvm_prune.model import Array, Model, output_specs, specs_of
from tvm_prune.transform.canonicalize import Canonicalize

FLOATING = ("float16", "bfloat16", "float32", "float64")


def with_named_weights(function: Any, inputs: Mapping[str, str], weights: Mapping[str, str]) -> Any:
    """Rename a function's parameters and order them: inputs first, then weights.

    Args:
        function: a function of which nothing uses a parameter that neither mapping names.
        inputs: new name of each input, by its old one.
        weights: new name of each weight, by its old one; those of equal name become one.
    """
    old = {parameter.name: parameter for parameter in function.params}
    names = {**inputs, **weights}
    new = {alias: relax.Var(alias, old[name].ty) for name, alias in names.items()}
    body = function.bind_params({old[name]: new[alias] for name, alias in names.items()}).body
    parameters = [new[alias] for alias in dict.fromkeys(names.values())]
    return relax.Function(parameters, body, function.ret_ty, function.is_pure).with_attrs(
        {"global_symbol": "main", "num_input": len(inputs)}
    )


@mutator
class _Separator(PyExprMutator):  # type: ignore[misc]
    """Gives every use of a weight, and every floating constant, a parameter of its own."""

    def __init__(self, weights: Sequence[Any], keep_tied: bool, constants: bool) -> None:
        super().__init__()
        self.weights = {weight.name: weight for weight in weights}
        self.keep_tied = keep_tied
        self.constants = constants
        self.uses: Counter[str] = Counter()
        self.parameters: dict[str, Any] = {}
        self.source: dict[str, str] = {}
        self.values: dict[str, Array] = {}
        self.names: dict[Any, str] = {}

    def visit_var_(self, variable: Any) -> Any:
        weight = self.weights.get(variable.name)
        if weight is None or not weight.same_as(variable):
            return super().visit_var_(variable)
        return self._use(variable.name, variable.ty)

    def visit_generic_const_(self, constant: Any) -> Any:
        weight = constant.ty.ndim > 0 and str(constant.ty.dtype) in FLOATING
        if not weight or not self.constants:
            return constant
        if constant not in self.names:
            self.names[constant] = self._free_name()
            self.values[self.names[constant]] = constant.value.numpy()
        return self._use(self.names[constant], constant.ty)

    def _free_name(self) -> str:
        taken = {*self.weights, *self.values}
        return next(
            name for name in map("constant_{}".format, range(len(taken) + 1)) if name not in taken
        )

    def _use(self, name: str, ty: Any) -> Any:
        if not (self.keep_tied and name in self.parameters):
            self.uses[name] += 1
        own = name if self.uses[name] == 1 else f"{name}#{self.uses[name]}"
        if own not in self.parameters:
            self.parameters[own] = relax.Var(own, ty)
            self.source[own] = name
        return self.parameters[own]


def separated(
    module: IRModule, values: Mapping[str, Array], *, keep_tied: bool, constants: bool
) -> tuple[IRModule, dict[str, Array]]:
    """Drop weights that nothing uses, and give each use of the others a parameter.

    Layers that happen to share a weight would otherwise lose the same channels. The second use of
    ``w`` is called ``w#2``.

    Args:
        module: module with a ``main`` whose weights follow ``num_input`` inputs.
        values: value of each weight.
        keep_tied: leave a shared weight one parameter.
        constants: make floating constants of rank one and more parameters as well.
    """
    function = module["main"]
    count = int(function.attrs["num_input"])
    separator = _Separator(function.params[count:], keep_tied, constants)
    body = separator.visit_expr(function.body)
    values = {**values, **separator.values}
    order = {name: index for index, name in enumerate(values)}
    names = sorted(
        separator.parameters,
        key=lambda name: (order[separator.source[name]], name.count("#"), len(name), name),
    )
    result = module.clone()
    result["main"] = relax.Function(
        [*function.params[:count], *(separator.parameters[name] for name in names)],
        body,
        function.ret_ty,
        function.is_pure,
        function.attrs,
    )
    return result, {name: values[separator.source[name]] for name in names}


def finished_model(
    name: str,
    module: IRModule,
    values: Mapping[str, Array],
    outputs: Sequence[str] | None = None,
    *,
    keep_tied: bool = False,
    constants: bool = False,
) -> Model:
    """Bring an imported module into the form that the op table knows.

    Args:
        name: the model's name.
        module: module with a ``main`` whose weights follow ``num_input`` inputs.
        values: value of each weight.
        outputs: names of the outputs; numbered where there are none.
        keep_tied: leave a weight that several ops use one parameter.
        constants: make floating constants parameters too.

    Raises:
        ModelError: if a shape is not static or the outputs are not tensors.
    """
    module = tvm.transform.Sequential([Canonicalize()])(module)
    module, parameters = separated(module, values, keep_tied=keep_tied, constants=constants)
    function = module["main"]
    inputs = tuple(
        parameter.name for parameter in function.params[: int(function.attrs["num_input"])]
    )
    _check_static(function)
    return Model(
        name=name,
        module=module,
        parameters=parameters,
        inputs=specs_of(function, inputs),
        outputs=output_specs(function, _output_names(function, outputs)),
    )


def _output_names(function: Any, given: Sequence[str] | None) -> tuple[str, ...]:
    fields = len(function.ret_ty.fields) if isinstance(function.ret_ty, relax.TupleType) else 1
    if given is not None and len(given) == fields:
        return tuple(given)
    if not isinstance(function.ret_ty, relax.TupleType):
        return ("output",)
    return tuple(f"output_{index}" for index in range(fields))


def _check_static(function: Any) -> None:
    for parameter in function.params:
        if not _is_static(parameter.ty):
            raise ModelError(
                f"The shape of '{parameter.name}' is {parameter.ty}, which is not static; give "
                f"every input a shape, for example shapes={{'{parameter.name}': (1, 3, 224, 224)}}."
            )
    ty = function.ret_ty
    for part in ty.fields if isinstance(ty, relax.TupleType) else [ty]:
        if not _is_static(part):
            raise ModelError(
                f"The model returns {part}; it must return tensors of static shape, alone or in "
                "one tuple."
            )


def _is_static(ty: Any) -> bool:
    return (
        isinstance(ty, relax.TensorType)
        and ty.shape is not None
        and isinstance(ty.shape, relax.ShapeExpr)
        and all(hasattr(extent, "value") for extent in ty.shape.values)
    )


def as_array(name: str, value: Any) -> Array:
    """A copy of a numpy, TVM or torch tensor as a numpy array.

    Raises:
        ModelError: if it is none of them, or numpy has no such dtype.
    """
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
        return np.array(value.numpy() if hasattr(value, "numpy") else value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"The weight '{name}' cannot be read as an array: {error}.") from error
