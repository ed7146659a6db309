"""From a model with parameters to what is compiled: constants bound, batch norms folded."""

from __future__ import annotations

import tvm
from tvm import IRModule, relax

from tvm_prune.model import Model
from tvm_prune.transform.fold_constants import FoldConstants


def inference_form(model: Model) -> IRModule:
    """Bind a model's parameters and fold everything that does not depend on its inputs.

    Batch norms are folded into the convolutions before them (TVM's ``FoldBatchnormToConv2D``);
    those that remain become a multiplication and an addition.
    """
    passes = tvm.transform.Sequential(
        [
            relax.transform.CanonicalizeBindings(),
            relax.transform.FoldBatchnormToConv2D(),
            relax.transform.DecomposeOpsForInference(),
            FoldConstants(),
        ]
    )
    return passes(model.bound())
