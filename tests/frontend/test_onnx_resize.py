"""Lines are resized as images of one row, with the channels free to go."""

from __future__ import annotations

import numpy as np
import pytest
from support.agreement import assert_same_results
from support.onnx_models import onnx_model, weight

from tvm_prune.channels import find_channels
from tvm_prune.frontend import load_onnx

WEIGHTS = {"w1": weight(8, 3, 3), "w2": weight(4, 8, 1)}
INPUTS = "float[1,3,10] x"
MODES = {
    "nearest": 'mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"',
    "linear": 'mode="linear"',
    "pytorch": 'mode="linear", coordinate_transformation_mode="pytorch_half_pixel"',
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("extents", ["scales", "sizes"])
@pytest.mark.parametrize("opset", [13, 17])
def test_a_resized_line_keeps_its_channels_prunable(mode: str, extents: str, opset: int) -> None:
    values = {"s": np.array([1, 1, 2], "float32" if extents == "scales" else "int64")}
    if extents == "sizes":
        values["s"][1:] = [8, 12]
    operands = "h, , s" if extents == "scales" else "h, , , s"
    body = f"h = Conv(x, w1) r = Resize <{MODES[mode]}> ({operands}) y = Conv(r, w2)"
    model = assert_same_results(onnx_model(body, WEIGHTS | values, inputs=INPUTS, opset=opset))
    channels = find_channels(model.module)
    assert not channels.labelling.barriers
    assert [group.width for group in channels.groups] == [8]


def test_a_line_whose_corners_are_aligned_is_a_barrier() -> None:
    attributes = 'mode="linear", coordinate_transformation_mode="align_corners"'
    body = f"h = Conv(x, w1) r = Resize <{attributes}> (h, , s) y = Conv(r, w2)"
    weights = {**WEIGHTS, "s": np.array([1, 1, 2], "float32")}
    channels = find_channels(load_onnx(onnx_model(body, weights, inputs=INPUTS)).module)
    assert [entry.op for entry in channels.labelling.barriers] == ["call_tir(resize1d)"]


def test_an_empty_region_of_interest_changes_nothing() -> None:
    body = 'h = Conv(x, w1) r = Resize <mode="linear"> (h, none, s) y = Conv(r, w2)'
    values = {"none": np.zeros(0, "float32"), "s": np.array([1, 1, 2], "float32")}
    model = assert_same_results(onnx_model(body, WEIGHTS | values, inputs=INPUTS))
    assert not find_channels(model.module).labelling.barriers
