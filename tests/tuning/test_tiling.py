import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_prune.tuning.tiling import closest_tiling

FACTORS = st.lists(st.integers(1, 64), min_size=1, max_size=5)


def divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


@given(st.integers(1, 2048), FACTORS)
def test_the_product_of_the_factors_is_the_extent(extent: int, factors: list[int]) -> None:
    tiling = closest_tiling(extent, factors)
    assert math.prod(tiling) == extent
    assert len(tiling) == len(factors)


@given(FACTORS)
def test_the_old_extent_keeps_its_factors(factors: list[int]) -> None:
    assert closest_tiling(math.prod(factors), factors) == tuple(factors)


@given(st.integers(1, 2048), st.lists(st.integers(1, 64), min_size=2, max_size=5))
def test_the_innermost_factor_is_the_divisor_closest_to_the_old_one(
    extent: int, factors: list[int]
) -> None:
    innermost = closest_tiling(extent, factors)[-1]
    assert abs(innermost - factors[-1]) == min(abs(d - factors[-1]) for d in divisors(extent))


@pytest.mark.parametrize(
    ("extent", "factors", "expected"),
    [
        (48, (4, 1, 4, 4), (3, 1, 4, 4)),
        (61, (4, 16), (61, 1)),
        (61, (1, 64), (1, 61)),
        (16, (5, 3), (4, 4)),
        (24, (2, 2, 8), (1, 3, 8)),
        (1, (8, 8), (1, 1)),
        (7, (64,), (7,)),
    ],
)
def test_known_tilings(extent: int, factors: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert closest_tiling(extent, factors) == expected


@pytest.mark.parametrize(("extent", "factors"), [(0, (1, 2)), (8, ()), (8, (0, 8))])
def test_what_cannot_be_tiled_is_refused(extent: int, factors: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no tiling"):
        closest_tiling(extent, factors)
