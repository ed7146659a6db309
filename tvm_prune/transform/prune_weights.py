"""The pass that sets small weights to zero; no shape changes.

Zeros make a model smaller once it is compressed. They do not make it faster: a CPU multiplies by
zero as slowly as by anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import IRModule, relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_prune.errors import PlanError
from tvm_prune.model import Array, Model

WeightKind = Literal["absolute", "relative", "percentile"]


@dataclass(frozen=True)
class WeightThreshold:
    """Which weights of a tensor are small (Han et al., "Learning both Weights and Connections for
    Efficient Neural Networks", 2015).

    Attributes:
        kind: ``absolute`` for the size itself, ``relative`` for a share of the tensor's largest
            weight, ``percentile`` for the share of its weights that goes, 0..100.
        value: weights below it become zero.
    """  # noqa: D205

    kind: WeightKind
    value: float

    def __post_init__(self) -> None:
        most = {"absolute": np.inf, "relative": 1.0, "percentile": 100.0}
        if self.kind not in most:
            raise PlanError(f"There is no threshold '{self.kind}'; known: {', '.join(most)}.")
        if not 0 <= self.value <= most[self.kind]:
            raise PlanError(
                f"The {self.kind} threshold is {self.value}, but it must be at least 0"
                + (f" and at most {most[self.kind]:g}." if np.isfinite(most[self.kind]) else ".")
            )

    def apply(self, weights: Array) -> Array:
        """The weights with the small ones at zero; ties at a percentile go in order."""
        sizes = np.abs(weights)
        if self.kind == "percentile":
            count = int(weights.size * self.value / 100)
            pruned = weights.copy().reshape(-1)
            pruned[np.argsort(sizes, axis=None, kind="stable")[:count]] = 0
            return pruned.reshape(weights.shape)
        bar = self.value * (sizes.max(initial=0.0) if self.kind == "relative" else 1.0)
        return np.where(sizes < bar, np.zeros_like(weights), weights)


@dataclass(frozen=True)
class PolynomialSchedule:
    """Percentiles that rise over the steps of a training, fast at first.

    Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model
    compression", 2017.

    Attributes:
        final: percentile at the last step.
        steps: number of steps.
        initial: percentile before the first one.
        power: degree of the polynomial.
    """

    final: float
    steps: int
    initial: float = 0.0
    power: float = 3.0

    def at(self, step: int) -> WeightThreshold:
        """The threshold after a step, 0..steps; from then on it stays."""
        left = 1.0 - min(max(step / max(1, self.steps), 0.0), 1.0)
        value = self.final + (self.initial - self.final) * left**self.power
        return WeightThreshold("percentile", value)


def is_weight(value: NDArray[Any]) -> bool:
    """Whether a tensor is a weight: floating-point, and no bias or normalisation."""
    return value.ndim >= 2 and value.dtype.kind == "f"


@tvm.transform.module_pass(opt_level=0, name="PruneWeights")
class PruneWeights:
    """Set small weights of a module to zero: those bound as constants and in its ``params``.

    Args:
        threshold: which weights are small, tensor by tensor.
    """

    def __init__(self, threshold: WeightThreshold) -> None:
        self.threshold = threshold

    def transform_module(self, module: IRModule, _context: Any) -> IRModule:
        """Return the module with small weights at zero in ``main``."""
        result = module.clone()
        function = _Zeroer(module, self.threshold).visit_expr(module["main"])
        if function.attrs is not None and "params" in function.attrs:
            values = [value.numpy() for value in function.attrs["params"]]
            zeroed = [tvm.runtime.tensor(_zeroed(value, self.threshold)) for value in values]
            function = function.with_attr("params", zeroed)
        result["main"] = function
        return result


def prune_weights(model: Model, threshold: WeightThreshold) -> Model:
    """A model whose small weights are zero."""
    values = {name: _zeroed(value, threshold) for name, value in model.parameters.items()}
    return model.with_parameters(values)


def _zeroed(value: Array, threshold: WeightThreshold) -> Array:
    return threshold.apply(value) if is_weight(value) else value


@mutator
class _Zeroer(PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: IRModule, threshold: WeightThreshold) -> None:
        super().__init__(module)
        self.threshold = threshold

    def visit_generic_const_(self, constant: Any) -> Any:
        value = constant.value.numpy()
        if not is_weight(value):
            return constant
        return relax.const(_zeroed(value, self.threshold), str(value.dtype))
