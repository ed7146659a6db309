"""Candidates of plans that are chosen by their work."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tvm_prune.channels import Limits
from tvm_prune.planner import ByWork
from tvm_prune.planner.counts import Count, Extent, Product
from tvm_prune.planner.widths import LEAST_CHOICE, MOST_CHOICE

limits = st.lists(
    st.tuples(st.integers(1, 600), st.integers(0, 600)).map(lambda pair: (pair[0], sum(pair))),
    min_size=1,
    max_size=4,
).map(tuple)


def work(products: int) -> Count:
    """A sum of as many products, of the width of the first group each."""
    return Count((Product(1, (Extent(0, ((0, 1),)),)),) * products)


@given(limits=limits, products=st.integers(1, 200))
def test_any_width_is_spread_evenly_between_the_lowest_and_the_highest(
    limits: Limits, products: int
) -> None:
    for chosen, (lowest, highest) in zip(
        ByWork.at_any_width(work(products), limits).candidates, limits, strict=True
    ):
        steps = [wider - width for width, wider in itertools.pairwise(chosen)]
        assert (chosen[0], chosen[-1]) == (lowest, highest)
        assert all(step >= 1 for step in steps)
        assert max(steps, default=1) - min(steps, default=1) <= 1
        assert len(chosen) <= MOST_CHOICE
        assert len(chosen) == highest - lowest + 1 or len(chosen) >= LEAST_CHOICE


@given(limits=limits)
def test_multiples_of_eight_and_the_highest_width_are_what_is_customary(limits: Limits) -> None:
    for chosen, (lowest, highest) in zip(
        ByWork.at_multiples(work(1), limits).candidates, limits, strict=True
    ):
        assert list(chosen) == sorted(set(chosen))
        assert chosen[-1] == highest
        assert set(chosen[:-1]) == {w for w in range(lowest, highest) if w % 8 == 0}
