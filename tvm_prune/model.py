"""A trained model as the rest of the program sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tvm import IRModule, relax

from tvm_prune.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and dtype of a model input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> TensorSpec:
        """What :meth:`to_json` wrote.

        Raises:
            KeyError: if the name, the shape or the dtype is missing.
        """
        return cls(entry["name"], tuple(entry["shape"]), entry["dtype"])

    def to_json(self) -> dict[str, Any]:
        """For manifests."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}

    def check(self, array: Array, leading: int | None = None) -> None:
        """Check one array, or a stack of `leading` samples, against this input.

        Raises:
            DataError: if shape or dtype differ.
        """
        shape = self.shape if leading is None else (leading, *self.shape[1:])
        if tuple(array.shape) != shape or str(array.dtype) != self.dtype:
            raise DataError(
                f"Input '{self.name}' is {array.dtype}{list(array.shape)}, but the model takes "
                f"{self.dtype}{list(shape)}."
            )


@dataclass(frozen=True)
class Model:
    """A Relax module, its named parameters and its signature.

    Attributes:
        name: short name for reports and file names.
        module: Relax module whose ``main`` takes the inputs first and then the parameters, as
            many inputs as its attribute ``num_input`` says.
        parameters: value of each parameter, by the name it has in the user's file.
        inputs: the model's inputs, in order.
        outputs: the model's outputs, in order.
    """

    name: str
    module: IRModule
    parameters: Mapping[str, Array]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def parameter_count(self) -> int:
        """Number of scalar weights."""
        return sum(value.size for value in self.parameters.values())

    def with_parameters(self, parameters: Mapping[str, Array]) -> Model:
        """The same model with other values of the same shapes."""
        return replace(self, parameters=dict(parameters))

    def bound(self) -> IRModule:
        """The module with its parameters as constants."""
        function = self.module["main"]
        names = [parameter.name for parameter in function.params[len(self.inputs) :]]
        values = {
            parameter: relax.const(self.parameters[name])
            for parameter, name in zip(function.params[len(self.inputs) :], names, strict=True)
        }
        return relax.transform.BindParams("main", values)(self.module)


def bound_inputs(
    inputs: tuple[TensorSpec, ...], arrays: Mapping[str, Array], *, batch: bool = False
) -> dict[str, Array]:
    """Pick and check the arrays for a model's inputs.

    Args:
        inputs: the model's inputs.
        arrays: arrays by name, as an npz file gives them; other names are ignored.
        batch: whether each array stacks many samples along its first axis.

    Raises:
        DataError: if an input is missing or does not fit, or a stack is smaller than one batch.
    """
    chosen = {}
    for spec in inputs:
        if spec.name not in arrays:
            raise DataError(
                f"Input '{spec.name}' is missing; the data holds {sorted(arrays)}. "
                f"Save the arrays under the model's input names."
            )
        array = np.asarray(arrays[spec.name])
        spec.check(array, leading=array.shape[0] if batch and array.ndim else None)
        chosen[spec.name] = array
    counts = {name: array.shape[0] for name, array in chosen.items()}
    if batch and len(set(counts.values())) > 1:
        raise DataError(f"The inputs hold different numbers of samples: {counts}.")
    if batch:
        split_batches(inputs, chosen)
    return chosen


def batch_size(specs: tuple[TensorSpec, ...]) -> int:
    """Samples that a model takes at once."""
    return specs[0].shape[0] if specs[0].shape else 1


def split_batches(
    specs: tuple[TensorSpec, ...], inputs: Mapping[str, Array]
) -> list[dict[str, Array]]:
    """Cut stacked samples into batches of the model's own batch size; a rest is left out.

    Raises:
        DataError: if there are fewer samples than one batch.
    """
    size = batch_size(specs)
    count = inputs[specs[0].name].shape[0]
    if count < size:
        raise DataError(f"The data holds {count} samples, but the model takes {size} at once.")
    return [
        {spec.name: np.ascontiguousarray(inputs[spec.name][start : start + size]) for spec in specs}
        for start in range(0, count - size + 1, size)
    ]


def specs_of(function: Any, names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
    """Specs of the first parameters of a Relax function."""
    return tuple(
        _spec(name, parameter.ty) for name, parameter in zip(names, function.params, strict=False)
    )


def output_specs(function: Any, names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
    """Specs of the results of a Relax function."""
    ty = function.ret_ty
    fields = ty.fields if isinstance(ty, relax.TupleType) else [ty]
    return tuple(_spec(name, field) for name, field in zip(names, fields, strict=True))


def _spec(name: str, ty: Any) -> TensorSpec:
    return TensorSpec(name, tuple(int(extent) for extent in ty.shape.values), str(ty.dtype))
