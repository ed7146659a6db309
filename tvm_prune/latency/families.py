"""Kernel families: each kernel of the model over all widths of its groups.

Every extent of a kernel is an affine function of the widths of a few groups. The functions are
found once, by lowering the model with one group narrowed at a time; from then on the extents of a
kernel at any widths, and the tile sizes a transferred schedule will use there, cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_prune.errors import TransferError, TuningError
from tvm_prune.tuning import (
    KernelCall,
    Workload,
    closest_tiling,
    default_schedule,
    knobs,
    tile_slots,
    transfer,
)

Widths = tuple[int, ...]
"""Width of every group of the model."""

Lowering = Callable[[Widths], Sequence[KernelCall]]
"""Kernel calls, in program order, of the model pruned to the given widths."""


@dataclass(frozen=True)
class Affine:
    """Extents as affine functions of group widths.

    Attributes:
        base: value of each extent at the dense widths, shape (extents,).
        slope: change of each extent per unit of each group, shape (extents, groups).
        dense: dense widths, shape (groups,).
    """

    base: NDArray[np.float64]
    slope: NDArray[np.float64]
    dense: NDArray[np.float64]

    def at(self, widths: NDArray[np.float64]) -> NDArray[np.int64]:
        """Extents at many widths: (n, groups) -> (n, extents)."""
        values = self.base + (widths - self.dense) @ self.slope.T
        return np.rint(values).astype(np.int64)


@dataclass(frozen=True)
class ScheduleSource:
    """Where the schedules of a family come from: the tuned trace of its dense kernel, if any."""

    key: str
    trace: Any | None

    def schedule(self, workload: Workload, target: Any) -> Any:
        """Schedule a workload of the family.

        A kernel that the trace cannot be applied to gets the default schedule.

        Raises:
            TuningError: if there is no valid schedule at all.
        """
        if self.trace is not None:
            try:
                return transfer(self.trace, workload, target)
            except TransferError:
                pass
        return default_schedule(workload, target)


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

    def tilings(self, extents: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tile sizes at many slot extents: (n, slots) -> (n, slots, 4), padded with ones in front.

        The same arithmetic that transfer uses, without applying the schedule.
        """
        result = np.ones((*extents.shape, 4), dtype=np.int64)
        for slot, factors in enumerate(self.factors):
            for extent in np.unique(extents[:, slot]).tolist():
                tiling = closest_tiling(extent, factors)
                result[extents[:, slot] == extent, slot, 4 - len(tiling) :] = tiling
        return result


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
    slots = _SlotReader(sources, target)
    members: dict[tuple[Any, ...], list[int]] = {}
    for position, call in enumerate(base_calls):
        signature = tuple(probes[group][position].workload.key for group in probes)
        members.setdefault((call.workload.key, *signature), []).append(position)
    return tuple(
        _family(positions, base_calls, probes, dense, slots) for positions in members.values()
    )


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


class _SlotReader:
    """Slot extents of a workload under the schedule of its family."""

    def __init__(self, sources: Callable[[Workload], ScheduleSource], target: Any) -> None:
        self._sources = sources
        self._target = target

    def source(self, dense: Workload) -> ScheduleSource:
        return self._sources(dense)

    def trace(self, source: ScheduleSource, workload: Workload) -> Any:
        return source.schedule(workload, self._target).trace


def _family(
    positions: list[int],
    base_calls: Sequence[KernelCall],
    probes: dict[int, Sequence[KernelCall]],
    dense: Widths,
    reader: _SlotReader,
) -> Family:
    workload = base_calls[positions[0]].workload
    source = reader.source(workload)
    narrowed = {
        group: calls[positions[0]].workload
        for group, calls in probes.items()
        if calls[positions[0]].workload.key != workload.key
    }
    groups = tuple(narrowed)
    steps = [dense[group] - dense[group] // 2 for group in groups]
    widths = np.array([dense[group] for group in groups], dtype=np.float64)
    trace = reader.trace(source, workload)
    slots = tile_slots(trace)
    traces = [reader.trace(source, other) for other in narrowed.values()]
    return Family(
        calls=tuple(positions),
        groups=groups,
        arguments=_fit(
            _extents(workload), [_extents(other) for other in narrowed.values()], steps, widths
        ),
        ranks=tuple(len(shape) for _, shape in workload.arguments),
        slots=_fit(
            [slot.extent for slot in slots],
            [[slot.extent for slot in tile_slots(other)] for other in traces],
            steps,
            widths,
        ),
        factors=tuple(slot.factors for slot in slots),
        knobs=knobs(trace),
        source=source,
        workload=workload,
    )


def _fit(
    base: list[int], probes: list[list[int]], steps: list[int], dense: NDArray[np.float64]
) -> Affine:
    """Affine functions through the dense extents and one probe a group."""
    start = np.array(base, dtype=np.float64)
    slope = np.zeros((start.size, len(steps)))
    for column, (probe, step) in enumerate(zip(probes, steps, strict=True)):
        if len(probe) == start.size:
            slope[:, column] = (start - np.array(probe, dtype=np.float64)) / step
    return Affine(start, slope, dense)
