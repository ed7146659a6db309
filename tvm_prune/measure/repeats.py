"""How long code is run to know what it costs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle
from typing import TypeVar

SITTINGS = 5
"""How many times, in a process of its own each, a model's cost in seconds is measured.

Where the memory of a process happens to lie makes one model faster and another one not, by several
per cent, as long as the process lives (Mytkowicz et al., "Producing wrong data without doing
anything obviously wrong!", ASPLOS 2009). And what else runs on a machine, or on the host of a
virtual one, slows it for tenths of a second or for many; one sitting may fall into such a time as
a whole.
"""

WARM_UP = 0.1
"""Seconds that code runs before it is timed.

The threads of a new process share a processor until the system spreads them, which was seen to take
10 to 30 ms. Code that two threads run takes half again as long until then, and the first code that
is timed, the dense model, most of it.
"""

Item = TypeVar("Item")


def divided(rounds: int) -> list[int]:
    """Rounds of measurements for each of the sittings."""
    shares = [rounds // SITTINGS + (index < rounds % SITTINGS) for index in range(SITTINGS)]
    return [share for share in shares if share]


def pooled(sittings: Iterable[Sequence[Sequence[float]]]) -> list[tuple[float, ...]]:
    """All samples of each model, from the samples of each model in every sitting."""
    return [tuple(chain.from_iterable(own)) for own in zip(*sittings, strict=True)]


@dataclass(frozen=True)
class Repeats:
    """How long a kernel or model is run to know its cost.

    Attributes:
        samples: repeats, each of which gives one sample.
        seconds: what one repeat should take at least; fast code is called many times.
        total_seconds: what all repeats should take at most; slow code is repeated less often.
        cooldown: seconds of rest before each repeat.
        warm_up: seconds of running before the first repeat, of whatever code takes turns.
        exact: whether one call tells the cost, as where instructions are counted.
    """

    samples: int = 5
    seconds: float = 0.005
    total_seconds: float = 0.4
    cooldown: float = 0.0
    warm_up: float = WARM_UP
    exact: bool = False

    def plan(self, seconds_per_call: float) -> tuple[int, int]:
        """Calls per repeat, and repeats, for code that takes `seconds_per_call`."""
        if self.exact:
            return 1, 1
        number = max(1, math.ceil(self.seconds / max(seconds_per_call, 1e-8)))
        affordable = int(self.total_seconds / (number * max(seconds_per_call, 1e-8)))
        return number, max(1, min(self.samples, affordable))

    def warming_up(self, items: Sequence[Item]) -> Iterator[Item]:
        """What is to be run before the first repeat: items in turns, until the time has passed."""
        end = time.perf_counter() + self.warm_up
        for item in cycle(() if self.exact else items):
            if time.perf_counter() >= end:
                return
            yield item
