"""Candidates: the widths that no wider one beats."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import TableFamily, TableModel

from tvm_prune.channels import smallest_width
from tvm_prune.latency import LatencyModel, friendly_widths
from tvm_prune.planner import candidate_widths
from tvm_prune.planner.widths import LEAST_CHOICE, MOST_CHOICE, most_candidates


def candidates(
    families: list[TableFamily], dense: tuple[int, ...], unit: str = "instructions"
) -> list[list[int]]:
    limits = tuple((smallest_width(width), width) for width in dense)
    return candidate_widths(cast("LatencyModel", TableModel(families, unit)), dense, limits)


def cost(family: TableFamily, dense: tuple[int, ...], group: int, width: int) -> float:
    """Cost of all calls with one group narrowed."""
    own = [width if other == group else dense[other] for other in family.groups]
    return float(family.table[tuple(own)]) * len(family.calls)


@st.composite
def models(draw: st.DrawFn) -> tuple[list[TableFamily], tuple[int, ...]]:
    """Two groups and kernels of random cost: of each group, of both, and of none."""
    dense = (draw(st.integers(1, 60)), draw(st.integers(1, 60)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    families = []
    for groups in [(0,), (1,), (0, 1), ()]:
        extents = [dense[group] + 1 for group in groups]
        slope = np.ones(extents) * sum(np.indices(extents), start=np.zeros(extents))
        noise = generator.uniform(0.5, 1.5, extents)
        families.append(TableFamily(groups, tuple(range(draw(st.integers(1, 2)))), slope * noise))
    return families, dense


@given(models(), st.sampled_from(["seconds", "instructions"]))
def test_candidates_ascend_to_the_dense_width(
    model: tuple[list[TableFamily], tuple[int, ...]], unit: str
) -> None:
    families, dense = model
    for widths, most in zip(candidates(families, dense, unit), dense, strict=True):
        assert widths == sorted(set(widths))
        assert widths[-1] == most
        assert widths[0] >= smallest_width(most)
        assert len(widths) <= MOST_CHOICE


@given(models())
def test_every_candidate_is_cheaper_than_all_wider_widths(
    model: tuple[list[TableFamily], tuple[int, ...]],
) -> None:
    families, dense = model
    for group, widths in enumerate(candidates(families, dense)):
        own = [family for family in families if group in family.groups]
        costs = {
            width: sum(cost(family, dense, group, width) for family in own)
            for width in range(1, dense[group] + 1)
        }
        for width in widths[:-1]:
            wider = [costs[other] for other in range(width + 1, dense[group] + 1)]
            assert costs[width] < min(wider)


@given(models())
def test_where_costs_are_noisy_widths_that_schedules_like_compete_among_themselves_too(
    model: tuple[list[TableFamily], tuple[int, ...]],
) -> None:
    families, dense = model
    for group, widths in enumerate(candidates(families, dense, "seconds")):
        friendly = friendly_widths(smallest_width(dense[group]), dense[group])
        own = [family for family in families if group in family.groups]
        costs = {
            width: sum(cost(family, dense, group, width) for family in own)
            for width in range(1, dense[group] + 1)
        }
        for width in widths[:-1]:
            competitors = friendly if width in friendly else list(costs)
            assert costs[width] < min(costs[other] for other in competitors if other > width)


def test_one_width_that_seems_cheap_does_not_rule_out_those_that_schedules_like() -> None:
    family = sawtooth(64, 1)
    family.table[61] = 1.0
    assert candidates([family], (64,)) == [[61, 62, 63, 64]]
    assert candidates([family], (64,), "seconds") == [[8, 16, 24, 32, 40, 48, 56, 61, 62, 63, 64]]


def sawtooth(dense: int, period: int) -> TableFamily:
    """A kernel whose cost is that of the next multiple of the vector length."""
    widths = np.arange(dense + 1, dtype=float)
    padded = np.ceil(widths / period) * period
    return TableFamily((0,), (0,), padded)


def test_widths_that_fill_vectors_are_the_candidates() -> None:
    assert candidates([sawtooth(64, 8)], (64,)) == [[8, 16, 24, 32, 40, 48, 56, 64]]


def test_a_dense_width_that_the_board_dislikes_is_still_a_candidate() -> None:
    assert candidates([sawtooth(61, 8)], (61,)) == [[8, 16, 24, 32, 40, 48, 56, 61]]


def test_where_all_widths_cost_the_same_only_the_dense_one_is_left() -> None:
    assert candidates([TableFamily((0,), (0,), np.ones(33))], (32,)) == [[32]]


def test_a_group_that_no_kernel_depends_on_stays_dense() -> None:
    assert candidates([sawtooth(64, 16)], (64, 20)) == [[16, 32, 48, 64], [20]]


def test_many_good_widths_are_thinned_out_evenly_over_the_costs() -> None:
    [widths] = candidates([sawtooth(512, 1)], (512,))
    assert len(widths) == MOST_CHOICE
    assert widths[0] == smallest_width(512)
    assert widths[-2:] == [511, 512]
    steps = np.diff(widths[:-1])
    assert steps.max() <= steps.min() + 1


@pytest.mark.parametrize(
    ("kernels", "most"), [(1, MOST_CHOICE), (12, MOST_CHOICE), (30, 20), (200, LEAST_CHOICE)]
)
def test_groups_of_large_networks_have_fewer_candidates(kernels: int, most: int) -> None:
    assert most_candidates(kernels) == most


def test_costs_of_all_kernels_of_a_group_count() -> None:
    """One likes multiples of 8, one of 12: together they like both, 24 most."""
    [widths] = candidates([sawtooth(48, 8), sawtooth(48, 12)], (48,))
    assert widths == [8, 12, 16, 24, 32, 36, 40, 48]


@pytest.mark.parametrize("dense", [1, 2, 3])
def test_the_narrowest_groups_have_candidates(dense: int) -> None:
    assert candidates([sawtooth(dense, 1)], (dense,)) == [list(range(1, dense + 1))]


def test_candidates_stay_within_the_limits_of_their_group() -> None:
    model = cast("LatencyModel", TableModel([sawtooth(64, 8)]))
    assert candidate_widths(model, (64,), ((20, 50),)) == [[24, 32, 40, 48, 50]]


@given(models())
def test_where_width_has_a_price_candidates_reach_from_the_narrowest_to_the_widest(
    model: tuple[list[TableFamily], tuple[int, ...]],
) -> None:
    families, dense = model
    limits = tuple((smallest_width(width), width) for width in dense)
    model_ = cast("LatencyModel", TableModel(families))
    for widths, (lowest, highest) in zip(
        candidate_widths(model_, dense, limits, spread=True), limits, strict=True
    ):
        assert widths == sorted(set(widths))
        assert (widths[0], widths[-1]) == (lowest, highest)
        assert len(widths) <= MOST_CHOICE
        if highest - lowest >= MOST_CHOICE:
            assert max(np.diff(widths)) <= (highest - lowest) / 2


def test_a_group_whose_width_costs_no_time_can_shrink_where_width_has_a_price() -> None:
    model = cast("LatencyModel", TableModel([TableFamily((0,), (0,), np.ones(65))]))
    [widths] = candidate_widths(model, (64,), ((4, 64),), spread=True)
    assert widths[0] == 4
    assert len(widths) >= 6
