"""What units do on calibration data: how often they fire, and how strongly.

Activation frequency is one minus APoZ, the average percentage of zeros (Hu et al., "Network
Trimming: A Data-Driven Neuron Pruning Approach", 2016); mean activation is a criterion of Molchanov
et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference", 2017. Activations
are looked at where the next layer reads them. A group that no ungrouped convolution or dense
layer reads is ranked by its L2 magnitude.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tvm_prune.importance.context import Context, channels_last, unit_sums
from tvm_prune.importance.magnitude import magnitude
from tvm_prune.model import Array


def apoz(context: Context) -> list[NDArray[np.float64]]:
    """Share of activations above zero, one array of shape (width,) a group."""
    return _averages(context, lambda rows: (rows > 0).sum(axis=0))


def mean_activation(context: Context) -> list[NDArray[np.float64]]:
    """Mean absolute activation, one array of shape (width,) a group."""
    return _averages(context, lambda rows: np.abs(rows).sum(axis=0, dtype=np.float64))


def _averages(
    context: Context, total: Callable[[Array], NDArray[np.float64]]
) -> list[NDArray[np.float64]]:
    """Sums over positions, divided by their number and by the group's number of readers."""
    groups = context.channels.groups
    scores = [np.zeros(group.width) for group in groups]
    for batch in context.inputs_of(context.consumers):
        for group, consumers, score in zip(groups, context.consumers, scores, strict=True):
            for consumer in consumers:
                rows = channels_last(consumer.layer, batch[consumer.layer.data])
                score += unit_sums(consumer, total(rows) / len(rows), group.width)
    return [
        score if consumers else magnitude(group, context.parameters, 2)
        for group, consumers, score in zip(groups, context.consumers, scores, strict=True)
    ]
