"""The algebra of labels: which live or die together, and what stays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tvm_prune.channels.labels import FROZEN, NEUTRAL, LabelSpace, frozen_axis, is_prunable

LABELS = 8

Pairs = list[tuple[int, int]]
pairs = st.lists(st.tuples(st.integers(0, LABELS), st.integers(0, LABELS)), max_size=8)
freezes = st.lists(st.integers(1, LABELS), max_size=3)


def axis(*labels: int) -> NDArray[np.int64]:
    return np.array(labels, dtype=np.int64)


def space_of(tied: Pairs, frozen: list[int]) -> LabelSpace:
    space = LabelSpace()
    space.fresh_axis(LABELS)
    for left, right in tied:
        space.tie(axis(left), axis(right), "is tied")
    for label in frozen:
        space.freeze(axis(label), "is frozen")
    return space


def reachable(tied: Pairs, frozen: list[int]) -> dict[int, set[int]]:
    """Classes by exhaustive search; freezing a label ties it to FROZEN."""
    edges = [*tied, *((FROZEN, label) for label in frozen)]
    classes = {label: {label} for label in range(LABELS + 1)}
    for _ in range(LABELS + 1):
        for left, right in edges:
            merged = classes[left] | classes[right]
            for label in merged:
                classes[label] = merged
    return classes


@given(pairs, freezes)
def test_classes_are_the_equivalence_that_the_ties_generate(tied: Pairs, frozen: list[int]) -> None:
    class_of = space_of(tied, frozen).classes()
    expected = reachable(tied, frozen)
    for left in range(LABELS + 1):
        together = {right for right in range(LABELS + 1) if class_of[left] == class_of[right]}
        assert together == expected[left]


@given(pairs, freezes)
def test_a_tie_has_no_direction(tied: Pairs, frozen: list[int]) -> None:
    forward = space_of(tied, frozen).classes()
    backward = space_of([(right, left) for left, right in tied], frozen).classes()
    np.testing.assert_array_equal(
        forward[:, None] == forward, backward[:, None] == backward, strict=True
    )


@given(pairs, freezes)
def test_the_order_of_ties_and_freezes_does_not_matter(tied: Pairs, frozen: list[int]) -> None:
    first = space_of(tied, frozen).classes()
    second = space_of(tied[::-1], frozen[::-1]).classes()
    np.testing.assert_array_equal(first[:, None] == first, second[:, None] == second)


@given(pairs, freezes)
def test_what_is_tied_to_a_frozen_label_is_frozen(tied: Pairs, frozen: list[int]) -> None:
    class_of = space_of(tied, frozen).classes()
    for left, right in [*tied, *((label, FROZEN) for label in frozen)]:
        assert (class_of[left] == class_of[FROZEN]) == (class_of[right] == class_of[FROZEN])


@given(st.lists(st.integers(NEUTRAL, LABELS), min_size=1, max_size=LABELS))
def test_a_neutral_position_ties_nothing(labels: list[int]) -> None:
    space = space_of([], [])
    space.tie(axis(*labels), np.full(len(labels), NEUTRAL), "is tied")
    space.tie(np.full(len(labels), NEUTRAL), axis(*labels), "is tied")
    assert np.unique(space.classes()).size == LABELS + 1


def test_fresh_labels_are_new_and_free() -> None:
    space = LabelSpace()
    first, second = space.fresh_axis(3), space.fresh_axis(4)
    assert np.unique(np.concatenate([first, second])).size == 7
    assert first.min() > FROZEN
    assert is_prunable(first)
    assert np.unique(space.classes()).size == 8


def test_an_axis_of_extent_one_is_neutral() -> None:
    assert LabelSpace().fresh_axis(1).tolist() == [NEUTRAL]
    assert frozen_axis(1).tolist() == [NEUTRAL]
    assert not is_prunable(frozen_axis(1))
    assert frozen_axis(3).tolist() == [FROZEN] * 3
