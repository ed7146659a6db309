"""Labels: the identity of every channel position, and which labels live or die together.

A label is an integer. Every axis of every tensor carries one array of labels, one entry per
position. Two values are special:

* ``FROZEN``: the position must stay; whatever is tied to it stays too.
* ``NEUTRAL``: an axis of extent 1, which broadcasting may stretch; it ties nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

FROZEN = 0
NEUTRAL = -1

KERNEL_WINDOW = "is a kernel window"
"""Reason for freezing the spatial axes of a weight: true of every convolution, so never news."""

AxisLabels = NDArray[np.int64]
"""Labels of one axis, shape (extent,)."""

TensorLabels = tuple[AxisLabels, ...]
"""Labels of a tensor, one array an axis."""


def frozen_axis(extent: int) -> AxisLabels:
    """Labels of an axis that is never pruned."""
    return np.full(extent, NEUTRAL if extent == 1 else FROZEN, dtype=np.int64)


def is_prunable(axis: AxisLabels) -> bool:
    """Whether any position of the axis carries a label of its own."""
    return bool((axis > FROZEN).any())


def kept_positions(axis: AxisLabels, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which positions of an axis stay, shape (extent,), given which labels do."""
    mask: NDArray[np.bool_] = (axis <= FROZEN) | kept[np.maximum(axis, FROZEN)]
    return mask


@dataclass(frozen=True)
class Freeze:
    """A decision that some labels must stay, and why."""

    labels: AxisLabels
    reason: str


@dataclass
class LabelSpace:
    """Hands out labels and collects the ties between them."""

    next_label: int = FROZEN + 1
    ties: list[tuple[AxisLabels, AxisLabels]] = field(default_factory=list)
    freezes: list[Freeze] = field(default_factory=list)
    stretched: set[int] = field(default_factory=set)
    _kept: NDArray[np.bool_] = field(
        default_factory=lambda: np.zeros(1024, dtype=bool), init=False, repr=False
    )

    def fresh_axis(self, extent: int) -> AxisLabels:
        """New labels for an axis, or the neutral label where the extent is 1."""
        if extent == 1:
            return frozen_axis(1)
        labels = np.arange(self.next_label, self.next_label + extent, dtype=np.int64)
        self.next_label += extent
        return labels

    def stretched_axis(self, extent: int) -> AxisLabels:
        """New labels for an axis that repeats one position: no weight stands behind them."""
        labels = self.fresh_axis(extent)
        self.stretched.add(int(labels[0]))
        return labels

    def is_stretched(self, axis: AxisLabels) -> bool:
        """Whether an axis has the labels that :meth:`stretched_axis` gave out."""
        return int(axis[0]) > FROZEN and int(axis[0]) in self.stretched

    def is_free(self, axis: AxisLabels) -> bool:
        """Whether some position of an axis may go, as far as is known by now."""
        labels = axis[axis > FROZEN]
        return bool(labels.size) and not self._kept_by(labels).all()

    def _kept_by(self, labels: AxisLabels) -> NDArray[np.bool_]:
        """Whether a freeze named each label; grows with the labels that are given out."""
        if self.next_label > self._kept.size:
            self._kept = np.concatenate(
                [self._kept, np.zeros(2 * self.next_label - self._kept.size, dtype=bool)]
            )
        return self._kept[labels]

    def tie(self, left: AxisLabels, right: AxisLabels, reason: str) -> None:
        """Make labels at equal positions live or die together.

        `reason` names what froze the other side where one side is frozen.
        """
        if left is right:
            return
        if min(left.min(initial=1), right.min(initial=1)) <= FROZEN:
            comparable = (left != NEUTRAL) & (right != NEUTRAL) & (left != right)
            left, right = left[comparable], right[comparable]
            free = (left != FROZEN) & (right != FROZEN)
            self.freeze(np.maximum(left, right)[~free], reason)
            left, right = left[free], right[free]
        if left.size:
            self.ties.append((left, right))

    def freeze(self, labels: AxisLabels, reason: str) -> None:
        """Keep these labels whatever the plan; `reason` is shown to the user."""
        labels = labels[labels > FROZEN]
        if labels.size and not self._kept_by(labels).all():
            self._kept[labels] = True
            self.freezes.append(Freeze(labels, reason))

    def freeze_tensor(self, tensor: Sequence[AxisLabels], reason: str) -> None:
        """Freeze every axis of a tensor."""
        for axis in tensor:
            self.freeze(axis, reason)

    def components(self) -> NDArray[np.int64]:
        """What the ties alone connect: component of every label, shape (next_label,)."""
        if not self.ties:
            return np.arange(self.next_label, dtype=np.int64)
        rows = np.concatenate([left for left, _ in self.ties])
        columns = np.concatenate([right for _, right in self.ties])
        graph = coo_array(
            (np.ones(rows.size, dtype=np.int8), (rows, columns)),
            shape=(self.next_label, self.next_label),
        )
        return connected_components(graph, directed=False)[1].astype(np.int64)

    def classes(self) -> NDArray[np.int64]:
        """Class of every label, shape (next_label,): components, the frozen ones made one."""
        component = self.components()
        frozen = np.zeros(self.next_label, dtype=bool)
        frozen[component[FROZEN]] = True
        for entry in self.freezes:
            frozen[component[entry.labels]] = True
        return np.where(frozen[component], component[FROZEN], component)
