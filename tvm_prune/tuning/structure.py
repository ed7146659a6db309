"""What two kernels must share for a schedule of one to apply to the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from tvm_prune.tuning.kernels import Workload
from tvm_prune.tuning.padding import Nest, nests

_REDUCTION = 2
"""TVM's code of an axis that is summed over."""


@dataclass(frozen=True)
class Structure:
    """A kernel without its extents: the operator, its epilogue, and the layouts of both.

    Attributes:
        blocks: name and axes (``S`` spatial, ``R`` reduction) of every block, in program order.
        extents: extents of the loops of every block, in the same order.
    """

    blocks: tuple[tuple[str, str], ...]
    extents: tuple[tuple[int, ...], ...]

    @cached_property
    def core(self) -> int | None:
        """Position of the block that does most of the work; None where nothing is reduced."""
        reductions = [index for index, (_, axes) in enumerate(self.blocks) if "R" in axes]
        return max(reductions, key=lambda index: math.prod(self.extents[index]), default=None)

    def is_like(self, other: Structure) -> bool:
        """Whether a trace of one applies to the other."""
        return self.blocks == other.blocks

    def has_core_of(self, other: Structure) -> bool:
        """Whether both do the same work, followed by whatever epilogues."""
        if self.core is None or other.core is None:
            return False
        return self.blocks[self.core] == other.blocks[other.core]

    def distance(self, other: Structure) -> float:
        """How far the extents of two kernels with the same core are apart.

        Sum of the absolute logarithms of the ratios of the core's extents. Windows (loops that
        are reduced over and hardly ever pruned) weigh more: their tilings carry over least.
        """
        assert self.core is not None
        assert other.core is not None
        axes = self.blocks[self.core][1]
        pairs = zip(axes, self.extents[self.core], other.extents[other.core], strict=True)
        return sum(
            abs(math.log(left / right)) * (3.0 if axis == "R" and min(left, right) < 8 else 1.0)
            for axis, left, right in pairs
        )


def structure_of(workload: Workload) -> Structure:
    """The structure of an unscheduled kernel."""
    found = list(nests(workload))
    return Structure(
        tuple((nest.block.name_hint, _axes(nest)) for nest in found),
        tuple(tuple(int(axis.dom.extent) for axis in nest.block.iter_vars) for nest in found),
    )


def _axes(nest: Nest) -> str:
    return "".join("R" if int(a.iter_type) == _REDUCTION else "S" for a in nest.block.iter_vars)
