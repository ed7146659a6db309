"""What the baselines see of a kernel is what the kernel computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tvm import relax

from benchmarks.kernel_geometry import Geometry, geometry, structure_of
from benchmarks.kernel_samples import Subject
from tvm_prune.board import load_board
from tvm_prune.operations import multiply_accumulates
from tvm_prune.tuning import kernel_calls, lower


def shapes_of(workload: Any) -> list[tuple[int, ...]]:
    return [shape for _, shape in workload.arguments]


def only_kernel(shape: tuple[int, ...], emit: Callable[[Any, Any], Any]) -> Geometry:
    """Geometry of the one kernel of a network with one layer."""
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType(shape, "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            result = builder.emit_output(emit(builder, data))
        builder.emit_func_output(result)
    [call] = kernel_calls(lower(builder.get(), load_board("host").tvm_target()))
    return geometry(structure_of(call.workload), shapes_of(call.workload))


def constant(*shape: int) -> Any:
    return relax.const(np.ones(shape, "float32"))


def test_a_strided_convolution() -> None:
    def emit(builder: Any, data: Any) -> Any:
        weight = constant(24, 16, 5, 5)
        convolved = builder.emit(relax.op.nn.conv2d(data, weight, strides=2, padding=2))
        return relax.op.nn.relu(builder.emit(relax.op.add(convolved, constant(1, 24, 1, 1))))

    found = only_kernel((1, 16, 20, 20), emit)
    assert found.structure.operator == "conv"
    assert found.structure.fused == "conv-T_add-compute"
    assert (found.image, found.inputs, found.outputs) == (20, 16, 24)
    assert (found.window, found.stride) == (5, 2)
    assert found.operations == 24 * 10 * 10 * 16 * 5 * 5
    assert found.parameters == 24 * 16 * 5 * 5 + 24


def test_a_depthwise_convolution() -> None:
    def emit(builder: Any, data: Any) -> Any:
        weight = constant(16, 1, 3, 3)
        return relax.op.nn.conv2d(data, weight, padding=1, groups=16)

    found = only_kernel((1, 16, 20, 20), emit)
    assert found.structure.operator == "depthwise"
    assert (found.inputs, found.outputs, found.window, found.stride) == (16, 16, 3, 1)
    assert found.operations == 16 * 20 * 20 * 3 * 3


def test_a_max_pooling() -> None:
    def emit(builder: Any, data: Any) -> Any:
        return relax.op.nn.max_pool2d(data, (3, 3), (2, 2), (1, 1, 1, 1))

    found = only_kernel((1, 16, 20, 20), emit)
    assert found.structure.operator == "maxpool"
    assert (found.image, found.window, found.stride) == (20, 3, 2)
    assert found.operations == 16 * 10 * 10 * 3 * 3
    assert found.parameters == 0


def test_a_global_average() -> None:
    def emit(builder: Any, data: Any) -> Any:
        return relax.op.mean(data, [2, 3], keepdims=True)

    found = only_kernel((1, 16, 7, 7), emit)
    assert found.structure.operator == "global_avgpool"
    assert (found.image, found.inputs, found.outputs, found.window) == (7, 16, 16, 1)


def test_a_residual_sum_makes_another_type_of_kernel(example: Subject) -> None:
    fused = {structure.fused for structure in example.structures}
    assert {"conv-T_add-compute", "conv-T_add-T_add-compute", "fc-T_add"} <= fused


@pytest.mark.parametrize("seed", range(3))
def test_operations_of_all_kernels_are_those_of_the_model(example: Subject, seed: int) -> None:
    compilation = example.search.compilation
    [widths] = example.choices(1, seed)
    operations = sum(
        kernel.calls * kernel.geometry.operations
        for kernel in example.kernels_at(widths)
        if kernel.geometry.structure.operator in ("conv", "depthwise", "fc")
    )
    pruned = compilation.pruned(compilation.plan(widths))
    assert operations == multiply_accumulates(pruned.module)


def test_kernels_are_called_equal_exactly_where_they_are_the_same_program(
    example: Subject,
) -> None:
    calls_at = example.search.compilation.kernel_calls
    programs: dict[str, str] = {}
    for widths in [example.dense, *example.choices(4, seed=0)]:
        calls = calls_at(widths)
        for family, kernel in zip(example.families, example.kernels_at(widths), strict=True):
            key = calls[family.calls[0]].workload.key
            assert programs.setdefault(kernel.identity, key) == key
    assert len(set(programs.values())) == len(programs)
