"""The exactness law holds for random networks and random removals."""

from __future__ import annotations

from hypothesis import assume, given, reject
from hypothesis import strategies as st
from support.exactness import VacuousError, assert_exact, random_removal
from support.random_networks import networks
from tvm import IRModule

from tvm_prune.channels import find_channels
from tvm_prune.channels.rule import AttentionUnit


@given(module=networks(), seed=st.integers(0, 2**16), attention=st.sampled_from(["dims", "heads"]))
def test_pruned_equals_masked(module: IRModule, seed: int, attention: AttentionUnit) -> None:
    channels = find_channels(module, attention=attention)
    assume(any(group.width > 1 for group in channels.groups))
    try:
        assert_exact(module, random_removal(channels, seed), attention=attention)
    except VacuousError:
        reject()  # such as channels that are sliced away before the output; too many fail the test
