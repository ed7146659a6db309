"""How narrow and how wide each group may become."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TypeAlias

import numpy as np

from tvm_prune.channels.groups import ChannelGroup, Channels
from tvm_prune.errors import PruneError
from tvm_prune.settings import MOST_SPARSITY

Limits: TypeAlias = tuple[tuple[int, int], ...]
"""Lowest and highest width of every group."""


def smallest_width(dense: int, max_sparsity: float = MOST_SPARSITY) -> int:
    """Fewest units a group of `dense` units may keep."""
    return max(1, math.ceil(dense * (1 - max_sparsity) - 1e-9))


def spread_widths(lowest: int, highest: int, most: int) -> list[int]:
    """Widths that are spread evenly, ascending, both ends included; so many of them at most."""
    widths: list[int] = np.unique(np.linspace(lowest, highest, most).round().astype(int)).tolist()
    return widths


def width_limits(
    channels: Channels,
    max_sparsity: float = MOST_SPARSITY,
    bounds: Mapping[str, tuple[int, int]] | None = None,
) -> Limits:
    """Lowest and highest width of every group.

    Args:
        channels: the model's channels.
        max_sparsity: largest share of a group's units that may go, 0..1.
        bounds: lowest and highest width of single groups, by name or glob; the last one that
            matches a group holds. A group has the name of the parameter that gives it its channels.

    Raises:
        PruneError: if a share or bound makes no sense, or a name matches no group.
    """
    if not 0 <= max_sparsity < 1:
        raise PruneError(
            f"The largest sparsity is {max_sparsity}, but it must be at least 0 and below 1."
        )
    limits = [(smallest_width(group.width, max_sparsity), group.width) for group in channels.groups]
    for pattern, (lowest, highest) in (bounds or {}).items():
        groups = [group for group in channels.groups if fnmatchcase(group.name, pattern)]
        if not groups:
            raise PruneError(_no_group(pattern, channels.groups))
        for group in groups:
            if not 1 <= lowest <= highest <= group.width:
                raise PruneError(
                    f"The bounds {lowest}..{highest} of group '{group.name}' must lie within "
                    f"1..{group.width}, the lower one first."
                )
            limits[group.index] = (lowest, highest)
    return tuple(limits)


def _no_group(pattern: str, groups: tuple[ChannelGroup, ...]) -> str:
    close = difflib.get_close_matches(pattern, [group.name for group in groups], n=1, cutoff=0.4)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"No group is named '{pattern}'; `tvm-prune inspect` lists all {len(groups)}.{hint}"
