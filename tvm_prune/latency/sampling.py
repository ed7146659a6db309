"""Which widths to measure: a spread of those that schedules like, and some that they do not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tvm_prune.latency.families import Widths

MULTIPLES = (16, 8, 4)
ANY_WIDTH_SHARE = 0.2
SMALLEST_SHARE = 0.1


def smallest_width(dense: int) -> int:
    """Fewest units a group may keep."""
    return max(1, round(dense * SMALLEST_SHARE))


def friendly_widths(dense: int) -> list[int]:
    """Widths that fill vectors: multiples of the largest step that leaves a choice of six."""
    smallest = smallest_width(dense)
    for step in (*MULTIPLES, 2, 1):
        widths = [width for width in range(step, dense + 1, step) if width >= smallest]
        if len(widths) >= 6:
            break
    return widths if dense in widths else [*widths, dense]


def sample_widths(dense: Widths, seed: int) -> Iterator[Widths]:
    """Endless random widths for all groups at once, repeatable for a seed."""
    generator = np.random.default_rng(seed)
    friendly = [friendly_widths(width) for width in dense]
    while True:
        yield tuple(
            int(generator.integers(smallest_width(width), width + 1))
            if generator.random() < ANY_WIDTH_SHARE
            else int(generator.choice(choices))
            for width, choices in zip(dense, friendly, strict=True)
        )
