"""From units that are kept to a plan in terms of parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.channels.groups import Channels
from tvm_prune.errors import PlanError
from tvm_prune.plan import GroupWidth, PruningPlan

Scores = Sequence[NDArray[np.float64]]
"""Importance of every unit: one array of shape (width,) a group."""


def plan_for_units(
    channels: Channels, kept: Sequence[NDArray[np.bool_]], parameters: Mapping[str, NDArray[Any]]
) -> PruningPlan:
    """The plan that keeps the given units.

    Args:
        channels: the model's channels.
        kept: for every group, which of its units stay, shape (width,).
        parameters: the dense parameters, for their shapes.

    Raises:
        PlanError: if a group would lose all its units.
    """
    masks: dict[str, dict[int, NDArray[np.bool_]]] = {}
    for group, mask in zip(channels.groups, kept, strict=True):
        if not mask.any():
            raise PlanError(f"Group '{group.name}' would lose all of its {group.width} channels.")
        if mask.all():
            continue
        for entry in group.slices:
            extent = parameters[entry.parameter].shape[entry.axis]
            axes = masks.setdefault(entry.parameter, {})
            axis_mask = axes.setdefault(entry.axis, np.ones(extent, dtype=bool))
            axis_mask[entry.positions[~mask[entry.units]]] = False
    return PruningPlan(
        kept={
            name: {axis: tuple(np.flatnonzero(mask).tolist()) for axis, mask in axes.items()}
            for name, axes in masks.items()
        },
        shapes={name: tuple(parameters[name].shape) for name in masks},
        widths=tuple(
            GroupWidth(group.name, group.width, int(mask.sum()))
            for group, mask in zip(channels.groups, kept, strict=True)
        ),
        attention=channels.labelling.attention,
    )


def keep_best(scores: Scores, widths: Sequence[int]) -> list[NDArray[np.bool_]]:
    """Which units stay when every group keeps its `widths` most important ones."""
    kept = []
    for score, width in zip(scores, widths, strict=True):
        mask = np.zeros(score.size, dtype=bool)
        mask[np.argsort(-score, kind="stable")[:width]] = True
        kept.append(mask)
    return kept
