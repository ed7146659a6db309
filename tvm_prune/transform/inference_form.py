"""From a model with parameters to what is compiled: constants bound, batch norms folded."""

from __future__ import annotations

import tvm
from tvm import IRModule, relax

from tvm_prune.model import Model
from tvm_prune.transform.flatten_concats import FlattenConcats
from tvm_prune.transform.fold_affine import FoldAffine
from tvm_prune.transform.fold_constants import FoldConstants


def inference_form(model: Model) -> IRModule:
    """Bind a model's parameters and fold everything that does not depend on its inputs.

    Batch norms, and whatever else scales or shifts channels by constants, are folded into the
    convolution or dense layer before them; those that remain become element-wise operations.
    Concatenations of concatenations become one.
    """
    passes = tvm.transform.Sequential(
        [
            relax.transform.CanonicalizeBindings(),
            relax.transform.FoldBatchnormToConv2D(),
            relax.transform.DecomposeOpsForInference(),
            FoldConstants(),
            FoldAffine(),
            FlattenConcats(),
        ]
    )
    return passes(model.bound())
