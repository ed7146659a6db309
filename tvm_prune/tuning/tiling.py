"""Perfect tilings: factors whose product is exactly a loop's extent. No TVM in here."""

from __future__ import annotations

import math
from collections.abc import Sequence


def closest_tiling(extent: int, factors: Sequence[int]) -> tuple[int, ...]:
    """The perfect tiling of `extent` that is closest to `factors`, innermost factor first.

    The innermost factor decides about vectors and registers, so it is chosen first: the divisor of
    the extent nearest to the old factor, the larger one of two equally near. The next factor is
    chosen from the divisors of what remains, and so on; the outermost factor takes the rest.

    Args:
        extent: the loop's new extent, at least 1.
        factors: the tiling of another extent, outermost first; not empty, all at least 1.

    Returns:
        As many factors, whose product is `extent`; `factors` itself where it fits already.

    Raises:
        ValueError: if `extent` or a factor is less than 1, or there is no factor.
    """
    if extent < 1 or not factors or min(factors) < 1:
        raise ValueError(f"no tiling of extent {extent} follows from the factors {list(factors)}")
    if math.prod(factors) == extent:
        return tuple(factors)
    remaining = extent
    chosen: list[int] = []
    for factor in reversed(factors[1:]):
        chosen.append(_nearest_divisor(remaining, factor))
        remaining //= chosen[-1]
    return (remaining, *reversed(chosen))


def _nearest_divisor(number: int, wanted: int) -> int:
    """The divisor of `number` nearest to `wanted`; the larger one of two equally near."""
    return min(_divisors(number), key=lambda divisor: (abs(divisor - wanted), -divisor))


def _divisors(number: int) -> list[int]:
    """All divisors of `number`, in no particular order."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return [*small, *(number // d for d in small)]
