"""Attention layers lose dimensions of every head, or whole heads, as was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from support.attention_networks import (
    ATTENTION_NETWORKS,
    DIMENSIONS,
    HEADS,
    TOKENS,
    WIDTH,
    apart,
    joined,
    scores_and_values,
)
from support.exactness import assert_exact
from support.networks import Layers, build
from tvm import relax

from tvm_prune.channels import ChannelGroup, find_channels
from tvm_prune.channels.rule import AttentionUnit

LAST = 8
"""Width of the layer after the attention."""

QUERIES = 5
"""Learned queries are as good as channels: their results are averaged."""

DIMS: Mapping[str, list[int]] = {
    "separate": [DIMENSIONS, DIMENSIONS, LAST],
    "one_projection": [DIMENSIONS, LAST],
    "two_steps": [DIMENSIONS, LAST],
    "sliced": [DIMENSIONS, DIMENSIONS, LAST],
    "cross": [QUERIES, 7, DIMENSIONS, DIMENSIONS, LAST],
    "grouped_queries": [DIMENSIONS, DIMENSIONS, LAST],
    "one_key_head": [DIMENSIONS, DIMENSIONS, LAST],
    "many_small_heads": [2, 2, LAST],
    "kernel": [DIMENSIONS, DIMENSIONS, LAST],
    "talking": [DIMENSIONS, DIMENSIONS, LAST],
}
"""Widths of the groups: query and key share one, values have their own unless all are one axis."""

WHOLE_HEADS: Mapping[str, list[int]] = {
    "separate": [HEADS, LAST],
    "one_projection": [HEADS, LAST],
    "two_steps": [HEADS, LAST],
    "sliced": [HEADS, LAST],
    "cross": [QUERIES, 7, HEADS, LAST],
    "grouped_queries": [HEADS, LAST],
    "one_key_head": [HEADS, LAST],
    "many_small_heads": [6, LAST],
    "kernel": [HEADS, LAST],
    "talking": [HEADS, HEADS, LAST],
}
"""Query, key and value share their heads."""

EXPECTED = [
    pytest.param(name, unit, widths, id=f"{name}-{unit}")
    for unit, table in (("dims", DIMS), ("heads", WHOLE_HEADS))
    for name, widths in table.items()
]


def group_of(name: str, unit: AttentionUnit, parameter: str) -> ChannelGroup:
    channels = find_channels(build(ATTENTION_NETWORKS[name], TOKENS), attention=unit)
    return next(
        group
        for group in channels.groups
        if any(part.parameter == parameter for part in group.slices)
    )


@pytest.mark.parametrize(("name", "unit", "widths"), EXPECTED)
def test_groups_are_dimensions_or_heads(name: str, unit: AttentionUnit, widths: list[int]) -> None:
    channels = find_channels(build(ATTENTION_NETWORKS[name], TOKENS), attention=unit)
    assert not channels.labelling.barriers
    assert sorted(group.width for group in channels.groups) == sorted(widths)


@pytest.mark.parametrize("unit", ["dims", "heads"])
@pytest.mark.parametrize("name", ATTENTION_NETWORKS)
def test_pruned_equals_masked(name: str, unit: AttentionUnit) -> None:
    assert_exact(build(ATTENTION_NETWORKS[name], TOKENS), attention=unit)


def test_a_dimension_goes_out_of_every_head() -> None:
    group = group_of("separate", "dims", "matmul0")
    entry = next(part for part in group.slices if part.parameter == "matmul0")
    assert entry.units.tolist() == list(range(DIMENSIONS)) * HEADS


def test_a_head_goes_with_all_its_dimensions() -> None:
    group = group_of("separate", "heads", "matmul0")
    entry = next(part for part in group.slices if part.parameter == "matmul0")
    assert entry.units.tolist() == np.repeat(range(HEADS), DIMENSIONS).tolist()


def test_a_position_bias_loses_its_heads() -> None:
    group = group_of("one_projection", "heads", "bias2")
    entry = next(part for part in group.slices if part.parameter == "bias2")
    assert (entry.axis, entry.units.tolist()) == (1, list(range(HEADS)))


def test_a_key_head_goes_with_the_query_heads_that_share_it() -> None:
    group = group_of("grouped_queries", "heads", "matmul0")
    units = {part.parameter: part.units for part in group.slices}
    assert units["matmul0"].tolist() == np.repeat(range(HEADS), 2 * DIMENSIONS).tolist()
    assert units["matmul2"].tolist() == np.repeat(range(HEADS), DIMENSIONS).tolist()
    assert units["matmul0"].size == 2 * WIDTH


def test_the_attention_op_shares_key_heads_among_query_heads() -> None:
    def body(net: Layers, x: Any) -> Any:
        def heads(count: int) -> Any:
            return net.emit(
                relax.op.reshape(net.linear(x, count * DIMENSIONS), (2, 9, count, DIMENSIONS))
            )

        h = net.emit(relax.op.nn.attention(heads(6), heads(2), heads(2)))
        h = net.emit(relax.op.reshape(h, (2, 9, 6 * DIMENSIONS)))
        return net.linear(relax.op.mean(h, [1]), 5)

    (group,) = find_channels(build(body, TOKENS), attention="heads").groups
    units = {part.parameter: part.units for part in group.slices}
    assert units["matmul0"].tolist() == np.repeat(range(2), 3 * DIMENSIONS).tolist()
    assert units["matmul1"].tolist() == np.repeat(range(2), DIMENSIONS).tolist()


def test_turned_positions_tie_the_two_halves_of_a_head() -> None:
    """Rotary positions mix a dimension with the one half a head further."""

    def body(net: Layers, x: Any) -> Any:
        op = relax.op

        def turned(h: Any) -> Any:
            halves = net.emit(op.split(net.emit(h), 2, axis=3))
            other = net.emit(op.concat([net.emit(op.negative(halves[1])), halves[0]], axis=3))
            angles = np.arange(9 * DIMENSIONS, dtype="float32").reshape(9, DIMENSIONS)
            cosine, sine = (relax.const(wave(angles)) for wave in (np.cos, np.sin))
            return net.emit(op.add(op.multiply(h, cosine), op.multiply(other, sine)))

        query, key, value = (apart(net, net.linear(x, WIDTH)) for _ in range(3))
        h = scores_and_values(net, turned(query), turned(key), value)
        return net.linear(op.mean(joined(net, h), [1]), 5)

    module = build(body, TOKENS)
    assert [group.width for group in find_channels(module).groups] == [DIMENSIONS // 2, DIMENSIONS]
    assert_exact(module)


def test_positions_stay_and_their_embedding_loses_channels() -> None:
    def body(net: Layers, x: Any) -> Any:
        op = relax.op
        first = op.broadcast_to(net.parameter((1, 1, 8), "bias"), (2, 1, 8))
        tokens = net.emit(op.concat([net.emit(first), net.linear(x, 8)], axis=1))
        h = net.emit(op.add(tokens, net.parameter((1, 10, 8), "bias")))
        query, key, value = (apart(net, net.linear(h, WIDTH)) for _ in range(3))
        h = net.emit(
            op.add(h, net.linear(joined(net, scores_and_values(net, query, key, value)), 8))
        )
        return net.linear(op.take(h, relax.const(0, "int64"), axis=1), 5)

    channels = find_channels(build(body, TOKENS))
    trunk = next(group for group in channels.groups if group.width == 8)
    axes = {(part.parameter, part.axis) for part in trunk.slices}
    assert {("bias0", 2), ("bias2", 2), ("matmul1", 1)} <= axes
    assert ("bias2", 1) in {(entry.parameter, entry.axis) for entry in channels.frozen}
    assert_exact(build(body, TOKENS))
