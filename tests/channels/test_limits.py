"""What the user may ask: parameters that stay, and how narrow or wide a group may become."""

from __future__ import annotations

from typing import Any

import pytest
from support.networks import Layers, build

from tvm_prune.channels import Channels, find_channels, smallest_width, width_limits
from tvm_prune.errors import PruneError


def chain(net: Layers, x: Any) -> Any:
    return net.head(net.conv(net.conv(net.conv(x, 16, 3), 10, 3), 8, 3))


@pytest.fixture(scope="module")
def module() -> Any:
    return build(chain)


@pytest.fixture(scope="module")
def channels(module: Any) -> Channels:
    return find_channels(module)


def names(channels: Channels) -> list[str]:
    return [group.name for group in channels.groups]


def test_the_network_has_three_groups_of_known_names(channels: Channels) -> None:
    assert names(channels) == ["conv0", "conv1", "conv2"]


def test_a_kept_parameter_is_touched_by_no_group(module: Any) -> None:
    kept = find_channels(module, keep=["conv1"])
    assert names(kept) == ["conv2"]
    assert all(entry.parameter != "conv1" for group in kept.groups for entry in group.slices)
    frozen = {(entry.parameter, entry.axis): entry.reason for entry in kept.frozen}
    assert frozen["conv1", 0] == "is kept as asked"
    assert frozen["conv0", 0] == "is kept as asked"


def test_a_glob_keeps_all_it_matches(module: Any) -> None:
    assert names(find_channels(module, keep=["conv[12]"])) == []


def test_keeping_what_does_not_exist_names_what_does(module: Any) -> None:
    with pytest.raises(PruneError, match="'conv11'; did you mean 'conv1'"):
        find_channels(module, keep=["conv11"])


@pytest.mark.parametrize(
    ("dense", "sparsity", "least"),
    [(64, 0.9, 7), (64, 0.5, 32), (5, 0.5, 3), (10, 0.0, 10), (3, 0.99, 1), (10, 0.7, 3)],
)
def test_no_more_than_the_share_may_go(dense: int, sparsity: float, least: int) -> None:
    assert smallest_width(dense, sparsity) == least


def test_bounds_of_single_groups_override_the_share(channels: Channels) -> None:
    limits = width_limits(channels, 0.5, {"conv*": (4, 8), "conv0": (12, 16)})
    assert limits == ((12, 16), (4, 8), (4, 8))


def test_groups_without_bounds_follow_the_share(channels: Channels) -> None:
    assert width_limits(channels, 0.5, {"conv1": (2, 2)}) == ((8, 16), (2, 2), (4, 8))


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 5.0])
def test_a_share_outside_its_range_is_refused(channels: Channels, sparsity: float) -> None:
    with pytest.raises(PruneError, match=f"{sparsity}.*at least 0 and below 1"):
        width_limits(channels, sparsity)


@pytest.mark.parametrize("bounds", [(0, 4), (5, 4), (4, 17)])
def test_impossible_bounds_are_refused(channels: Channels, bounds: tuple[int, int]) -> None:
    with pytest.raises(PruneError, match=r"group 'conv0' must lie within 1\.\.16"):
        width_limits(channels, bounds={"conv0": bounds})


def test_bounds_of_an_unknown_group_name_the_nearest(channels: Channels) -> None:
    with pytest.raises(PruneError, match=r"No group is named 'cnv0'.*'conv0'"):
        width_limits(channels, bounds={"cnv0": (1, 2)})
