"""Every network of the op table computes the same in ONNX."""

from __future__ import annotations

import pytest
from support.networks import Body, build
from support.onnx_comparison import assert_same_in_onnx, model_of
from support.op_graphs import OP_GRAPHS

from tvm_prune.channels.ops import OPS
from tvm_prune.to_onnx.ops import CONVERTERS

CASES = {
    f"{name.removeprefix('relax.')}-{variant}" if variant else name.removeprefix("relax."): body
    for name, variants in OP_GRAPHS.items()
    for variant, body in variants.items()
}


def test_every_op_that_can_be_pruned_can_be_written() -> None:
    assert not set(OPS) - set(CONVERTERS)


@pytest.mark.parametrize("body", CASES.values(), ids=CASES)
def test_the_onnx_form_computes_what_relax_does(body: Body) -> None:
    assert_same_in_onnx(model_of(build(body)))
