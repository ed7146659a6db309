"""Loops that are rounded up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kernels import outputs
from tvm import relax
from tvm.target import Target

from tvm_prune.errors import TransferError
from tvm_prune.tuning import Workload, kernel_calls, lower, paddable_loops, padded
from tvm_prune.tuning.fit import MOST_WASTE, rounder_extents


def workload_of(
    build: Callable[[relax.BlockBuilder, relax.Var], relax.Expr], *shape: int
) -> Workload:
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType(shape, "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            result = builder.emit_output(build(builder, data))
        builder.emit_func_output(result)
    [call] = kernel_calls(lower(builder.get(), Target("llvm")))
    return call.workload


def weight(*shape: int) -> relax.Constant:
    return relax.const(np.random.default_rng(1).standard_normal(shape).astype("float32"))


def depthwise(builder: relax.BlockBuilder, data: relax.Var) -> relax.Expr:
    convolved = relax.op.nn.conv2d(data, weight(7, 1, 3, 3), padding=1, groups=7)
    return relax.op.nn.relu(builder.emit(convolved))


def batched_product(builder: relax.BlockBuilder, data: relax.Var) -> relax.Expr:
    return relax.op.nn.relu(builder.emit(relax.op.matmul(data, weight(5, 6))))


KERNELS = {
    "depthwise": (depthwise, (1, 7, 6, 6), {("group_conv2d_nchw", 1): 7}),
    "product": (batched_product, (11, 5), {("matmul", 0): 11}),
}


@pytest.mark.parametrize(("channels", "extent"), [(13, 16), (7, 7), (5, 6)])
def test_a_padded_convolution_computes_the_same(channels, extent, conv, target) -> None:
    workload = conv(3, channels)
    wider = padded(workload, "conv2d_nchw", 1, extent)
    assert wider.arguments == workload.arguments
    np.testing.assert_array_equal(
        outputs(wider.mod, wider, target), outputs(workload.mod, workload, target)
    )


@pytest.mark.parametrize("name", list(KERNELS))
def test_other_reductions_are_padded_too(name, target) -> None:
    build, shape, channels = KERNELS[name]
    workload = workload_of(build, *shape)
    loops = paddable_loops(workload)
    assert channels.items() <= loops.items()
    for (block, loop), extent in channels.items():
        wider = padded(workload, block, loop, extent + 3)
        assert wider.key != workload.key
        np.testing.assert_array_equal(
            outputs(wider.mod, wider, target), outputs(workload.mod, workload, target)
        )


def test_the_dimension_that_vectors_run_along_is_not_padded(conv) -> None:
    assert ("conv2d_nchw", 3) not in paddable_loops(conv(3, 8))
    assert ("matmul", 1) not in paddable_loops(workload_of(batched_product, 11, 5))


def test_a_loop_that_is_summed_over_is_not_padded(conv) -> None:
    assert {loop for _, loop in paddable_loops(conv(8, 8))} <= {1, 2}


def test_a_kernel_that_writes_its_result_directly_is_not_padded() -> None:
    bare = workload_of(lambda _, data: relax.op.matmul(data, weight(5, 6)), 11, 5)
    assert not paddable_loops(bare)


def test_a_loop_is_never_shortened(conv) -> None:
    with pytest.raises(TransferError, match=r"loop 1 of block 'conv2d_nchw' \(extent 13\)"):
        padded(conv(3, 13), "conv2d_nchw", 1, 12)


@given(extent=st.integers(1, 4096), inner=st.integers(1, 64))
def test_rounder_extents_tile_and_waste_little(extent: int, inner: int) -> None:
    found = rounder_extents(extent, inner)
    assert found == sorted(set(found))
    for rounder in found:
        assert extent < rounder <= (1 + MOST_WASTE) * extent
        assert any(rounder % step == 0 for step in {inner, 4, 8, 16, 32} - {1})
