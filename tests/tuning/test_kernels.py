import subprocess
import sys

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.target import Target

from tvm_prune.errors import TuningError
from tvm_prune.tuning import default_schedule, kernel_calls, lower, with_schedules

KEY_SCRIPT = """
import numpy as np, tvm
from tvm import relax
from tvm_prune.board import load_board
from tvm_prune.tuning import kernel_calls, lower
builder = relax.BlockBuilder()
data = relax.Var("another_name", relax.TensorType((4, 8), "float32"))
with builder.function("main", [data]):
    with builder.dataflow():
        product = builder.emit(relax.op.matmul(data, relax.const(np.ones((8, 3), "float32"))))
        output = builder.emit_output(relax.op.nn.relu(product))
    builder.emit_func_output(output)
[call] = kernel_calls(lower(builder.get(), load_board("host").tvm_target()))
print(call.workload.key)
"""


def run(module: tvm.IRModule, target: Target, data: np.ndarray) -> np.ndarray:
    machine = relax.VirtualMachine(tvm.compile(module, target), tvm.cpu())
    return machine["main"](tvm.runtime.tensor(data)).numpy()


def test_a_lowered_module_calls_one_fused_kernel_per_layer(conv_module, target) -> None:
    calls = kernel_calls(lower(conv_module(4, 8, layers=3, pooled=True), target))
    assert [name for name in (call.name for call in calls) if "conv2d" in name] == [
        "fused_conv2d_add_relu",
        "fused_conv2d1_add_relu",
        "fused_conv2d1_add_relu",
    ]
    assert "pool" in calls[-1].name
    assert len(calls) == 4


def test_equal_layers_share_a_workload_and_other_widths_do_not(conv_module, target) -> None:
    first, second, third = kernel_calls(lower(conv_module(4, 8, layers=3), target))
    assert second.workload == third.workload
    assert first.workload != second.workload


def test_arguments_are_listed_in_order_with_dtype_and_shape(conv) -> None:
    assert conv(4, 6).arguments == (
        ("float32", (1, 4, 8, 8)),
        ("float32", (6, 4, 3, 3)),
        ("float32", (1, 6, 1, 1)),
        ("float32", (1, 6, 8, 8)),
    )


def test_workload_keys_are_equal_in_every_process() -> None:
    keys = {
        subprocess.run(
            [sys.executable, "-c", KEY_SCRIPT],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert len(keys) == 1
    [key] = keys
    assert len(key) == 16


def test_scheduled_kernels_compute_what_the_module_computes(conv_module, target) -> None:
    lowered = lower(conv_module(5, 7, layers=2, pooled=True), target)
    schedules = {
        call.name: default_schedule(call.workload, target) for call in kernel_calls(lowered)
    }
    scheduled = with_schedules(lowered, schedules)
    data = np.random.default_rng(1).standard_normal((1, 5, 8, 8)).astype("float32")
    np.testing.assert_allclose(
        run(scheduled, target, data), run(lowered, target, data), rtol=1e-4, atol=1e-4
    )


def test_scheduled_kernels_are_marked_and_the_lowered_module_stays(conv_module, target) -> None:
    lowered = lower(conv_module(4, 8, layers=2), target)
    first, second = kernel_calls(lowered)
    scheduled = with_schedules(lowered, {first.name: default_schedule(first.workload, target)})
    assert scheduled[first.name].attrs["tirx.is_scheduled"]
    assert "tirx.is_scheduled" not in scheduled[second.name].attrs
    assert "tirx.is_scheduled" not in lowered[first.name].attrs
    assert "global_symbol" not in scheduled[first.name].attrs


@pytest.mark.parametrize("name", ["main", "missing"])
def test_what_is_not_a_kernel_cannot_be_scheduled(name, conv_module, target) -> None:
    lowered = lower(conv_module(4, 8), target)
    [call] = kernel_calls(lowered)
    with pytest.raises(TuningError, match=name):
        with_schedules(lowered, {name: default_schedule(call.workload, target)})
