"""Every row of the op table obeys the exactness law."""

from __future__ import annotations

import pytest
from support.exactness import assert_exact
from support.networks import Body, build
from support.op_graphs import OP_GRAPHS
from tvm import IRModule, relax

from tvm_prune.channels.ops import OPS

CASES = [
    pytest.param(name, body, id="-".join(filter(None, (name.removeprefix("relax."), variant))))
    for name, variants in OP_GRAPHS.items()
    for variant, body in variants.items()
]


def calls(module: IRModule) -> set[str]:
    return {
        binding.value.op.name
        for block in module["main"].body.blocks
        for binding in block.bindings
        if isinstance(binding.value, relax.Call)
    }


def test_every_row_has_a_network() -> None:
    assert set(OP_GRAPHS) == set(OPS)


@pytest.mark.parametrize(("name", "body"), CASES)
def test_pruned_equals_masked(name: str, body: Body) -> None:
    module = build(body)
    assert name in calls(module)
    assert_exact(module)
