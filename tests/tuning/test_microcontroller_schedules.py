from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st
from support.kernels import HOST, M7, run, workloads
from support.onnx_models import weight
from tvm.target import Target

from tvm_prune.tuning import default_schedule, transfer
from tvm_prune.tuning.microcontroller import (
    REGISTERS,
    _best_tile,
    is_microcontroller,
    rule_schedule,
)
from tvm_prune.tuning.traces import tile_slots

KERNELS = {
    "convolution": ("y = Conv <pads=[1,1,1,1]> (x, w)", {"w": weight(8, 3, 3, 3)}),
    "even padding": (
        "y = Conv <pads=[0,0,1,1], strides=[2,2]> (x, w)",
        {"w": weight(8, 3, 3, 3)},
    ),
    "bias and activation": (
        "c = Conv <pads=[1,1,1,1]> (x, w, b) y = Relu(c)",
        {"w": weight(8, 3, 3, 3), "b": weight(8)},
    ),
    "pointwise": ("y = Conv(x, w)", {"w": weight(12, 3, 1, 1)}),
    "strided pointwise": ("y = Conv <strides=[2,2]> (x, w)", {"w": weight(7, 3, 1, 1)}),
    "depthwise": ("y = Conv <pads=[1,1,1,1], group=3> (x, w)", {"w": weight(3, 1, 3, 3)}),
    "grouped": ("y = Conv <pads=[1,1,1,1], group=3> (x, w)", {"w": weight(6, 1, 3, 3)}),
    "one channel": ("y = Conv <pads=[1,1,1,1]> (x, w)", {"w": weight(1, 3, 3, 3)}),
    "dense": ("f = Flatten(x) y = Gemm <transB=1> (f, w)", {"w": weight(10, 192)}),
    "average pool": ("y = AveragePool <kernel_shape=[2,2], strides=[2,2]> (x)", {}),
    "max pool": ("y = MaxPool <kernel_shape=[3,3], pads=[1,1,1,1]> (x)", {}),
    "global pool": ("y = GlobalAveragePool(x)", {}),
    "softmax": ("f = Flatten(x) y = Softmax(f)", {}),
    "element-wise": ("a = Sigmoid(x) y = Mul(a, x)", {}),
    "two results": (
        "a, y = Split <axis=1> (x, parts)",
        {"parts": np.array([1, 2], dtype="int64")},
    ),
    "mean of everything": ("y = ReduceMean <keepdims=0> (x)", {}),
}


@pytest.mark.parametrize(("body", "weights"), KERNELS.values(), ids=KERNELS)
def test_a_scheduled_kernel_computes_the_same(body: str, weights: dict[str, Any]) -> None:
    for workload in workloads(body, weights):
        expected = run(workload.mod, workload)[-1]
        found = run(rule_schedule(workload).mod, workload)[-1]
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["convolution", "depthwise", "dense", "bias and activation"])
def test_a_rule_changes_the_loops(name: str) -> None:
    body, weights = KERNELS[name]
    [workload] = [w for w in workloads(body, weights) if len(w.arguments) > 2]
    assert "T.unroll" in str(rule_schedule(workload).mod)
    assert tile_slots(rule_schedule(workload).trace)


def test_microcontrollers_are_told_from_other_processors() -> None:
    assert is_microcontroller(M7)
    assert not is_microcontroller(HOST)
    assert not is_microcontroller(Target({"kind": "llvm", "mcpu": "cortex-a72", "num-cores": 4}))


def test_the_default_schedule_of_a_microcontroller_is_the_rule() -> None:
    body, weights = KERNELS["convolution"]
    [workload] = workloads(body, weights)
    tvm.ir.assert_structural_equal(default_schedule(workload, M7).mod, rule_schedule(workload).mod)


@pytest.mark.parametrize("channels", [4, 6, 7, 11])
def test_a_schedule_transfers_to_other_widths(channels: int) -> None:
    body = "c = Conv <pads=[1,1,1,1]> (x, w, b) y = Relu(c)"
    [wide] = workloads(body, {"w": weight(16, 3, 3, 3), "b": weight(16)})
    [narrow] = workloads(body, {"w": weight(channels, 3, 3, 3), "b": weight(channels)})
    transferred = transfer(rule_schedule(wide).trace, narrow, M7)
    np.testing.assert_allclose(
        run(transferred.mod, narrow)[-1], run(narrow.mod, narrow)[-1], rtol=1e-4, atol=1e-5
    )


@given(
    st.lists(st.integers(1, 128), max_size=1), st.lists(st.integers(1, 64), min_size=1, max_size=2)
)
def test_tiles_divide_the_axes_and_fit_the_registers(rows: list[int], columns: list[int]) -> None:
    tile = _best_tile(rows, columns)
    assert all(e % size == 0 for e, size in zip([*columns, *rows], tile, strict=True))
    assert math.prod(tile) < REGISTERS


def test_both_operands_are_reused_where_they_can_be() -> None:
    *columns, rows = _best_tile([64], [16, 16])
    assert rows > 1
    assert math.prod(columns) > 1
