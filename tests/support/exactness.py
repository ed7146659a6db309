"""The exactness law: a pruned model computes what the dense one does with removed slices zeroed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import IRModule

from tvm_prune.channels import Channels, find_channels, plan_for_units
from tvm_prune.transform import PruneChannels, mask_parameters, prune_parameters

from .evaluate import Run, compiled
from .networks import random_input, random_parameters

Array = NDArray[Any]
Kept = list[NDArray[np.bool_]]
TOLERANCE = 1e-5


def random_removal(channels: Channels, seed: int = 0) -> Kept:
    """Keep a random part of every group, never all of it where it has a choice."""
    generator = np.random.default_rng(seed)
    kept = []
    for group in channels.groups:
        width = int(generator.integers(1, max(2, group.width)))
        mask = np.zeros(group.width, dtype=bool)
        mask[generator.permutation(group.width)[:width]] = True
        kept.append(mask)
    return kept


def assert_exact(
    module: IRModule,
    kept: Kept | None = None,
    parameters: dict[str, Array] | None = None,
) -> None:
    """Assert the law for one removal, and that the comparison could have failed."""
    channels = find_channels(module)
    assert channels.groups, "there is nothing to prune"
    assert not channels.labelling.barriers
    kept = random_removal(channels) if kept is None else kept
    parameters = random_parameters(module) if parameters is None else parameters
    plan = plan_for_units(channels, kept, parameters)
    runs = compiled({"dense": module, "pruned": PruneChannels(plan)(module)})
    x = random_input(module)
    expected = runs["dense"](x, mask_parameters(parameters, plan))
    actual = runs["pruned"](x, prune_parameters(parameters, plan))
    assert len(expected) == len(actual)
    for dense, pruned in zip(expected, actual, strict=True):
        scale = float(np.abs(dense).max())
        assert np.isfinite(dense).all()
        assert 1e-3 < scale < 1e6, f"the output's scale {scale} says nothing"
        np.testing.assert_allclose(pruned, dense, rtol=0, atol=TOLERANCE * scale)
    _assert_units_matter(channels, kept, parameters, runs["dense"], x, expected)


def _assert_units_matter(
    channels: Channels,
    kept: Kept,
    parameters: dict[str, Array],
    dense: Run,
    x: Array,
    expected: Sequence[Array],
) -> None:
    """Taking one more unit out of the masked model must change its output."""
    changed = []
    for index, mask in enumerate(kept):
        if mask.size == 1:
            continue
        other = [entry.copy() for entry in kept]
        if mask.sum() > 1:
            other[index][np.argmax(mask)] = False
        else:  # the last unit cannot go: another one takes its place
            other[index] = np.roll(mask, 1)
        values = mask_parameters(parameters, plan_for_units(channels, other, parameters))
        changed.append(
            any(
                np.abs(left - right).max() > 10 * TOLERANCE * np.abs(right).max()
                for left, right in zip(dense(x, values), expected, strict=True)
            )
        )
    assert any(changed), "no unit has any influence on the output"
