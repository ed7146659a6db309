"""Relax modules become models: weights named, whether parameters, attributes or constants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tvm
from tvm import IRModule, relax

from tvm_prune.errors import ModelError
from tvm_prune.frontend.functions import as_array, finished_model, with_named_weights
from tvm_prune.model import Array, Model

Parameters = Mapping[str, Any] | Sequence[Any]
"""Weights by name, in order, or as TVM's `detach_params` and `export_tvm` return them."""

NEEDS_STATIC = "give the inputs shapes, for example shapes={'x': (1, 3, 224, 224)}"


def load_relax(
    module: IRModule,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    *,
    parameters: Parameters | None = None,
    keep_tied: bool = False,
    name: str = "model",
) -> Model:
    """Take a Relax module with ops, as TVM's front ends make it; it is not changed.

    Weights are, in this order: `parameters`; the attribute ``params`` of the function; floating
    constants, which become parameters ``constant_0``, ``constant_1``, ...

    Args:
        module: a module with a function ``main``, or with one Relax function of any name.
        shapes: shapes of inputs whose shapes hold variables.
        parameters: values of the function's weights: a mapping by name, pairs of name and value,
            values in the order of the last parameters, or ``{"main": values}``. Values are
            numpy, TVM or torch arrays, or parameters of ``relax.frontend.nn`` with data.
        keep_tied: a weight that several ops share stays one parameter.
        name: the model's name.

    Raises:
        ModelError: if there is no such function, a shape is dynamic, or the weights do not fit.
    """
    title, function = _entry(module)
    whole = _as_main(module, title, function)
    whole = _with_shapes(whole, shapes or {})
    function = whole["main"]
    _check_straight(function)
    values = _weights(function, title, parameters)
    inputs = [p.name for p in function.params if p.name not in values]
    whole["main"] = with_named_weights(
        function, {name: name for name in inputs}, {name: name for name in values}
    )
    return finished_model(name, whole, values, keep_tied=keep_tied, constants=True)


def _entry(module: IRModule) -> tuple[str, Any]:
    """The function to prune, and its name."""
    functions = {
        variable.name_hint: function
        for variable, function in module.functions_items()
        if isinstance(function, relax.Function)
        and not (function.attrs and "Primitive" in function.attrs)
    }
    public = {n: f for n, f in functions.items() if f.attrs and "global_symbol" in f.attrs}
    for candidates in (functions, public):
        if "main" in candidates:
            return "main", candidates["main"]
        if len(candidates) == 1:
            return next(iter(candidates.items()))
    if not functions:
        raise ModelError("The module holds no Relax function; import a model with relax.frontend.")
    raise ModelError(
        f"The module holds the Relax functions {', '.join(sorted(functions))}; say which is the "
        "model by a module with that one as 'main'."
    )


def _as_main(module: IRModule, title: str, function: Any) -> IRModule:
    """A copy of the module with the function as ``main``, calls of others in place."""
    result = module.clone()
    if title != "main":
        del result[title]
        result["main"] = function.with_attr("global_symbol", "main")
    passes = [
        relax.transform.InlinePrivateFunctions(),
        relax.transform.Normalize(),
        relax.transform.CanonicalizeBindings(),
    ]
    try:
        inlined: IRModule = tvm.transform.Sequential(passes)(result)
    except Exception as error:  # malformed modules fail anywhere in TVM
        raise ModelError(f"TVM cannot read this module: {str(error).splitlines()[-1]}") from error
    return inlined


def _with_shapes(module: IRModule, shapes: Mapping[str, tuple[int, ...]]) -> IRModule:
    """Replace shape variables by what the given input shapes say."""
    by_name = {parameter.name: parameter for parameter in module["main"].params}
    variables: dict[Any, int] = {}
    for name, shape in shapes.items():
        if name not in by_name:
            raise ModelError(
                f"The model has no input '{name}'; its parameters are {', '.join(by_name)}."
            )
        extents = by_name[name].ty.shape
        if extents is None or len(extents.values) != len(shape):
            raise ModelError(
                f"Input '{name}' is {by_name[name].ty}, which the shape {list(shape)} does not fit."
            )
        for extent, wanted in zip(extents.values, shape, strict=True):
            if isinstance(extent, tvm.tirx.Var):
                variables[extent] = int(wanted)
            elif not hasattr(extent, "value") or int(extent.value) != wanted:
                raise ModelError(
                    f"Input '{name}' is {by_name[name].ty}, which the shape {list(shape)} does "
                    "not fit."
                )
    if not variables:
        return module
    result = module.clone()
    result["main"] = module["main"].bind_symbolic_vars(variables)
    return relax.transform.CanonicalizeBindings()(result)


def _check_straight(function: Any) -> None:
    """Only straight-line functions can be labelled."""
    if not isinstance(function.body, relax.SeqExpr):
        raise ModelError("The function is not normalized; run relax.transform.Normalize() first.")
    for block in function.body.blocks:
        for binding in block.bindings:
            if isinstance(getattr(binding, "value", None), relax.If):
                raise ModelError(
                    f"'{binding.var.name}' is a branch, which cannot be pruned; export the model "
                    "with the branch decided."
                )


def _weights(function: Any, title: str, parameters: Parameters | None) -> dict[str, Array]:
    """Value of each weight parameter of the function, by name."""
    attrs = function.attrs
    if parameters is None and attrs is not None and "params" in attrs:
        parameters = list(attrs["params"])
    named = _by_name(function, title, parameters)
    by_name = {parameter.name: parameter for parameter in function.params}
    unknown = sorted(set(named) - set(by_name))
    if unknown:
        raise ModelError(
            f"The function has no parameter '{unknown[0]}'; it has {', '.join(by_name)}."
        )
    inputs = int(attrs["num_input"]) if attrs is not None and "num_input" in attrs else None
    missing = [p.name for p in function.params[inputs:] if p.name not in named] if inputs else []
    if missing:
        raise ModelError(
            f"The weight '{missing[0]}' has no value ({len(missing)} of "
            f"{len(function.params) - (inputs or 0)} have none); give them with parameters=."
        )
    values = {}
    for parameter in function.params:
        if parameter.name in named:
            values[parameter.name] = _fitting(parameter, named[parameter.name])
    return values


def _by_name(function: Any, title: str, parameters: Parameters | None) -> dict[str, Any]:
    """The weights by name, from any of the forms that TVM's own functions return."""
    if parameters is None:
        return {}
    if isinstance(parameters, Mapping):
        values = parameters.get(title)
        if isinstance(values, Iterable) and not hasattr(values, "shape"):
            return _by_name(function, title, list(values))  # as detach_params returns them
        return dict(parameters)
    values = list(parameters)
    if all(isinstance(entry, tuple) and len(entry) == 2 for entry in values):
        return dict(values)  # as export_tvm returns them
    if len(values) > len(function.params):
        raise ModelError(
            f"There are {len(values)} weights, but the function has {len(function.params)} "
            "parameters."
        )
    names = [parameter.name for parameter in function.params[len(function.params) - len(values) :]]
    return dict(zip(names, values, strict=True))


def _fitting(parameter: Any, value: Any) -> Array:
    """The value as an array of the parameter's shape and dtype."""
    if isinstance(value, relax.frontend.nn.Parameter):
        if value.data is None:
            raise ModelError(
                f"The weight '{parameter.name}' has no data; load the weights into the module, or "
                "give them with parameters=."
            )
        value = value.data
    array = as_array(parameter.name, value)
    ty = parameter.ty
    shape = None if ty.shape is None else tuple(getattr(e, "value", e) for e in ty.shape.values)
    if tuple(array.shape) != shape or str(array.dtype) != str(ty.dtype):
        raise ModelError(
            f"The weight '{parameter.name}' is {array.dtype}{list(array.shape)}, but the function "
            f"takes {ty}."
        )
    return array
