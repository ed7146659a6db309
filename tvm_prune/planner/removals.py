"""Whole layers as a choice of the planner: the groups inside of them may have the width zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm_prune.planner.program import Expression, Program


@dataclass(frozen=True)
class Removal:
    """Layers that can go altogether.

    Attributes:
        groups: groups whose channels only these layers compute and read.
        loss: how much the output moves without the layers, in the unit of sensitivity curves.
    """

    groups: tuple[int, ...]
    loss: float


def restrain(program: Program, removals: Sequence[Removal], most: int) -> None:
    """Let layers go as a whole or not at all, and only so many of them."""
    if not removals:
        return
    gone = Expression()
    for removal in removals:
        gone.add(program.together(removal.groups, 0))
    program.limit(gone, most)
