"""Which widths are measured."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_prune.channels import Limits, smallest_width
from tvm_prune.latency import friendly_widths, sample_widths

dense_widths = st.integers(1, 600)
limits = st.tuples(dense_widths, dense_widths).map(lambda pair: (min(pair), max(pair)))
models = st.lists(limits, min_size=1, max_size=5).map(tuple)


def free(*dense: int) -> Limits:
    """Limits of groups about which the user said nothing."""
    return tuple((smallest_width(width), width) for width in dense)


def first(limits: Limits, seed: int, count: int = 20) -> list[tuple[int, ...]]:
    return list(islice(sample_widths(limits, seed), count))


@given(limits=models, seed=st.integers(0, 99))
def test_every_sampled_width_is_within_its_limits(limits: Limits, seed: int) -> None:
    for widths in first(limits, seed):
        assert len(widths) == len(limits)
        for width, (lowest, highest) in zip(widths, limits, strict=True):
            assert lowest <= width <= highest


@given(limits=limits)
def test_friendly_widths_ascend_within_their_limits_to_the_highest(
    limits: tuple[int, int],
) -> None:
    widths = friendly_widths(*limits)
    assert widths == sorted(set(widths))
    assert widths[0] >= limits[0]
    assert widths[-1] == limits[1]


def test_friendly_widths_fill_vectors_where_that_leaves_a_choice() -> None:
    assert friendly_widths(13, 128) == [16, 32, 48, 64, 80, 96, 112, 128]
    assert friendly_widths(7, 64) == [8, 16, 24, 32, 40, 48, 56, 64]
    assert friendly_widths(10, 100)[-2:] == [96, 100]
    assert friendly_widths(1, 5) == [1, 2, 3, 4, 5]


def test_the_same_seed_samples_the_same_widths() -> None:
    assert first(free(64, 48, 10), 7) == first(free(64, 48, 10), 7)
    assert first(free(64, 48, 10), 7) != first(free(64, 48, 10), 8)


@pytest.mark.parametrize("dense", [64, 96, 256])
def test_most_samples_are_friendly_and_some_are_not(dense: int) -> None:
    friendly = friendly_widths(smallest_width(dense), dense)
    share = sum(width in friendly for (width,) in first(free(dense), 0, 500)) / 500
    assert 0.7 < share < 0.95


def test_samples_reach_narrow_and_wide_models() -> None:
    widths = [width for (width,) in first(free(64), 0, 200)]
    assert min(widths) <= 8
    assert max(widths) == 64
