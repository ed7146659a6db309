"""Flash and RAM of a microcontroller as functions of the groups' widths.

The memory of the dense firmware is read off the linked program. What changes with the widths is
known exactly: every extent of a weight is affine in them, and so is what is alive in the arena at
every kernel call with the smallest schedules. One lowering of the model a group tells the slopes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tvm_prune.compilation import ChooseSchedules, Compilation
from tvm_prune.latency import Family, Widths
from tvm_prune.mcu.footprint import Weight, live_bytes, weight_uses
from tvm_prune.mcu.pad_choice import smallest_schedules
from tvm_prune.mcu.program import read_program
from tvm_prune.planner import Ceiling, Count
from tvm_prune.planner.counts import Extent, Product
from tvm_prune.transform import inference_form
from tvm_prune.tuning import lower


@dataclass(frozen=True)
class MemoryCounts:
    """Memory of a model's firmware at any widths, in bytes.

    Attributes:
        flash: weights, code and constants.
        least_ram: what is needed at each kernel call, where all padding is folded into the
            convolutions, which costs time; the largest is what the board must have.
        beside_arena: bytes of RAM that are no part of the arena, at any widths.
    """

    flash: Count
    least_ram: tuple[Count, ...]
    beside_arena: int

    def at(self, widths: Widths) -> dict[str, int]:
        """Bytes of flash, and of RAM where there is no room for faster kernels."""
        return {
            "flash": self.flash.at(widths),
            "ram": max(call.at(widths) for call in self.least_ram),
        }

    def room(self, ram: float) -> int:
        """Bytes that the arena may take of so much RAM."""
        return int(ram) - self.beside_arena

    def ceilings(self, bounds: Mapping[str, float]) -> list[Ceiling]:
        """What the planner has to stay below.

        A firmware within a bound of RAM has smaller kernels where there is no room for fast ones.

        Args:
            bounds: bytes, by ``flash`` and ``ram``; others are ignored.
        """
        found = []
        if "flash" in bounds:
            found.append(Ceiling("flash", self.flash, bounds["flash"]))
        if "ram" in bounds:
            found += [
                Ceiling("ram", count, bounds["ram"]) for count in _undominated(self.least_ram)
            ]
        return found


def memory_counts(
    compilation: Compilation,
    families: Sequence[Family],
    measured: Mapping[str, float],
    choose: ChooseSchedules,
) -> MemoryCounts:
    """Find out how memory depends on the widths.

    Args:
        compilation: the model at any widths.
        families: its kernels, and where their schedules come from.
        measured: bytes of ``flash`` and ``ram`` of the dense firmware.
        choose: gives the schedules that the dense firmware was built with.
    """
    dense = compilation.dense
    base = _Sizes.of(compilation, dense)
    probes: dict[int, tuple[int, _Sizes]] = {}
    for group, width in enumerate(dense):
        if width > 1:
            less = (*dense[:group], width // 2, *dense[group + 1 :])
            probes[group] = (width - width // 2, _Sizes.of(compilation, less))
    weights = []
    for index, weight in enumerate(base.weights):
        if weight.owner != index:
            continue
        extents = [
            _extent(
                extent,
                dense,
                {g: (extent - p.weights[index].shape[axis], s) for g, (s, p) in probes.items()},
            )
            for axis, extent in enumerate(weight.shape)
        ]
        fixed = weight.itemsize * math.prod(extent.base for extent in extents if not extent.slopes)
        weights.append(Product(fixed, tuple(extent for extent in extents if extent.slopes)))
    flash = measured["flash"] - Count(tuple(weights)).at(dense)
    lowered, scheduled = compilation.scheduled(compilation.model, families, choose)
    arena = max(live_bytes(read_program(lowered), scheduled, compilation.target))
    beside = int(measured["ram"]) - arena
    calls = []
    for index, alive in enumerate(base.least):
        steps = {g: (alive - probe.least[index], step) for g, (step, probe) in probes.items()}
        calls.append(Count((_bytes(beside), *_affine(alive, dense, steps))))
    return MemoryCounts(Count((_bytes(flash), *weights)), tuple(calls), beside)


@dataclass(frozen=True)
class _Sizes:
    """Sizes at one choice of widths: of the weights, and of what is alive at least at each call."""

    weights: tuple[Weight, ...]
    least: tuple[int, ...]

    @classmethod
    def of(cls, compilation: Compilation, widths: Widths) -> _Sizes:
        pruned = compilation.pruned(compilation.plan(widths))
        lowered = lower(inference_form(pruned), compilation.target)
        program = read_program(lowered)
        schedules = smallest_schedules(lowered, compilation.target)
        return cls(weight_uses(program), live_bytes(program, schedules, compilation.target))


def _extent(extent: int, dense: Widths, steps: Mapping[int, tuple[int, int]]) -> Extent:
    """An axis, from how much of it each group's step took away."""
    slopes = tuple((group, lost // step) for group, (lost, step) in steps.items() if lost)
    return Extent(extent - sum(slope * dense[group] for group, slope in slopes), slopes)


def _affine(alive: int, dense: Widths, steps: Mapping[int, tuple[int, int]]) -> list[Product]:
    """Bytes that grow with each group on its own."""
    slopes = {group: math.ceil(lost / step) for group, (lost, step) in steps.items() if lost > 0}
    rest = alive - sum(slope * dense[group] for group, slope in slopes.items())
    varying = [Product(slope, (Extent(0, ((group, 1),)),)) for group, slope in slopes.items()]
    return [_bytes(rest), *varying]


def _bytes(count: float) -> Product:
    return Product(int(count), ())


def _undominated(counts: Sequence[Count]) -> list[Count]:
    """Without those that are never the largest: another one is as large in every part."""
    parts = [_parts(count) for count in counts]
    return [
        count
        for index, count in enumerate(counts)
        if not any(
            _covers(other, parts[index]) and (other != parts[index] or position < index)
            for position, other in enumerate(parts)
            if position != index
        )
    ]


def _parts(count: Count) -> dict[tuple[Extent, ...], int]:
    found: dict[tuple[Extent, ...], int] = {}
    for product in count.products:
        found[product.extents] = found.get(product.extents, 0) + product.coefficient
    return found


def _covers(
    larger: Mapping[tuple[Extent, ...], int], other: Mapping[tuple[Extent, ...], int]
) -> bool:
    return all(larger.get(key, 0) >= other.get(key, 0) for key in {*larger, *other})
