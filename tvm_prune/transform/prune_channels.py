"""The pass that removes channels: replays a function on the extents a plan leaves."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import IRModule, relax
from tvm.ir import GenericConst

from tvm_prune.channels import Labelling, label
from tvm_prune.channels.labelling import input_count
from tvm_prune.channels.labels import FROZEN, kept_positions
from tvm_prune.channels.ops import OPS
from tvm_prune.channels.rule import Rewrite
from tvm_prune.errors import PlanError
from tvm_prune.model import Model
from tvm_prune.plan import PruningPlan


@tvm.transform.module_pass(opt_level=0, name="PruneChannels")
class PruneChannels:
    """Remove the channels that a plan leaves out from ``main``.

    Weights must be parameters of the function, after its ``num_input`` inputs. Values attached to
    the function as attribute ``params`` (as TVM's importers leave them) are sliced as well.

    Raises:
        PlanError: if the plan names unknown parameters, other shapes, channels that are frozen,
            or keeps one of two channels that live or die together.
    """

    def __init__(self, plan: PruningPlan) -> None:
        self.plan = plan

    def transform_module(self, module: IRModule, _context: Any) -> IRModule:
        """Return the module with a smaller ``main``."""
        labelling = label(module, attention=self.plan.attention)
        kept = kept_labels(labelling, self.plan)
        result = module.clone()
        result["main"] = _Replay(labelling, kept).function(module["main"])
        return result


def pruned_model(
    model: Model, plan: PruningPlan, values: Mapping[str, NDArray[Any]] | None = None
) -> Model:
    """The model after a plan.

    Args:
        model: the dense model.
        plan: what is kept.
        values: pruned parameter values in place of the dense ones that are kept.

    Raises:
        PlanError: if the plan does not fit the model.
    """
    module = tvm.transform.Sequential([PruneChannels(plan)])(model.module)
    parameters = prune_parameters(model.parameters, plan) if values is None else values
    return replace(model, module=module, parameters=parameters)


def prune_parameters(
    parameters: Mapping[str, NDArray[Any]], plan: PruningPlan
) -> dict[str, NDArray[Any]]:
    """Slice parameter values as the plan says; the rest is returned as it is."""
    result = {}
    for name, value in parameters.items():
        for axis, indices in plan.kept.get(name, {}).items():
            value = np.take(value, indices, axis=axis)
        result[name] = value
    return result


def mask_parameters(
    parameters: Mapping[str, NDArray[Any]],
    plan: PruningPlan,
    values: Mapping[str, NDArray[Any]] | None = None,
) -> dict[str, NDArray[Any]]:
    """Dense parameters with every removed slice set to zero.

    Args:
        parameters: the dense values.
        plan: what is kept.
        values: pruned values to put into the kept slices in place of the dense ones.
    """
    result = {}
    pruned = prune_parameters(parameters, plan) if values is None else values
    for name, value in parameters.items():
        axes = plan.kept.get(name, {})
        masked = np.zeros_like(value)
        index = [np.arange(extent) for extent in value.shape]
        for axis, indices in axes.items():
            index[axis] = np.asarray(indices)
        masked[np.ix_(*index)] = pruned[name]
        result[name] = masked
    return result


def kept_labels(labelling: Labelling, plan: PruningPlan) -> NDArray[np.bool_]:
    """Which labels stay, shape (labels,).

    Raises:
        PlanError: if the plan does not fit the labels.
    """
    class_of = labelling.space.classes()
    removed = np.zeros(int(class_of.max()) + 1, dtype=bool)
    for name, axes in plan.kept.items():
        for axis, indices in axes.items():
            labels = _plan_axis(labelling, plan, name, axis)
            gone = np.ones(labels.size, dtype=bool)
            gone[_checked_indices(name, axis, indices, labels.size)] = False
            if (labels[gone] <= FROZEN).any():
                raise PlanError(f"The plan prunes axis {axis} of '{name}', which has no channels.")
            removed[class_of[labels[gone]]] = True
    if removed[class_of[FROZEN]]:
        raise PlanError("The plan removes channels that are frozen; see `tvm-prune inspect`.")
    _check_whole(labelling, plan, removed[class_of])
    return ~removed[class_of]


def _check_whole(labelling: Labelling, plan: PruningPlan, removed: NDArray[np.bool_]) -> None:
    """What is tied to a removed channel must be removed by the plan as well."""
    for name, tensor in labelling.parameters.items():
        for axis, labels in enumerate(tensor):
            indices = list(plan.kept.get(name, {}).get(axis, range(labels.size)))
            if removed[np.maximum(labels[indices], FROZEN)].any():
                raise PlanError(
                    f"The plan keeps positions of axis {axis} of '{name}' that live or die "
                    "together with channels it removes elsewhere."
                )


def _plan_axis(labelling: Labelling, plan: PruningPlan, name: str, axis: int) -> NDArray[np.int64]:
    if name not in labelling.parameters:
        raise PlanError(f"The plan names parameter '{name}', which the model does not have.")
    tensor = labelling.parameters[name]
    shape = tuple(labels.size for labels in tensor)
    if plan.shapes.get(name, shape) != shape:
        raise PlanError(
            f"The plan was made for '{name}' of shape {plan.shapes[name]}, but the model's is "
            f"{shape}. Was it pruned already?"
        )
    if not 0 <= axis < len(tensor):
        raise PlanError(f"The plan names axis {axis} of '{name}', which has {len(tensor)} axes.")
    return tensor[axis]


def _checked_indices(name: str, axis: int, indices: tuple[int, ...], extent: int) -> list[int]:
    if (
        not indices
        or not all(isinstance(index, int) for index in indices)
        or min(indices) < 0
        or max(indices) >= extent
        or len(set(indices)) < len(indices)
    ):
        raise PlanError(
            f"The plan must keep between 1 and {extent} distinct indices of axis {axis} of "
            f"'{name}', each in 0..{extent - 1}."
        )
    return list(indices)


class _Replay:
    """Emits every binding of a function again, on the kept extents."""

    def __init__(self, labelling: Labelling, kept: NDArray[np.bool_]) -> None:
        self.labelling = labelling
        self.kept = kept
        self.builder = relax.BlockBuilder()
        self.new: dict[Any, Any] = {}

    def function(self, function: Any) -> Any:
        inputs = input_count(function)
        parameters = []
        for index, old in enumerate(function.params):
            new = old if index < inputs else relax.Var(old.name, self._type(old))
            self.new[old] = new
            parameters.append(new)
        with self.builder.function("main", parameters):
            for block in function.body.blocks:
                is_dataflow = isinstance(block, relax.DataflowBlock)
                with self.builder.dataflow() if is_dataflow else nullcontext():
                    for binding in block.bindings:
                        self._bind(binding, is_dataflow)
            self.builder.emit_func_output(self._argument(function.body.body))
        result = self.builder.get()["main"]
        return result.with_attrs(self._attrs(function, inputs))

    def _type(self, variable: Any) -> Any:
        labels: Any = self.labelling.values[variable]
        shape = [int(kept_positions(axis, self.kept).sum()) for axis in labels]
        return relax.TensorType(shape, variable.ty.dtype)

    def _bind(self, binding: Any, is_dataflow: bool) -> None:
        value, variable = binding.value, binding.var
        is_call = isinstance(value, relax.Call)
        emitted = self._call(value, variable) if is_call else self._argument(value)
        leaves = is_dataflow and not isinstance(variable, relax.DataflowVar)
        emit = self.builder.emit_output if leaves else self.builder.emit
        self.new[variable] = emit(self._flat(emitted, variable.name), name_hint=variable.name)

    def _flat(self, expr: Any, name: str) -> Any:
        """Emit what is nested in a rewritten call, so that the call itself gets the old name."""
        if not isinstance(expr, relax.Call):
            return expr
        arguments = [
            self.builder.emit(self._flat(argument, name), name_hint=f"{name}_part")
            if isinstance(argument, relax.Call)
            else argument
            for argument in expr.args
        ]
        return relax.Call(expr.op, arguments, expr.attrs, expr.ty_args)

    def _call(self, call: Any, variable: Any) -> Any:
        rule = OPS.get(getattr(call.op, "name", ""))
        arguments = [self._argument(argument) for argument in call.args]
        if rule is None:
            return relax.Call(call.op, arguments, call.attrs, call.ty_args)
        values = self.labelling.values
        inputs = tuple(self._labels(argument) for argument in call.args)
        return rule.rewrite(Rewrite(call, arguments, inputs, values[variable], self.kept))

    def _labels(self, expr: Any) -> Any:
        if isinstance(expr, relax.Tuple):
            return tuple(self._labels(part) for part in expr.fields)
        return (
            self.labelling.values.get(expr) if isinstance(expr, relax.Var | GenericConst) else None
        )

    def _argument(self, expr: Any) -> Any:
        if isinstance(expr, relax.Var):
            return self.new[expr]
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([self._argument(part) for part in expr.fields])
        if isinstance(expr, relax.TupleGetItem):
            return relax.TupleGetItem(self._argument(expr.tuple_value), expr.index)
        if isinstance(expr, GenericConst):
            return self._constant(expr)
        return expr

    def _constant(self, constant: Any) -> Any:
        labels: Any = self.labelling.values[constant]
        value = constant.value.numpy()
        return relax.const(self._slice(value, labels), constant.ty.dtype)

    def _slice(self, value: NDArray[Any], labels: Any) -> NDArray[Any]:
        for axis, axis_labels in enumerate(labels):
            value = np.compress(kept_positions(axis_labels, self.kept), value, axis=axis)
        return value

    def _attrs(self, function: Any, inputs: int) -> dict[str, Any]:
        attrs = {key: function.attrs[key] for key in function.attrs.keys()}  # noqa: SIM118
        if "params" in attrs:
            attrs["params"] = [
                tvm.runtime.tensor(self._slice(value.numpy(), self.labelling.values[parameter]))
                for parameter, value in zip(function.params[inputs:], attrs["params"], strict=True)
            ]
        return attrs
