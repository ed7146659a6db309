"""The pass that lets a dense model count only the channels a plan keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import IRModule, relax
from tvm.ir import GenericConst
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_prune.channels import Labelling, label
from tvm_prune.channels.ops import OPS
from tvm_prune.channels.rule import Rewrite
from tvm_prune.model import Array, Model
from tvm_prune.plan import PruningPlan
from tvm_prune.transform.prune_channels import kept_labels, mask_parameters


@tvm.transform.module_pass(opt_level=0, name="MaskStatistics")
class MaskStatistics:
    """Make statistics over channels ignore those that a plan removes; no shape changes.

    A layer norm of a pruned model averages over the channels that are left. In the dense model with
    removed slices set to zero (:func:`mask_parameters`) it would average over the zeros as well.
    After this pass it does not: the two models compute the same outputs.

    Raises:
        PlanError: if the plan does not fit the module.
    """

    def __init__(self, plan: PruningPlan) -> None:
        self.plan = plan

    def transform_module(self, module: IRModule, _context: Any) -> IRModule:
        """Return the module with masked statistics in ``main``."""
        labelling = label(module, attention=self.plan.attention)
        masker = _Masker(module, labelling, kept_labels(labelling, self.plan))
        result = module.clone()
        result["main"] = masker.visit_expr(module["main"])
        return result


def masked_model(
    model: Model, plan: PruningPlan, values: Mapping[str, Array] | None = None
) -> Model:
    """The dense model as a plan leaves it: what is removed is zero, and no statistic counts it.

    Args:
        model: the dense model.
        plan: what is kept.
        values: pruned parameter values to put into the kept slices in place of the dense ones.
    """
    module = tvm.transform.Sequential([MaskStatistics(plan)])(model.module)
    return replace(model, module=module, parameters=mask_parameters(model.parameters, plan, values))


@mutator
class _Masker(PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: IRModule, labelling: Labelling, kept: NDArray[np.bool_]) -> None:
        super().__init__(module)
        self.labelling = labelling
        self.kept = kept

    def visit_call_(self, call: Any) -> Any:
        rule = OPS.get(getattr(call.op, "name", ""))
        inputs = tuple(self._labels(argument) for argument in call.args)
        dense = self.visit_expr_post_order(call)
        if rule is None or rule.masked is None:
            return dense
        return rule.masked(Rewrite(dense, list(dense.args), inputs, None, self.kept))

    def _labels(self, expr: Any) -> Any:
        if isinstance(expr, relax.Tuple):
            return tuple(self._labels(part) for part in expr.fields)
        is_value = isinstance(expr, relax.Var | GenericConst)
        return self.labelling.values.get(expr) if is_value else None
