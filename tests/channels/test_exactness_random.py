"""The exactness law holds for random networks and random removals."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st
from support.exactness import assert_exact, random_removal
from support.random_networks import networks
from tvm import IRModule

from tvm_prune.channels import find_channels


@given(module=networks(), seed=st.integers(0, 2**16))
def test_pruned_equals_masked(module: IRModule, seed: int) -> None:
    channels = find_channels(module)
    assume(any(group.width > 1 for group in channels.groups))
    assert_exact(module, random_removal(channels, seed))
