import numpy as np
import pytest
import tvm
from support.kernels import outputs
from tvm import relax
from tvm.s_tir.schedule import Trace

from tvm_prune.errors import TransferError
from tvm_prune.tuning import (
    closest_tiling,
    default_schedule,
    kernel_calls,
    knobs,
    lower,
    tile_slots,
    trace_from_json,
    trace_to_json,
    transfer,
)
from tvm_prune.tuning.context import postprocess, tune_context


@pytest.fixture(scope="module")
def designs(conv, target) -> list[Trace]:
    """Post-processed points of the design space of a 16 to 16 convolution."""
    context = tune_context(conv(16, 16).mod, target, seed=3)
    schedules = context.generate_design_space()
    assert all(postprocess(schedule, context) for schedule in schedules)
    return [schedule.trace for schedule in schedules]


@pytest.mark.parametrize("widths", [(16, 16), (16, 8), (11, 13), (3, 2), (16, 1), (1, 16)])
def test_a_transferred_kernel_computes_what_the_kernel_computes(
    widths, designs, conv, target
) -> None:
    workload = conv(*widths)
    expected = outputs(workload.mod, workload, target)
    assert np.abs(expected).max() > 1
    for trace in designs:
        schedule = transfer(trace, workload, target)
        np.testing.assert_allclose(
            outputs(schedule.mod, workload, target), expected, rtol=1e-4, atol=1e-4
        )


def test_a_transferred_kernel_is_parallel_and_vectorized(designs, conv, target) -> None:
    script = str(transfer(designs[0], conv(12, 10), target).mod)
    assert "T.parallel" in script
    assert "T.vectorized" in script


def test_at_the_old_widths_a_transfer_keeps_every_decision(designs, conv, target) -> None:
    for trace in designs:
        again = transfer(trace, conv(16, 16), target).trace
        assert tile_slots(again) == tile_slots(trace)
        assert knobs(again) == knobs(trace)


def test_tile_slots_of_another_width_follow_without_applying_the_trace(
    designs, conv, target
) -> None:
    for trace in designs:
        used = tile_slots(transfer(trace, conv(11, 12), target).trace)
        tuned = tile_slots(trace)
        extents = {1: 12, 4: 11}
        predicted = [
            closest_tiling(extents.get(slot.loop, slot.extent), slot.factors) for slot in tuned
        ]
        assert [slot.factors for slot in used] == predicted
        assert [(slot.block, slot.loop) for slot in used] == [
            (slot.block, slot.loop) for slot in tuned
        ]


def test_tile_slots_name_block_loop_and_extent(conv, target) -> None:
    slots = tile_slots(default_schedule(conv(5, 7), target).trace)
    assert [(slot.block, slot.loop, slot.extent) for slot in slots] == [
        ("conv2d_nchw", loop, extent) for loop, extent in enumerate((1, 7, 8, 8, 5, 3, 3))
    ]


def test_a_trace_of_another_kind_of_kernel_is_refused(designs, target) -> None:
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((4, 8), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            output = builder.emit_output(relax.op.nn.softmax(data))
        builder.emit_func_output(output)
    [call] = kernel_calls(lower(builder.get(), target))
    with pytest.raises(TransferError, match=call.workload.key):
        transfer(designs[0], call.workload, target)


def test_a_trace_survives_json(designs, conv, target) -> None:
    for trace in designs:
        again = trace_from_json(trace_to_json(trace), conv(16, 16))
        assert str(again) == str(trace)
        transferred = transfer(again, conv(9, 10), target)
        tvm.ir.assert_structural_equal(transferred.mod, transfer(trace, conv(9, 10), target).mod)


def test_a_default_schedule_is_the_same_every_time(conv, target) -> None:
    first, second = (default_schedule(conv(12, 16), target) for _ in range(2))
    tvm.ir.assert_structural_equal(first.mod, second.mod)


def test_a_default_schedule_fills_vectors_where_the_image_allows(conv, target) -> None:
    slots = tile_slots(default_schedule(conv(8, 8, size=32), target).trace)
    assert [slot.factors[-1] for slot in slots] == [1, 1, 4, 16, 4, 3, 3]


@pytest.mark.parametrize("widths", [(16, 16), (11, 13), (1, 1)])
def test_a_default_schedule_computes_what_the_kernel_computes(widths, conv, target) -> None:
    workload = conv(*widths)
    schedule = default_schedule(workload, target)
    assert "T.parallel" in str(schedule.mod)
    np.testing.assert_allclose(
        outputs(schedule.mod, workload, target),
        outputs(workload.mod, workload, target),
        rtol=1e-4,
        atol=1e-4,
    )
