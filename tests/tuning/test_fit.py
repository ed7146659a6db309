"""How well a tuned trace fits other extents, told without applying it."""

from __future__ import annotations

from typing import Any

import pytest
import tvm
from support.kernels import CHANNELS, channel_tiled
from tvm.target import Target

from tvm_prune.tuning import TileSlot, tile_slots
from tvm_prune.tuning.fit import Use, Wanted, fitted_tilings, uses
from tvm_prune.tuning.traces import search_trace_to_json, with_tilings
from tvm_prune.tuning.transfer import transfer_text
from tvm_prune.tuning.variants import as_used, scheduled


@pytest.fixture(scope="module")
def trace(conv, target) -> Any:
    """Of a 16 to 64 convolution whose output channels are tiled by 16."""
    return channel_tiled(conv(16, 64), target, (4, 1, 1, 16))


def every_use(trace: Any, wanted: Wanted) -> list[Use]:
    return list(uses(tile_slots(trace), wanted))


def test_where_it_was_tuned_a_trace_fits_without_padding(trace, conv) -> None:
    assert every_use(trace, Wanted(conv(16, 64))) == [Use(None, 0.0)]


def test_a_width_that_keeps_the_inner_tiles_fits_better_than_one_that_does_not(trace, conv) -> None:
    [fits] = every_use(trace, Wanted(conv(16, 48)))
    perfect, *_ = every_use(trace, Wanted(conv(16, 47)))
    assert 0 < fits.misfit < perfect.misfit


def test_a_prime_width_fits_best_when_it_is_rounded_up_a_little(trace, conv) -> None:
    found = every_use(trace, Wanted(conv(16, 61)))
    assert found[0].padding is None
    best = min(found, key=lambda use: use.misfit)
    assert best.padding == ("conv2d_nchw", CHANNELS, 64)


def test_padding_costs_at_least_the_work_that_it_adds(trace, conv) -> None:
    wanted = Wanted(conv(16, 37))
    perfect, *rounder = every_use(trace, wanted)
    assert rounder
    for use in rounder:
        assert use.padding is not None
        _, _, extent = use.padding
        assert use.misfit > (extent - 37) / extent
    assert perfect.misfit > 0


def test_a_use_gives_the_tiles_that_arithmetic_told(trace, conv, target: Target) -> None:
    wanted = Wanted(conv(16, 61))
    for use in every_use(trace, wanted):
        tiles = tile_slots(scheduled(use, trace, wanted.workload, target).trace)[CHANNELS]
        extent = 61 if use.padding is None else use.padding[2]
        assert tiles.extent == extent


@pytest.mark.parametrize("width", [64, 48, 37, 61])
def test_a_trace_as_text_gives_the_schedule_that_the_read_trace_gives(
    trace, conv, target: Target, width: int
) -> None:
    wanted, slots = Wanted(conv(5, width, size=12)), tile_slots(trace)
    text = search_trace_to_json(trace)
    for use in uses(slots, wanted):
        tilings = fitted_tilings(slots, wanted, use)
        assert tilings is not None
        workload = as_used(use, wanted.workload)
        tvm.ir.assert_structural_equal(
            transfer_text(text, tilings, workload, target).mod,
            scheduled(use, trace, wanted.workload, target).mod,
        )


def test_tilings_of_loops_that_a_trace_makes_itself_are_not_told(conv) -> None:
    made = TileSlot("", -1, (2, 4))
    wanted = Wanted(conv(16, 16))
    assert fitted_tilings([made], wanted, Use(None, 0.0)) is None
    assert [use.padding for use in uses([made], wanted)] == [None]


def test_only_the_tile_sizes_of_a_trace_are_replaced(trace) -> None:
    before = tile_slots(trace)
    tilings = [slot.factors for slot in before]
    tilings[CHANNELS] = (2, 2, 2, 8)
    replaced = with_tilings(trace, tilings)
    assert [slot.factors for slot in tile_slots(replaced)] == tilings
    assert tile_slots(trace) == before
    assert [i.kind.name for i in replaced.insts] == [i.kind.name for i in trace.insts]
