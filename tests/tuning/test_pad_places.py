from __future__ import annotations

import numpy as np
import pytest
from support.kernels import M7, run, workloads
from support.onnx_models import weight

from tvm_prune.tuning import (
    Workload,
    default_schedule,
    folded,
    moved_padding,
    padding_blocks,
    transfer,
)
from tvm_prune.tuning.context import tune_context
from tvm_prune.tuning.pad_places import FOLDED, WHOLE

KERNELS = {
    "convolution": ("c = Conv <pads=[1,1,1,1]> (x, w, b) y = Relu(c)", 6),
    "strided": ("y = Conv <pads=[0,0,1,1], strides=[2,2]> (x, w)", 6),
    "depthwise": ("y = Conv <pads=[1,1,1,1], group=3> (x, d)", 3),
    "one-sided depthwise": ("y = Conv <pads=[0,0,1,1], strides=[2,2], group=3> (x, d)", 3),
    "pooling": ("y = MaxPool <kernel_shape=[3,3], pads=[1,1,1,1]> (x)", 3),
}
each_kernel = pytest.mark.parametrize("name", KERNELS)


def padded_workload(name: str) -> Workload:
    body, channels = KERNELS[name]
    weights = {"w": weight(channels, 3, 3, 3), "b": weight(channels), "d": weight(3, 1, 3, 3)}
    used = {key: value for key, value in weights.items() if f" {key}" in body}
    [workload] = [each for each in workloads(body, used) if padding_blocks(each)]
    return workload


@each_kernel
def test_a_kernel_computes_the_same_wherever_its_padding_is(name: str) -> None:
    workload = padded_workload(name)
    expected = run(workload.mod, workload)[-1]
    places = list(moved_padding(default_schedule(workload, M7), workload, M7))
    assert len(places) >= 2
    for schedule in places:
        found = run(schedule.mod, workload)[-1]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_padding_of_a_searched_schedule_moves_too() -> None:
    workload = padded_workload("convolution")
    found = []
    for design in tune_context(workload.mod, M7).generate_design_space():
        schedule = transfer(design.trace, workload, M7)
        found += [len(list(moved_padding(schedule, workload, M7)))]
    assert max(found) >= 2


@each_kernel
def test_folded_padding_has_no_buffer(name: str) -> None:
    workload = padded_workload(name)
    schedule = folded(default_schedule(workload, M7), workload, M7)
    assert schedule is not None
    assert "pad_temp" in str(workload.mod)
    assert "pad_temp" not in str(schedule.mod)


def test_a_kernel_without_padding_has_no_other_place() -> None:
    for workload in workloads("y = Conv(x, w)", {"w": weight(6, 3, 1, 1)}):
        assert not padding_blocks(workload)
        assert not list(moved_padding(default_schedule(workload, M7), workload, M7))


@pytest.mark.parametrize(
    ("name", "locations"),
    [
        ("convolution", {WHOLE}),
        ("strided", {WHOLE}),
        ("depthwise", {0, 1}),
        ("one-sided depthwise", {FOLDED}),
    ],
)
def test_the_rule_copies_no_element_twice_and_folds_where_that_is_cheap(
    name: str, locations: set[int]
) -> None:
    trace = default_schedule(padded_workload(name), M7).trace
    [location] = [
        int(trace.get_decision(instruction))
        for instruction in trace.insts
        if instruction.kind.name == "SampleComputeLocation"
    ]
    assert location in locations
