"""First-order Taylor: how much the loss changes, to first order, when a unit goes.

Molchanov et al., "Importance Estimation for Neural Network Pruning", 2019: the squared sum of
gradient times weight, averaged over samples. The sum runs over the weights that read the unit,
where it equals activation times gradient; over those that make it, it is zero before a
batch norm, which takes the scale out again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvm_prune.channels import ChannelGroup, ParameterSlice
from tvm_prune.importance.context import Context
from tvm_prune.importance.gradients import gradients
from tvm_prune.model import Array


def taylor(context: Context) -> list[NDArray[np.float64]]:
    """Expected squared change of the loss, one array of shape (width,) a group.

    Raises:
        PruneError: if there are no samples or no gradients.
    """
    groups = context.channels.groups
    slices = [_slices(context, group) for group in groups]
    scores = [np.zeros(group.width) for group in groups]
    for gradient in gradients(context):
        products = {
            name: gradient[name] * context.parameters[name]
            for name in {entry.parameter for own in slices for entry in own} & set(gradient)
        }
        for group, own, score in zip(groups, slices, scores, strict=True):
            change = np.zeros(group.width)
            for entry in own:
                if entry.parameter in products:
                    add_slice(change, entry, products[entry.parameter])
            score += change**2
    return scores


def _slices(context: Context, group: ChannelGroup) -> list[ParameterSlice]:
    readers = {entry.layer.weight: entry.layer for entry in context.consumers[group.index]}
    reading = [
        entry
        for entry in group.slices
        if entry.parameter in readers and entry.axis == readers[entry.parameter].axes[1]
    ]
    weights = [e for e in group.slices if context.parameters[e.parameter].ndim >= 2]
    return reading or weights or list(group.slices)


def add_slice(total: NDArray[np.float64], entry: ParameterSlice, values: Array) -> None:
    """Add up a parameter's values by the unit that they belong to."""
    others = tuple(axis for axis in range(values.ndim) if axis != entry.axis)
    np.add.at(total, entry.units, values.sum(axis=others, dtype=np.float64)[entry.positions])
