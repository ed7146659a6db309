"""Every position of every parameter has exactly one fate."""

from __future__ import annotations

import numpy as np

from tvm_prune.channels import Channels
from tvm_prune.channels.labels import FROZEN


def assert_every_axis_accounted_for(channels: Channels) -> None:
    """No position of a parameter is forgotten, and none belongs to two groups."""
    labelling = channels.labelling
    frozen = {(entry.parameter, entry.axis) for entry in channels.frozen}
    for name, tensor in labelling.parameters.items():
        for axis, labels in enumerate(tensor):
            owners = np.zeros(labels.size, dtype=int)
            for group in channels.groups:
                for part in group.slices:
                    if (part.parameter, part.axis) == (name, axis):
                        owners[part.positions] += 1
            assert owners.max() <= 1, f"{name} axis {axis} belongs to two groups"
            stays = channels.class_of[np.maximum(labels, FROZEN)] == channels.class_of[FROZEN]
            np.testing.assert_array_equal(owners == 0, stays)
            is_window = len(tensor) > 2 and axis >= 2
            if stays.any() and labels.size > 1 and not is_window:
                assert (name, axis) in frozen, f"{name} axis {axis} is frozen without a reason"
