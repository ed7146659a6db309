"""Which widths are measured."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_prune.latency import friendly_widths, sample_widths, smallest_width

dense_widths = st.integers(1, 600)
models = st.lists(dense_widths, min_size=1, max_size=5).map(tuple)


def first(dense: tuple[int, ...], seed: int, count: int = 20) -> list[tuple[int, ...]]:
    return list(islice(sample_widths(dense, seed), count))


@given(dense=models, seed=st.integers(0, 99))
def test_every_sampled_width_can_be_kept(dense: tuple[int, ...], seed: int) -> None:
    for widths in first(dense, seed):
        assert len(widths) == len(dense)
        for width, most in zip(widths, dense, strict=True):
            assert 1 <= smallest_width(most) <= width <= most


@given(dense=dense_widths)
def test_friendly_widths_ascend_from_the_smallest_to_the_dense_one(dense: int) -> None:
    widths = friendly_widths(dense)
    assert widths == sorted(set(widths))
    assert widths[0] >= smallest_width(dense)
    assert widths[-1] == dense


def test_friendly_widths_fill_vectors_where_that_leaves_a_choice() -> None:
    assert friendly_widths(128) == [16, 32, 48, 64, 80, 96, 112, 128]
    assert friendly_widths(64) == [8, 16, 24, 32, 40, 48, 56, 64]
    assert friendly_widths(100)[-2:] == [96, 100]
    assert friendly_widths(5) == [1, 2, 3, 4, 5]


def test_the_same_seed_samples_the_same_widths() -> None:
    assert first((64, 48, 10), 7) == first((64, 48, 10), 7)
    assert first((64, 48, 10), 7) != first((64, 48, 10), 8)


@pytest.mark.parametrize("dense", [64, 96, 256])
def test_most_samples_are_friendly_and_some_are_not(dense: int) -> None:
    friendly = friendly_widths(dense)
    share = sum(width in friendly for (width,) in first((dense,), 0, 500)) / 500
    assert 0.7 < share < 0.95


def test_samples_reach_narrow_and_wide_models() -> None:
    widths = [width for (width,) in first((64,), 0, 200)]
    assert min(widths) <= 8
    assert max(widths) == 64
