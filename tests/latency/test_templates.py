"""A kernel whose integers were filled in is the kernel that lowering the model gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from small_models import Kernels
from tvm.target import Target

from tvm_prune.latency import Widths, find_families
from tvm_prune.latency.templates import KernelTemplate, LoweredKernel
from tvm_prune.tuning import KernelCall, ScheduleSource, Workload

Find = Callable[[str], Kernels]


@pytest.mark.parametrize("name", ["residual", "concatenation", "example"])
def test_every_kernel_is_filled_in_as_it_would_be_lowered(name: str, kernels: Find) -> None:
    found = kernels(name)
    dense = found.compilation.dense
    generator = np.random.default_rng(3)
    for _ in range(2):
        widths = tuple(int(generator.integers(2, width + 1)) for width in dense)
        calls = found.compilation.kernel_calls(widths)
        for family in found.families:
            own = tuple(widths[group] for group in family.groups)
            if family.groups:
                assert isinstance(family.kernel, KernelTemplate)
                assert family.kernel.filled(own) == calls[family.calls[0]].workload
            assert family.workload_at(own) == calls[family.calls[0]].workload


def test_where_extents_of_one_are_simplified_the_kernel_is_lowered(kernels: Find) -> None:
    found = kernels("residual")
    widths = (1,) * len(found.compilation.dense)
    calls = found.compilation.kernel_calls(widths)
    for family in found.families:
        own = tuple(widths[group] for group in family.groups)
        assert family.workload_at(own) == calls[family.calls[0]].workload


def untuned(_workload: Workload) -> ScheduleSource:
    return ScheduleSource("default")


@pytest.mark.parametrize(
    "shape", [lambda width: width * width // 8, lambda width: 2 * (width // 3)]
)
def test_a_kernel_whose_extents_are_not_affine_is_lowered(
    shape: Callable[[int], int], kernels: Find, target: Target
) -> None:
    found = kernels("residual")

    def lowering(widths: Widths) -> list[KernelCall]:
        kernel = found.compilation.kernel_calls((max(2, shape(widths[0])), 24))[1].workload
        return [KernelCall("a", kernel)]

    [family] = find_families(lowering, (11,), untuned, target)
    assert isinstance(family.kernel, LoweredKernel)
    for width in (5, 7, 10):
        assert family.workload_at((width,)) == lowering((width,))[0].workload
