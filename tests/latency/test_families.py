"""What is known of a kernel at any width without lowering is what lowering it would give."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import MODELS, Kernels
from tvm.target import Target

from tvm_prune.errors import TuningError
from tvm_prune.latency import Widths, find_families
from tvm_prune.latency.features import multiplied
from tvm_prune.tuning import KernelCall, ScheduleSource, Workload, knobs, tile_slots

Find = Callable[[str], Kernels]
each_model = pytest.mark.parametrize("name", MODELS)


def some_widths(kernels: Kernels, count: int, seed: int = 0) -> list[Widths]:
    """Random widths, those of one channel, and the dense ones."""
    generator = np.random.default_rng(seed)
    dense = kernels.compilation.dense
    random = [tuple(int(generator.integers(1, width + 1)) for width in dense) for _ in range(count)]
    return [tuple(1 for _ in dense), dense, *random]


def own(kernels: Kernels, family: int, widths: Widths) -> np.ndarray:
    groups = kernels.families[family].groups
    return np.array([[widths[group] for group in groups]], dtype=float)


@each_model
def test_every_call_belongs_to_one_family(name: str, kernels: Find) -> None:
    found = kernels(name)
    calls = sorted(call for family in found.families for call in family.calls)
    assert calls == list(range(len(found.compilation.kernel_calls(found.compilation.dense))))


@each_model
def test_the_extents_of_every_kernel_follow_from_the_widths(name: str, kernels: Find) -> None:
    found = kernels(name)
    for widths in some_widths(found, 6):
        calls = found.compilation.kernel_calls(widths)
        for index, family in enumerate(found.families):
            [predicted] = family.arguments.at(own(found, index, widths))
            for call in family.calls:
                arguments = calls[call].workload.arguments
                assert predicted.tolist() == [e for _, shape in arguments for e in shape]
                assert family.ranks == tuple(len(shape) for _, shape in arguments)


@pytest.mark.parametrize("name", ["residual", "concatenation"])
@settings(max_examples=25)
@given(data=st.data())
def test_extents_follow_at_any_widths_whatever(
    name: str, data: st.DataObject, kernels: Find
) -> None:
    found = kernels(name)
    widths = tuple(data.draw(st.integers(1, width)) for width in found.compilation.dense)
    calls = found.compilation.kernel_calls(widths)
    for index, family in enumerate(found.families):
        [predicted] = family.arguments.at(own(found, index, widths))
        arguments = calls[family.calls[0]].workload.arguments
        assert predicted.tolist() == [e for _, shape in arguments for e in shape]


@each_model
def test_the_tile_sizes_of_transferred_schedules_follow_from_the_widths(
    name: str, kernels: Find, target: Target
) -> None:
    found = kernels(name)
    tiled = 0
    for widths in some_widths(found, 2, seed=1):
        calls = found.compilation.kernel_calls(widths)
        for index, family in enumerate(found.families):
            workload = calls[family.calls[0]].workload
            used = tile_slots(family.source.schedule(workload, target).trace)
            extents = family.slots.at(own(found, index, widths))
            [tilings] = family.tilings(extents)
            assert extents.tolist() == [[slot.extent for slot in used]]
            assert tilings.tolist() == [
                [1] * (4 - len(slot.factors)) + list(slot.factors) for slot in used
            ]
            tiled += len(used)
    assert tiled > 0


@each_model
def test_at_the_dense_widths_the_schedule_is_the_tuned_one(
    name: str, kernels: Find, target: Target
) -> None:
    for family in kernels(name).families:
        trace = family.source.trace
        assert family.factors == tuple(slot.factors for slot in tile_slots(trace))
        assert family.knobs == knobs(family.source.schedule(family.workload, target).trace)
        [extents] = family.slots.at(family.slots.dense[None, :])
        assert extents.tolist() == [slot.extent for slot in tile_slots(trace)]


@each_model
def test_a_family_depends_on_the_groups_that_change_it_and_no_others(
    name: str, kernels: Find
) -> None:
    found = kernels(name)
    dense = found.compilation.dense
    base = found.compilation.kernel_calls(dense)
    for group, width in enumerate(dense):
        narrow = (*dense[:group], width - 1, *dense[group + 1 :])
        calls = found.compilation.kernel_calls(narrow)
        for family in found.families:
            changed = calls[family.calls[0]].workload != base[family.calls[0]].workload
            assert changed == (group in family.groups)


@each_model
def test_the_calls_of_a_family_are_equal_at_all_widths(name: str, kernels: Find) -> None:
    found = kernels(name)
    for widths in some_widths(found, 3, seed=2):
        calls = found.compilation.kernel_calls(widths)
        for family in found.families:
            assert len({calls[call].workload.key for call in family.calls}) == 1


@pytest.fixture(scope="module")
def conv(kernels: Find) -> Callable[[int, int], Workload]:
    """A real kernel of the residual network: its second convolution at two widths."""
    found = kernels("residual")

    def build(inputs: int, outputs: int) -> Workload:
        return found.compilation.kernel_calls((inputs, outputs))[1].workload

    return build


def untuned(_workload: Workload) -> ScheduleSource:
    return ScheduleSource("default")


def test_equal_calls_of_the_same_groups_are_merged(
    conv: Callable[[int, int], Workload], target: Target
) -> None:
    def lowering(widths: Widths) -> list[KernelCall]:
        kernel = conv(*widths)
        return [KernelCall("a", kernel), KernelCall("a", kernel), KernelCall("b", conv(4, 4))]

    families = find_families(lowering, (8, 12), untuned, target)
    assert [family.calls for family in families] == [(0, 1), (2,)]
    assert [family.groups for family in families] == [(0, 1), ()]


def test_calls_that_are_equal_only_when_dense_are_kept_apart(
    conv: Callable[[int, int], Workload], target: Target
) -> None:
    def lowering(widths: Widths) -> list[KernelCall]:
        return [KernelCall("a", conv(8, widths[0])), KernelCall("a", conv(8, widths[1]))]

    families = find_families(lowering, (12, 12), untuned, target)
    assert [(family.calls, family.groups) for family in families] == [((0,), (0,)), ((1,), (1,))]


def test_a_group_of_one_channel_is_never_narrowed(
    conv: Callable[[int, int], Workload], target: Target
) -> None:
    asked: list[Widths] = []

    def lowering(widths: Widths) -> list[KernelCall]:
        asked.append(widths)
        return [KernelCall("a", conv(*widths))]

    [family] = find_families(lowering, (1, 8), untuned, target)
    assert family.groups == (1,)
    assert asked[:2] == [(1, 8), (1, 4)]
    assert {widths[0] for widths in asked} == {1}


def test_a_kernel_without_a_tuned_trace_is_known_at_any_width_too(
    conv: Callable[[int, int], Workload], target: Target
) -> None:
    [family] = find_families(
        lambda widths: [KernelCall("a", conv(*widths))], (16, 24), untuned, target
    )
    widths = np.array([[5.0, 7.0]])
    used = tile_slots(untuned(family.workload).schedule(conv(5, 7), target).trace)
    assert family.slots.at(widths).tolist() == [[slot.extent for slot in used]]


def test_a_number_of_kernels_that_changes_with_the_widths_is_refused(
    conv: Callable[[int, int], Workload], target: Target
) -> None:
    def lowering(widths: Widths) -> list[KernelCall]:
        return [KernelCall("a", conv(*widths))] * (2 if widths[1] > 4 else 1)

    with pytest.raises(TuningError, match="group 1 changes the number of kernels from 2 to 1"):
        find_families(lowering, (8, 8), untuned, target)


def test_the_parts_of_a_concatenation_are_multiplied_with_the_outputs_alone(
    kernels: Find,
) -> None:
    found = kernels("concatenation")
    dense = found.compilation.dense
    left, right, joined = dense.index(12), dense.index(20), dense.index(16)
    pairs = {
        frozenset((family.groups[one], family.groups[other]))
        for family in found.families
        for one, other in multiplied(family)
    }
    assert pairs == {frozenset((left, joined)), frozenset((right, joined))}
