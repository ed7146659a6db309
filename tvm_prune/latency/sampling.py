"""Which widths to measure: a spread of those that schedules like, and some that they do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tvm_prune.channels import Limits
from tvm_prune.latency.templates import Widths

MULTIPLES = (16, 8, 4)
ANY_WIDTH_SHARE = 0.2


def friendly_widths(lowest: int, highest: int) -> list[int]:
    """Widths that fill vectors: multiples of the largest step that leaves a choice of six."""
    for step in (*MULTIPLES, 2, 1):
        widths = [width for width in range(step, highest + 1, step) if width >= lowest]
        if len(widths) >= 6:
            break
    return widths if highest in widths else [*widths, highest]


def friendly_widths_near(limits: Limits, wanted: Sequence[float]) -> Widths:
    """For every group the width that schedules like and that is nearest to the wanted one."""
    return tuple(
        min(friendly_widths(*limit), key=lambda width: abs(width - aim))
        for limit, aim in zip(limits, wanted, strict=True)
    )


def sample_widths(limits: Limits, seed: int) -> Iterator[Widths]:
    """Endless random widths for all groups at once, repeatable for a seed."""
    generator = np.random.default_rng(seed)
    friendly = [friendly_widths(lowest, highest) for lowest, highest in limits]
    while True:
        yield tuple(
            int(generator.integers(lowest, highest + 1))
            if generator.random() < ANY_WIDTH_SHARE
            else int(generator.choice(choices))
            for (lowest, highest), choices in zip(limits, friendly, strict=True)
        )
