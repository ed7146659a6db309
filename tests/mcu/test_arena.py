from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tvm_prune.mcu.arena import Arena, Span, lower_bound, plan_arena

ALIGNMENT = 16


@st.composite
def spans(draw: st.DrawFn) -> Span:
    first = draw(st.integers(0, 12))
    return Span(draw(st.integers(0, 500)), first, first + draw(st.integers(0, 6)))


def overlap(plan: Arena, wanted: list[Span], a: int, b: int) -> bool:
    ends = [offset + span.bytes for offset, span in zip(plan.offsets, wanted, strict=True)]
    return plan.offsets[a] < ends[b] and plan.offsets[b] < ends[a]


@given(st.lists(spans(), max_size=12))
def test_what_is_alive_together_never_overlaps(wanted: list[Span]) -> None:
    plan = plan_arena(wanted, ALIGNMENT)
    for a in range(len(wanted)):
        for b in range(a):
            if wanted[a].meets(wanted[b]) and wanted[a].bytes and wanted[b].bytes:
                assert not overlap(plan, wanted, a, b)


@given(st.lists(spans(), max_size=12))
def test_everything_lies_inside_at_aligned_offsets(wanted: list[Span]) -> None:
    plan = plan_arena(wanted, ALIGNMENT)
    for offset, span in zip(plan.offsets, wanted, strict=True):
        assert offset % ALIGNMENT == 0
        assert offset + span.bytes <= plan.bytes


@given(st.lists(spans(), max_size=12))
def test_the_arena_lies_between_the_bound_and_the_sum(wanted: list[Span]) -> None:
    plan = plan_arena(wanted, ALIGNMENT)
    rounded = [-(-span.bytes // ALIGNMENT) * ALIGNMENT for span in wanted]
    assert lower_bound(wanted) <= plan.lower_bound <= plan.bytes <= sum(rounded)


def test_the_bound_is_what_is_alive_at_the_worst_step() -> None:
    assert lower_bound([Span(10, 0, 1), Span(20, 1, 2), Span(25, 2, 3)]) == 45


@given(st.lists(st.integers(1, 500), min_size=1, max_size=12))
def test_a_chain_needs_no_more_than_its_bound(sizes: list[int]) -> None:
    chain = [Span(size, step, step + 1) for step, size in enumerate(sizes)]
    plan = plan_arena(chain, ALIGNMENT)
    assert plan.bytes == plan.lower_bound


def test_other_orders_are_tried_where_the_largest_first_wastes_memory() -> None:
    # Largest first puts 64 at 128, and the 16 bytes left below it are too few for 32.
    wanted = [Span(112, 5, 7), Span(128, 0, 3), Span(32, 4, 7), Span(64, 3, 7)]
    plan = plan_arena(wanted, ALIGNMENT)
    assert plan.bytes == plan.lower_bound


def test_the_same_spans_give_the_same_arena() -> None:
    wanted = [Span(100 + 37 * i % 90, i % 5, i % 5 + i % 3) for i in range(20)]
    assert plan_arena(wanted, ALIGNMENT) == plan_arena(wanted, ALIGNMENT)
