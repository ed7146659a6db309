"""The exactness law: a pruned model computes what the dense one does with removed slices zeroed.

Statistics over channels, such as those of a layer norm, count the kept channels on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import IRModule

from tvm_prune.channels import Channels, find_channels, plan_for_units
from tvm_prune.channels.rule import AttentionUnit
from tvm_prune.transform import MaskStatistics, PruneChannels, mask_parameters, prune_parameters

from .evaluate import compiled
from .networks import random_input, random_parameters

Array = NDArray[Any]
Kept = list[NDArray[np.bool_]]
TOLERANCE = 1e-5


class VacuousError(AssertionError):
    """The comparison could not have failed: the network says nothing about the law."""


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
    attention: AttentionUnit = "dims",
) -> None:
    """Assert the law for one removal, and that the comparison could have failed."""
    channels = find_channels(module, attention=attention)
    assert channels.groups, "there is nothing to prune"
    assert not channels.labelling.barriers
    kept = random_removal(channels) if kept is None else kept
    parameters = random_parameters(module) if parameters is None else parameters
    plan = plan_for_units(channels, kept, parameters)
    dense = MaskStatistics(plan)(module)
    runs = compiled({"dense": dense, "pruned": PruneChannels(plan)(module)})
    x = random_input(module)
    expected = runs["dense"](x, mask_parameters(parameters, plan))
    actual = runs["pruned"](x, prune_parameters(parameters, plan))
    assert len(expected) == len(actual)
    for masked, pruned in zip(expected, actual, strict=True):
        scale = float(np.abs(masked).max())
        assert np.isfinite(masked).all()
        if not 1e-3 < scale < 1e6:
            raise VacuousError(f"the output's scale {scale} says nothing")
        np.testing.assert_allclose(pruned, masked, rtol=0, atol=TOLERANCE * scale)
    if not any(
        _differ(runs["dense"](x, values), expected)
        for values in _with_a_unit_silenced(channels, kept, mask_parameters(parameters, plan))
    ):
        raise VacuousError("no unit has any influence on the output")


def _with_a_unit_silenced(
    channels: Channels, kept: Kept, masked: dict[str, Array]
) -> Iterator[dict[str, Array]]:
    """Masked parameters with one more unit of a group set to zero, for every group."""
    for group, mask in zip(channels.groups, kept, strict=True):
        values = {name: value.copy() for name, value in masked.items()}
        for part in group.slices:
            index: list[Any] = [slice(None)] * values[part.parameter].ndim
            index[part.axis] = part.positions[part.units == np.argmax(mask)]
            values[part.parameter][tuple(index)] = 0
        yield values


def _differ(left: Sequence[Array], right: Sequence[Array]) -> bool:
    return any(
        bool(np.abs(one - other).max() > 10 * TOLERANCE * np.abs(other).max())
        for one, other in zip(left, right, strict=True)
    )
