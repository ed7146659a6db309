"""Groups: channels that are pruned as one choice, and the slices each unit removes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from tvm import IRModule

from tvm_prune.channels.labelling import Labelling, label
from tvm_prune.channels.labels import FROZEN, KERNEL_WINDOW
from tvm_prune.channels.rule import AttentionUnit


@dataclass(frozen=True)
class ParameterSlice:
    """The positions of one parameter axis that belong to a group.

    Attributes:
        parameter: name of the parameter.
        axis: the axis that loses positions.
        positions: indices along the axis, shape (n,).
        units: the unit each position belongs to, shape (n,).
    """

    parameter: str
    axis: int
    positions: NDArray[np.int64]
    units: NDArray[np.int64]


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that are pruned as one choice.

    Attributes:
        index: position in the model's list of groups.
        name: the parameter axis that gives the group its channels.
        units: classes of labels that live or die together, shape (width,), ascending.
        slices: what a unit takes out of each parameter.
    """

    index: int
    name: str
    units: NDArray[np.int64]
    slices: tuple[ParameterSlice, ...]

    @property
    def width(self) -> int:
        """Number of units of the dense model."""
        return int(self.units.size)


@dataclass(frozen=True)
class FrozenAxis:
    """A parameter axis that cannot be pruned, and the first reason found."""

    parameter: str
    axis: int
    extent: int
    reason: str


@dataclass(frozen=True)
class Channels:
    """Everything there is to know about the channels of a model."""

    labelling: Labelling
    groups: tuple[ChannelGroup, ...]
    frozen: tuple[FrozenAxis, ...]

    @cached_property
    def class_of(self) -> NDArray[np.int64]:
        """Class of every label; class ``class_of[FROZEN]`` stays."""
        return self.labelling.space.classes()

    @property
    def unit_count(self) -> int:
        """Number of units over all groups."""
        return sum(group.width for group in self.groups)


def find_channels(
    module: IRModule,
    function_name: str = "main",
    attention: AttentionUnit = "dims",
    keep: Sequence[str] = (),
) -> Channels:
    """Label a Relax function and collect its groups.

    Args:
        module: a Relax module with static shapes, weights as parameters after ``num_input``.
        function_name: the function to analyse.
        attention: what attention layers lose: dimensions of every head, or whole heads.
        keep: parameters or layers that lose nothing, by name or glob.

    Raises:
        PruneError: if a name in `keep` matches nothing.
    """
    labelling = label(module, function_name, attention, keep)
    class_of = labelling.space.classes()
    units = _units(_prunable_classes(labelling, class_of), _signatures(labelling, class_of))
    slices = _slices(labelling, class_of, units)
    groups = tuple(
        ChannelGroup(index, _source(slices[index]), units[index], tuple(slices[index]))
        for index in range(len(units))
    )
    return Channels(labelling, groups, _frozen_axes(labelling, class_of))


def _source(slices: list[ParameterSlice]) -> str:
    """The parameter that gives a group its channels: the first one that loses rows."""
    return next((entry for entry in slices if entry.axis == 0), slices[0]).parameter


def _prunable_classes(labelling: Labelling, class_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """Classes in the order in which the parameters name them first."""
    labels = np.concatenate(
        [axis for tensor in labelling.parameters.values() for axis in tensor]
        or [np.empty(0, dtype=np.int64)]
    )
    classes = class_of[labels[labels > FROZEN]]
    classes = classes[classes != class_of[FROZEN]]
    _, first = np.unique(classes, return_index=True)
    in_order: NDArray[np.int64] = classes[np.sort(first)]
    return in_order


def _signatures(labelling: Labelling, class_of: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A hash of where each class occurs, shape (classes,).

    Classes with the same signature take equally many positions out of every axis of the model,
    so that every extent is a sum of group widths.
    """
    generator = np.random.default_rng(0)
    signature = np.zeros(int(class_of.max()) + 1, dtype=np.uint64)
    for axis in labelling.axes():
        factor = generator.integers(1, 2**63, dtype=np.uint64)
        np.add.at(signature, class_of[axis[axis > FROZEN]], factor)
    return signature


def _units(classes: NDArray[np.int64], signature: NDArray[np.uint64]) -> list[NDArray[np.int64]]:
    """Classes with the same signature, in the order in which they come."""
    _, first, member_of = np.unique(signature[classes], return_index=True, return_inverse=True)
    in_order = np.argsort(first[member_of], kind="stable")
    bounds = np.flatnonzero(np.diff(first[member_of][in_order])) + 1
    return [part for part in np.split(classes[in_order], bounds) if part.size]


def _slices(
    labelling: Labelling, class_of: NDArray[np.int64], units: list[NDArray[np.int64]]
) -> list[list[ParameterSlice]]:
    """What each group takes out of each parameter axis."""
    group_of = np.full(int(class_of.max()) + 1, -1, dtype=np.int64)
    unit_of = np.zeros_like(group_of)
    for group, classes in enumerate(units):
        group_of[classes] = group
        unit_of[classes] = np.arange(classes.size)
    found: list[list[ParameterSlice]] = [[] for _ in units]
    for name, tensor in labelling.parameters.items():
        for axis, labels in enumerate(tensor):
            classes = class_of[np.maximum(labels, FROZEN)]
            owner = np.where(labels > FROZEN, group_of[classes], -1)
            for group in np.unique(owner[owner >= 0]).tolist():
                positions = np.flatnonzero(owner == group)
                found[group].append(
                    ParameterSlice(name, axis, positions, unit_of[classes[positions]])
                )
    return found


def _frozen_axes(labelling: Labelling, class_of: NDArray[np.int64]) -> tuple[FrozenAxis, ...]:
    """Frozen parameter axes, each with the first reason that reaches it through ties."""
    component = labelling.space.components()
    freezes = labelling.space.freezes
    first = np.zeros(component.size, dtype=np.int64)
    for index, entry in reversed(list(enumerate(freezes))):
        first[component[entry.labels]] = index
    found = []
    for name, tensor in labelling.parameters.items():
        for axis, labels in enumerate(tensor):
            frozen = labels[(labels > FROZEN) & (class_of[labels] == class_of[FROZEN])]
            if not frozen.size:
                continue
            reason = freezes[first[component[frozen[0]]]].reason
            if reason != KERNEL_WINDOW:
                found.append(FrozenAxis(name, axis, int(labels.size), reason))
    return tuple(found)
