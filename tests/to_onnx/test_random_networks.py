"""Random networks compute the same in ONNX."""

from __future__ import annotations

from hypothesis import given, settings
from support.onnx_comparison import assert_same_in_onnx, model_of
from support.random_networks import networks
from tvm import IRModule


@given(networks())
@settings(max_examples=20)  # each is compiled, which takes a third of a second
def test_the_onnx_form_of_a_random_network_computes_what_relax_does(module: IRModule) -> None:
    assert_same_in_onnx(model_of(module))
