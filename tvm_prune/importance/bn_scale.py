"""Batch-norm scale: a channel that its normalisation scales down matters little.

Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", 2017. A group
without a batch norm is ranked by its L2 magnitude.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvm_prune.errors import PruneError
from tvm_prune.importance.context import Context
from tvm_prune.importance.magnitude import magnitude


def bn_scale(context: Context) -> list[NDArray[np.float64]]:
    """Sum of the absolute batch-norm scales of every unit, one array of shape (width,) a group.

    Raises:
        PruneError: if the model has no batch norm.
    """
    scales = {
        node.input[1] for node in context.onnx.graph.node if node.op_type == "BatchNormalization"
    }
    if not scales:
        raise PruneError(
            "The importance criterion 'bn_scale' needs batch norms, but the model has none (its "
            "exporter may have folded them into the convolutions); choose l2."
        )
    found = []
    for group in context.channels.groups:
        score = np.zeros(group.width)
        own = [entry for entry in group.slices if entry.parameter in scales]
        for entry in own:
            values = np.abs(context.parameters[entry.parameter].astype(np.float64))
            np.add.at(score, entry.units, values[entry.positions])
        found.append(score if own else magnitude(group, context.parameters, 2))
    return found
