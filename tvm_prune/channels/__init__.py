"""Channel labels, and the groups of channels that follow from them."""

from __future__ import annotations

from tvm_prune.channels.groups import (
    ChannelGroup,
    Channels,
    FrozenAxis,
    ParameterSlice,
    find_channels,
)
from tvm_prune.channels.labelling import Barrier, Labelling, label
from tvm_prune.channels.limits import Limits, smallest_width, spread_widths, width_limits
from tvm_prune.channels.selection import Scores, keep_best, plan_for_units

__all__ = [
    "Barrier",
    "ChannelGroup",
    "Channels",
    "FrozenAxis",
    "Labelling",
    "Limits",
    "ParameterSlice",
    "Scores",
    "find_channels",
    "keep_best",
    "label",
    "plan_for_units",
    "smallest_width",
    "spread_widths",
    "width_limits",
]
