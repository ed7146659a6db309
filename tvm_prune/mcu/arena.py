"""Where each buffer lies in one static block of memory.

Buffers that are never alive together may share bytes. Finding the smallest arena is NP-hard
(dynamic storage allocation; Garey and Johnson, SR2), but it is never smaller than what is alive at
the worst moment, and the orders tried here end at that bound, or next to it, for neural networks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_SHUFFLES = 400
"""Orders that are tried at random where no rule reaches the lower bound."""


@dataclass(frozen=True)
class Span:
    """How much memory is wanted, and when.

    Attributes:
        bytes: size.
        first: step at which it is written first.
        last: last step at which it is read or written.
    """

    bytes: int
    first: int
    last: int

    def meets(self, other: Span) -> bool:
        """Whether both are wanted at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Arena:
    """A block of memory, and what lies where.

    Attributes:
        offsets: bytes from its start, for each span.
        bytes: its size.
        lower_bound: bytes that are alive at the worst step; no arena can be smaller.
    """

    offsets: tuple[int, ...]
    bytes: int
    lower_bound: int


def plan_arena(spans: Sequence[Span], alignment: int) -> Arena:
    """Place spans so that no two of them that meet overlap.

    Greedy placement at the lowest offset that is free, largest span first (Pisarchyk and Lee,
    "Efficient Memory Management for Deep Neural Net Inference", 2020), then in other orders as
    long as the arena is larger than the lower bound. The same spans give the same arena.

    Args:
        spans: what to place.
        alignment: every offset is a multiple of it.
    """
    rounded = [Span(_rounded(span.bytes, alignment), span.first, span.last) for span in spans]
    bound = lower_bound(rounded)
    best = Arena((0,) * len(spans), 0, bound)
    for number, order in enumerate(_orders(rounded)):
        offsets = _place(rounded, order)
        ends = [offset + span.bytes for offset, span in zip(offsets, rounded, strict=True)]
        size = max(ends, default=0)
        if number == 0 or size < best.bytes:
            best = Arena(tuple(offsets), size, bound)
        if best.bytes == bound:
            break
    return best


def lower_bound(spans: Sequence[Span]) -> int:
    """Bytes that are alive at the worst step."""
    steps = {span.first for span in spans}
    return max(
        (sum(span.bytes for span in spans if span.first <= step <= span.last) for step in steps),
        default=0,
    )


def _orders(spans: Sequence[Span]) -> Iterator[list[int]]:
    """Orders to place spans in, the most promising first."""
    indices = range(len(spans))
    alive = {
        step: sum(span.bytes for span in spans if span.first <= step <= span.last)
        for step in {span.first for span in spans}
    }
    crowd = [
        max((size for step, size in alive.items() if span.first <= step <= span.last), default=0)
        for span in spans
    ]
    keys: Sequence[Callable[[int], tuple[int, ...]]] = (
        lambda i: (-spans[i].bytes, spans[i].first),
        lambda i: (-crowd[i], -spans[i].bytes, spans[i].first),
        lambda i: (spans[i].first - spans[i].last, -spans[i].bytes),
        lambda i: (-(spans[i].last - spans[i].first + 1) * spans[i].bytes, spans[i].first),
        lambda i: (-crowd[i], spans[i].first - spans[i].last, -spans[i].bytes),
        lambda i: (spans[i].first, -spans[i].bytes),
        lambda i: (-spans[i].last, -spans[i].bytes),
    )
    for key in keys:
        yield sorted(indices, key=key)
    generator = random.Random(0)
    for number in range(_SHUFFLES):
        reach = 2 + number % 8
        weights = [-span.bytes * generator.uniform(1, reach) for span in spans]
        yield sorted(indices, key=weights.__getitem__)


def _place(spans: Sequence[Span], order: Sequence[int]) -> list[int]:
    """Offsets by first fit in the given order."""
    offsets = [0] * len(spans)
    placed: list[int] = []
    for index in order:
        span, offset = spans[index], 0
        for other in sorted(placed, key=lambda i: offsets[i]):
            if not span.meets(spans[other]):
                continue
            if offsets[other] >= offset + span.bytes:
                break
            offset = max(offset, offsets[other] + spans[other].bytes)
        offsets[index] = offset
        placed.append(index)
    return offsets


def _rounded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
