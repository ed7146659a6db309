"""Gradients through Relax's own ``Gradient`` pass, on this machine and without schedules."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import tvm
from tvm import relax

from tvm_prune.errors import PruneError
from tvm_prune.model import Array, Model, TensorSpec

LOSS = "weighted_sum"


class RelaxGradients:
    """Differentiates a model with one output.

    Args:
        model: the model.
        names: parameters whose gradients are wanted.

    Raises:
        PruneError: if the pass does not cover the model.
    """

    def __init__(self, model: Model, names: Collection[str]) -> None:
        if len(model.outputs) != 1:
            raise PruneError("Relax's Gradient pass takes models with one output.")
        self._model = model
        try:
            module = tvm.transform.Sequential(
                [
                    relax.transform.DecomposeOpsForInference(),
                    relax.transform.CanonicalizeBindings(),
                    relax.training.utils.AppendLoss(
                        "main", _weighted_sum(model.outputs[0]), new_func_name=LOSS
                    ),
                ]
            )(model.module)
            parameters = module[LOSS].params
            wanted = [parameter for parameter in parameters if parameter.name in set(names)]
            adjoint = relax.transform.Gradient(LOSS, wanted)(module)[f"{LOSS}_adjoint"]
            adjoint = adjoint.with_attr("global_symbol", "main")
            executable = tvm.compile(tvm.IRModule({"main": adjoint}), "llvm")
        except Exception as error:  # the pass raises many types for what it does not know
            line = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
            raise PruneError(f"Relax's Gradient pass does not cover the model: {line}") from error
        self._names = [parameter.name for parameter in wanted]
        self._parameters = [
            tvm.runtime.tensor(model.parameters[parameter.name])
            for parameter in parameters[len(model.inputs) : -1]
        ]
        self._machine = relax.VirtualMachine(executable, tvm.cpu())

    def __call__(self, batch: Mapping[str, Array], seeds: list[Array]) -> dict[str, Array]:
        """Gradients, by parameter name, of the output's sum weighted by a seed.

        Args:
            batch: inputs by name.
            seeds: weights of the output, of its shape.
        """
        inputs = [tvm.runtime.tensor(batch[spec.name]) for spec in self._model.inputs]
        seed = tvm.runtime.tensor(seeds[0])
        found = self._machine["main"](*inputs, *self._parameters, seed)
        return {name: grad.numpy() for name, grad in zip(self._names, found[1], strict=True)}


def _weighted_sum(output: TensorSpec) -> Any:
    """A function of an output and its weights."""
    ty = relax.TensorType(list(output.shape), output.dtype)
    value, seed = relax.Var("value", ty), relax.Var("seed", ty)
    builder = relax.BlockBuilder()
    with builder.function(LOSS, [value, seed]):
        with builder.dataflow():
            products = builder.emit(relax.op.multiply(value, seed))
            total = builder.emit_output(relax.op.sum(products))
        builder.emit_func_output(total)
    return builder.get()[LOSS]
