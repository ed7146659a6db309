"""Kernels that were never tuned, scheduled with the traces of others."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from support.kernels import CHANNELS, channel_tiled, outputs
from tvm.target import Target

from tvm_prune.board import load_board
from tvm_prune.errors import TuningError
from tvm_prune.tuning import (
    ScheduleSource,
    TraceLibrary,
    TunedTrace,
    Workload,
    default_schedule,
    find_source,
    open_database,
    seed_library,
    structure_of,
    tile_slots,
    transfer,
    tuned_library,
)
from tvm_prune.tuning.context import tune_context
from tvm_prune.tuning.library import PROCESSORS, SEEDS, processor_of, read_library, write_library
from tvm_prune.tuning.ranking import Ranker, program_features, train_ranker
from tvm_prune.tuning.source import COMPETING
from tvm_prune.tuning.traces import search_trace_to_json
from tvm_prune.tuning.variants import variants


def tuned(workload: Workload, target: Target, channels: Sequence[int], cost: float) -> TunedTrace:
    """The default schedule with other tiles of the output channels."""
    trace = channel_tiled(workload, target, channels)
    return TunedTrace(structure_of(workload), search_trace_to_json(trace), cost)


def channel_tiles(trace: Any) -> tuple[int, ...]:
    return tile_slots(trace)[CHANNELS].factors


@pytest.fixture(scope="module")
def library(conv, target) -> TraceLibrary:
    return TraceLibrary(
        [
            tuned(conv(16, 16), target, (2, 1, 2, 4), 1e-5),
            tuned(conv(16, 64), target, (4, 1, 1, 16), 2e-5),
            tuned(conv(16, 16), target, (1, 2, 8, 1), 3e-5),
        ]
    )


def test_the_structure_of_a_kernel_does_not_depend_on_its_extents(conv) -> None:
    one, other = structure_of(conv(16, 24)), structure_of(conv(5, 7, size=12))
    assert one.is_like(other)
    assert one.extents != other.extents
    assert one.blocks[one.core] == ("conv2d_nchw", "SSSSRRR")
    assert structure_of(conv(16, 24)).distance(one) == 0 < one.distance(other)


def test_the_nearest_kernel_lends_its_trace_first(library, conv, target) -> None:
    found = library.nearest(conv(16, 56), target, 3)
    assert [channel_tiles(trace) for trace in found] == [(4, 1, 1, 16), (2, 1, 2, 4), (1, 2, 8, 1)]


def test_among_equally_near_traces_the_faster_one_comes_first(library, conv, target) -> None:
    [first, second] = library.nearest(conv(16, 16), target, 2)
    assert channel_tiles(first) == (2, 1, 2, 4)
    assert channel_tiles(second) == (1, 2, 8, 1)


def test_another_epilogue_takes_over_the_tile_sizes(library, conv, conv_module, target) -> None:
    plain = conv(16, 16)
    bare = _without_epilogue(conv_module, target)
    assert not structure_of(bare).is_like(structure_of(plain))
    assert structure_of(bare).has_core_of(structure_of(plain))
    [trace] = library.nearest(bare, target, 1)
    assert channel_tiles(trace) == (2, 1, 2, 4)
    schedule = transfer(trace, bare, target)
    np.testing.assert_allclose(
        outputs(schedule.mod, bare, target), outputs(bare.mod, bare, target), rtol=1e-4, atol=1e-4
    )


def test_what_is_offered_does_not_depend_on_what_was_asked_for_first(
    library, conv_module, target
) -> None:
    wanted = _without_epilogue(conv_module, target)
    first = [str(trace) for trace in library.nearest(wanted, target, 3)]
    asked_before = TraceLibrary(library.traces)
    asked_before.nearest(_without_epilogue(conv_module, target, 5), target, 3)
    assert [str(trace) for trace in asked_before.nearest(wanted, target, 3)] == first


def _without_epilogue(
    conv_module: Callable[..., tvm.IRModule], target: Target, channels: int = 16
) -> Workload:
    from tvm import relax

    from tvm_prune.tuning import kernel_calls, lower

    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((1, 16, 8, 8), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            weight = relax.const(np.ones((channels, 16, 3, 3), "float32"))
            convolved = builder.emit(relax.op.nn.conv2d(data, weight, padding=1))
            result = builder.emit_output(relax.op.add(convolved, relax.const(np.float32(1))))
        builder.emit_func_output(result)
    [call] = kernel_calls(lower(builder.get(), target))
    return call.workload


def test_a_kernel_that_reduces_nothing_has_no_relatives(library, target) -> None:
    from tvm import relax

    from tvm_prune.tuning import kernel_calls, lower

    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((1, 16, 8, 8), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            result = builder.emit_output(relax.op.tanh(data))
        builder.emit_func_output(result)
    [call] = kernel_calls(lower(builder.get(), target))
    assert library.nearest(call.workload, target, 3) == []


def every_variant(library: TraceLibrary, workload: Workload, target: Target) -> list[Any]:
    nearest = library.nearest(workload, target, 3)
    return [schedule for trace in nearest for schedule in variants(trace, workload, target)]


@pytest.mark.parametrize("width", [13, 16, 37, 61])
def test_every_variant_computes_what_the_kernel_computes(library, conv, target, width) -> None:
    workload = conv(16, width)
    expected = outputs(workload.mod, workload, target)
    found = every_variant(library, workload, target)
    assert len(found) >= 3
    for schedule in found:
        np.testing.assert_allclose(
            outputs(schedule.mod, workload, target), expected, rtol=1e-4, atol=1e-4
        )


def test_a_prime_width_gets_register_tiles_by_padding(library, conv, target) -> None:
    workload = conv(16, 61)
    trace = library.nearest(workload, target, 1)[0]
    tiles = {channel_tiles(schedule.trace) for schedule in variants(trace, workload, target)}
    assert (61, 1, 1, 1) in tiles or (1, 1, 1, 61) in tiles
    assert (4, 1, 1, 16) in tiles


def test_a_trace_whose_inner_tiles_all_fit_is_the_only_choice(library, conv, target) -> None:
    source = ScheduleSource("any", library.nearest(conv(16, 64), target, 1)[0])
    assert len(source.offers(conv(16, 32), target)) == 1
    assert len(source.offers(conv(16, 31), target)) > 1


def test_a_kernel_without_any_trace_gets_the_default_schedule(conv, target, tmp_path) -> None:
    source = find_source(conv(16, 16), target, [open_database(tmp_path)], TraceLibrary())
    assert source.key == "default"
    default = default_schedule(conv(16, 16), target)
    tvm.ir.assert_structural_equal(source.schedule(conv(16, 16), target).mod, default.mod)


def test_a_kernel_that_was_tuned_here_uses_its_own_trace(library, conv, target, tmp_path) -> None:
    database, workload = open_database(tmp_path), conv(16, 48)
    _commit(database, workload, target, 1e-3)
    _commit(database, workload, target, 2e-3)
    own = find_source(workload, target, [database], library)
    assert own.is_own
    assert len(own.others) == 1
    assert channel_tiles(own.trace) == channel_tiles(default_schedule(workload, target).trace)
    borrowed = find_source(conv(16, 40), target, [database], library)
    assert not borrowed.is_own
    assert borrowed.key != own.key
    assert len(borrowed.offers(conv(16, 40), target)) >= 3


def test_a_kernel_that_was_never_tuned_is_measured_with_the_default_schedule_too(
    library, conv, target, tmp_path
) -> None:
    workload = conv(16, 40)
    default = str(default_schedule(workload, target).mod)
    source = find_source(workload, target, [], library)
    finalists = [str(each.mod) for each in source.finalists(workload, target, 1)]
    assert finalists == [str(source.schedule(workload, target).mod), default]
    database = open_database(tmp_path)
    _commit(database, conv(16, 48), target, 1e-3)
    tuned = find_source(conv(16, 48), target, [database], library)
    assert len(tuned.finalists(conv(16, 48), target, 1)) == 1


def test_what_this_machine_tuned_becomes_a_library(conv, target, tmp_path) -> None:
    database = open_database(tmp_path)
    _commit(database, conv(16, 48), target, 2e-3)
    _commit(database, conv(16, 48), target, 1e-3)
    _commit(database, conv(16, 32), target, 1e10)
    [trace] = tuned_library(database, target).traces
    assert trace.cost == 1e-3
    assert trace.structure == structure_of(conv(16, 48))


def _commit(database: Any, workload: Workload, target: Target, seconds: float) -> None:
    from tvm.s_tir.meta_schedule.database import TuningRecord

    trace = default_schedule(workload, target).trace
    key = database.commit_workload(workload.mod)
    database.commit_tuning_record(TuningRecord(trace, key, [seconds], target))


@pytest.fixture(scope="module")
def ranked(library, conv, target) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of variants whose made-up cost is lowest where the last channel tile is largest."""
    rows, costs, kernels = [], [], []
    for number, width in enumerate((13, 29, 31, 37, 41, 61)):
        workload = conv(16, width)
        schedules = every_variant(library, workload, target)
        rows.append(program_features(schedules, tune_context(workload.mod, target)))
        costs.append([1.0 / channel_tiles(schedule.trace)[-1] for schedule in schedules])
        kernels.append([number] * len(schedules))
    return np.concatenate(rows), np.concatenate(costs), np.concatenate(kernels)


def test_a_ranker_learns_what_is_fast(ranked, library, conv, target) -> None:
    ranker = Ranker(train_ranker(*ranked))
    workload = conv(16, 43)
    schedules = every_variant(library, workload, target)
    context = tune_context(workload.mod, target)
    tiles = [channel_tiles(schedules[i].trace)[-1] for i in ranker.order(schedules, context)]
    assert sorted(tiles, reverse=True)[0] > sorted(tiles)[0]
    assert tiles[0] == max(tiles)


def test_where_a_ranker_can_tell_the_own_trace_competes(ranked, library, conv, target) -> None:
    trace = library.nearest(conv(16, 64), target, 1)[0]
    ranker = Ranker(train_ranker(*ranked))
    source = ScheduleSource("any", trace, library=TraceLibrary(library.traces, ranker))
    for width in (31, 32):
        offered = source.offers(conv(16, width), target)
        assert 1 < len(offered) <= COMPETING


def test_where_it_was_tuned_the_own_trace_stays_alone(ranked, library, conv, target) -> None:
    workload = conv(16, 64)
    trace = library.nearest(workload, target, 1)[0]
    ranked_library = TraceLibrary(library.traces, Ranker(train_ranker(*ranked)))
    source = ScheduleSource("any", trace, tuned_for=workload.key, library=ranked_library)
    [offered] = source.offers(workload, target)
    tvm.ir.assert_structural_equal(offered.mod, transfer(trace, workload, target).mod)


def test_all_of_the_best_own_traces_compete(ranked, library, conv, target) -> None:
    own = library.nearest(conv(16, 64), target, 3)
    alone = TraceLibrary((), Ranker(train_ranker(*ranked)))
    workload = conv(16, 36)
    offered = [
        {channel_tiles(each.trace) for each in source.offers(workload, target)}
        for source in (
            ScheduleSource("one", own[0], library=alone),
            ScheduleSource("all", own[0], library=alone, others=tuple(own[1:])),
        )
    ]
    assert len(offered[1] - offered[0]) >= 2


def test_a_program_is_offered_once(ranked, library, conv, target) -> None:
    trace = library.nearest(conv(16, 64), target, 1)[0]
    alone = TraceLibrary((), Ranker(train_ranker(*ranked)))
    source = ScheduleSource("thrice", trace, library=alone, others=(trace, trace))
    programs = [str(each.mod) for each in source.offers(conv(16, 37), target)]
    assert len(set(programs)) == len(programs) > 1


def test_a_library_comes_back_from_its_file(ranked, library, conv, target, tmp_path) -> None:
    booster = train_ranker(*ranked)
    path = tmp_path / "seeds.json.gz"
    write_library(path, library.traces, booster)
    again = read_library(path)
    assert again.traces == list(library.traces)
    assert again.ranker is not None
    schedules = [default_schedule(conv(16, width), target) for width in (8, 16, 24)]
    context = tune_context(conv(16, 8).mod, target)
    assert again.ranker.order(schedules, context) == Ranker(booster).order(schedules, context)


def test_a_library_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "seeds.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"format": 99}).encode()))
    with pytest.raises(
        TuningError, match=r"has format 99; this version reads format 1.*tune_seeds"
    ):
        read_library(path)


def x86(cpu: str) -> Target:
    return Target({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": cpu, "num-cores": 2})


BOARDS = {"arm-neon": "stm32mp1", "cortex-m55": "mps3-an547", "cortex-m7": "mps2-an500"}
CPUS = {"x86-avx512": "skylake-avx512", "x86-avx2": "haswell"}


def member(processor: str) -> Target:
    """The target of a processor of a class."""
    if processor in BOARDS:
        return load_board(BOARDS[processor]).tvm_target()
    return x86(CPUS[processor])


@pytest.mark.parametrize("processor", list(PROCESSORS))
def test_a_target_belongs_to_the_class_its_instructions_allow(processor) -> None:
    assert processor_of(member(processor)) == processor


@pytest.mark.parametrize("target", [x86("core2"), load_board("mps2-an386").tvm_target()])
def test_a_target_of_few_instructions_belongs_to_no_class(target) -> None:
    assert processor_of(target) is None


@pytest.mark.parametrize("processor", ["x86-avx512", "x86-avx2", "arm-neon", "cortex-m7"])
def test_the_shipped_seeds_schedule_a_convolution(processor, conv) -> None:
    target = member(processor)
    assert (SEEDS / f"{processor}.json.gz").exists()
    library = seed_library(target)
    workload = conv(24, 40)
    source = find_source(workload, target, [], library)
    assert len(source.offers(workload, target)) >= 3
    schedule = source.schedule(workload, target)
    host = load_board("host").tvm_target()
    np.testing.assert_allclose(
        outputs(schedule.mod, workload, host),
        outputs(workload.mod, workload, host),
        rtol=1e-4,
        atol=1e-4,
    )
