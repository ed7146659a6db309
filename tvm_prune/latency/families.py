"""Kernel families: each kernel of the model over all widths of its groups.

Every extent of a kernel is an affine function of the widths of a few groups. The functions are
found once, by lowering the model with one group narrowed at a time; from then on the extents of a
kernel at any widths, and the tile sizes a transferred schedule will use there, cost nothing, and
the kernel itself a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.errors import TuningError
from tvm_prune.latency.affine import Affine, fit_affine
from tvm_prune.latency.templates import (
    KernelTemplate,
    LoweredKernel,
    Lowering,
    Widths,
    kernel_template,
)
from tvm_prune.tuning import (
    KernelCall,
    ScheduleSource,
    Workload,
    closest_tiling,
    knobs,
    tile_slots,
)


@dataclass(frozen=True)
class Family:
    """One kernel of the model at all widths.

    Attributes:
        calls: positions of its calls in the program; they share every property below.
        groups: indices of the groups its extents depend on.
        arguments: extents of its arguments, flattened, over `groups`.
        ranks: number of axes of each argument.
        slots: extents of the loops that its schedule tiles, over `groups`.
        factors: tile sizes of the dense kernel's schedule, one tuple a slot.
        knobs: the schedule's other decisions.
        source: where its schedules come from.
        workload: the dense kernel.
        kernel: the kernel at any widths.
    """

    calls: tuple[int, ...]
    groups: tuple[int, ...]
    arguments: Affine
    ranks: tuple[int, ...]
    slots: Affine
    factors: tuple[tuple[int, ...], ...]
    knobs: tuple[int, ...]
    source: ScheduleSource
    workload: Workload
    kernel: KernelTemplate | LoweredKernel

    @property
    def widths(self) -> tuple[int, ...]:
        """Dense widths of the family's own groups."""
        return tuple(int(width) for width in self.arguments.dense.tolist())

    def workload_at(self, widths: tuple[int, ...]) -> Workload:
        """The kernel at some widths of the family's own groups."""
        return self.workload if widths == self.widths else self.kernel.at(widths)

    def tilings(self, extents: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tile sizes at many slot extents: (n, slots) -> (n, slots, 4), padded with ones in front.

        The same arithmetic that transfer uses, without applying the schedule.
        """
        result = np.ones((*extents.shape, 4), dtype=np.int64)
        for slot, factors in enumerate(self.factors):
            for extent in np.unique(extents[:, slot]).tolist():
                tiling = _tiling(extent, factors)
                result[extents[:, slot] == extent, slot, 4 - len(tiling) :] = tiling
        return result


@lru_cache(maxsize=1 << 16)
def _tiling(extent: int, factors: tuple[int, ...]) -> tuple[int, ...]:
    """Remembered, because planning asks for the same extents after every fit."""
    return closest_tiling(extent, factors)


def find_families(
    lowering: Lowering, dense: Widths, sources: Callable[[Workload], ScheduleSource], target: Any
) -> tuple[Family, ...]:
    """Find the families of a model.

    Args:
        lowering: gives the kernel calls at any widths.
        dense: dense width of every group.
        sources: the schedule source of a dense workload.
        target: what kernels are scheduled for.

    Raises:
        TuningError: if narrowing a group changes the number of kernels.
    """
    base_calls = lowering(dense)
    probes = {group: _probe(lowering, dense, group, len(base_calls)) for group in _wide(dense)}
    members: dict[tuple[Any, ...], list[int]] = {}
    for position, call in enumerate(base_calls):
        signature = tuple(probes[group][position].workload.key for group in probes)
        members.setdefault((call.workload.key, *signature), []).append(position)
    found = [
        _family(positions, base_calls, probes, dense, sources, target, lowering)
        for positions in members.values()
    ]
    return _checked(found, lowering, dense)


def _checked(found: Sequence[Family], lowering: Lowering, dense: Widths) -> tuple[Family, ...]:
    """The families; one whose template is wrong where all widths are random has none."""
    generator = np.random.default_rng(0)
    widths = tuple(int(generator.integers(2, width)) if width > 2 else width for width in dense)
    calls = lowering(widths)
    return tuple(
        family if _is_right(family, calls, widths) else replace(family, kernel=_lowered(family))
        for family in found
    )


def _is_right(family: Family, calls: Sequence[KernelCall], widths: Widths) -> bool:
    if not isinstance(family.kernel, KernelTemplate):
        return True
    try:
        filled = family.kernel.filled(tuple(widths[group] for group in family.groups))
    except Exception:  # what TVM raises when it reads an impossible kernel has many types
        return False
    return filled == calls[family.calls[0]].workload


def _lowered(family: Family) -> LoweredKernel:
    kernel = family.kernel
    return kernel.lowered if isinstance(kernel, KernelTemplate) else kernel


def _wide(dense: Widths) -> list[int]:
    return [group for group, width in enumerate(dense) if width > 1]


def _probe(lowering: Lowering, dense: Widths, group: int, count: int) -> Sequence[KernelCall]:
    widths = (*dense[:group], dense[group] // 2, *dense[group + 1 :])
    calls = lowering(widths)
    if len(calls) != count:
        raise TuningError(
            f"Pruning group {group} changes the number of kernels from {count} to {len(calls)}."
        )
    return calls


def _extents(workload: Workload) -> list[int]:
    return [extent for _, shape in workload.arguments for extent in shape]


def _family(
    positions: list[int],
    base_calls: Sequence[KernelCall],
    probes: dict[int, Sequence[KernelCall]],
    dense: Widths,
    sources: Callable[[Workload], ScheduleSource],
    target: Any,
    lowering: Lowering,
) -> Family:
    workload = base_calls[positions[0]].workload
    source = sources(workload)
    narrowed = {
        group: calls[positions[0]].workload
        for group, calls in probes.items()
        if calls[positions[0]].workload.key != workload.key
    }
    groups = tuple(narrowed)
    steps = [dense[group] - dense[group] // 2 for group in groups]
    widths = np.array([dense[group] for group in groups], dtype=np.float64)
    trace = source.plain(workload, target).trace
    slots = tile_slots(trace)
    traces = [source.plain(other, target).trace for other in narrowed.values()]
    lowered = LoweredKernel(lowering, dense, groups, positions[0])
    return Family(
        calls=tuple(positions),
        groups=groups,
        arguments=fit_affine(
            _extents(workload), [_extents(other) for other in narrowed.values()], steps, widths
        ),
        ranks=tuple(len(shape) for _, shape in workload.arguments),
        slots=fit_affine(
            [slot.extent for slot in slots],
            [[slot.extent for slot in tile_slots(other)] for other in traces],
            steps,
            widths,
        ),
        factors=tuple(slot.factors for slot in slots),
        knobs=knobs(trace),
        source=source,
        workload=workload,
        kernel=kernel_template(workload, narrowed, dense, lowered) or lowered,
    )
