"""Models as exporters write them load; where one simplifier fails, another one helps."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from support.agreement import assert_same_results
from support.onnx_models import copy_of, light, onnx_model, weight

from tvm_prune.channels import find_channels
from tvm_prune.errors import ModelError
from tvm_prune.frontend import load_onnx

HEAD = """
    a = Conv <pads=[1,1,1,1]> (x, w1) b = GlobalAveragePool(a)
    s = Shape(b) n = Gather <axis=0> (s, zero) m = Unsqueeze(n, axes) t = Concat <axis=0> (m, rest)
    c = Reshape(b, t) y = Gemm <transB=1> (c, w2)
"""
HEAD_WEIGHTS = {
    "w1": weight(8, 3, 3, 3),
    "w2": weight(5, 8),
    "zero": np.array(0),
    "axes": np.array([0]),
    "rest": np.array([-1]),
}
DYNAMIC = "float[batch,3,height,width] x"
SHAPES = {"x": (2, 3, 8, 8)}


def head() -> onnx.ModelProto:
    """A classifier that computes the shape of its features, as tracing exporters write it."""
    return onnx_model(HEAD, HEAD_WEIGHTS, inputs=DYNAMIC)


def loaded_exactly(proto: onnx.ModelProto, width: int, **load: Any) -> None:
    model = assert_same_results(proto, **load)
    channels = find_channels(model.module)
    assert not channels.labelling.barriers
    assert [group.width for group in channels.groups] == [width]


def test_shape_arithmetic_of_a_reshape_is_folded() -> None:
    loaded_exactly(head(), 8, shapes=SHAPES)


def fail(*_args: Any, **_options: Any) -> None:
    raise RuntimeError("a bug of the simplifier")


def wrong(proto: onnx.ModelProto, **_options: Any) -> onnx.ModelProto:
    """A simplifier that takes a convolution for another one."""
    result = copy_of(proto)
    (node,) = [node for node in result.graph.node if node.op_type == "Conv"]
    pads = next(entry for entry in node.attribute if entry.name == "pads")
    pads.ints[:] = [2, 0, 2, 0]
    return result


def wrong_and_success(proto: onnx.ModelProto, **_options: Any) -> tuple[onnx.ModelProto, bool]:
    return wrong(proto), True


@pytest.mark.parametrize("broken", ["onnxslim.slim", "onnxsim.simplify"])
def test_one_simplifier_is_enough(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broken, fail)
    loaded_exactly(head(), 8, shapes=SHAPES)


@pytest.mark.parametrize(
    ("broken", "fault"), [("onnxslim.slim", wrong), ("onnxsim.simplify", wrong_and_success)]
)
def test_a_wrong_simplification_is_noticed_and_not_used(
    broken: str, fault: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(broken, fault)
    with caplog.at_level(logging.DEBUG, logger="tvm_prune.frontend"):
        loaded_exactly(head(), 8, shapes=SHAPES)
    assert "relative difference" in caplog.text


def test_a_plain_model_needs_no_simplifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxslim.slim", fail)
    monkeypatch.setattr("onnxsim.simplify", fail)
    proto = onnx_model(
        "a = Conv(x, w1) y = Conv(a, w2)", {"w1": weight(8, 3, 1, 1), "w2": weight(4, 8, 1, 1)}
    )
    loaded_exactly(proto, 8)


def test_an_import_that_computes_something_else_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tvm_prune.frontend import onnx as frontend

    write = frontend.to_onnx
    monkeypatch.setattr(frontend, "to_onnx", lambda model: wrong(write(model)))
    with pytest.raises(ModelError, match="imported model computes 'y' with a relative difference"):
        load_onnx(head(), SHAPES)


def test_a_model_that_onnxruntime_cannot_run_is_loaded_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    body = 'a = Conv <auto_pad="SAME_UPPER", dilations=[2,2]> (x, w1) y = Conv(a, w2)'
    proto = onnx_model(body, {"w1": weight(8, 3, 3, 3), "w2": weight(4, 8, 1, 1)})
    with caplog.at_level(logging.WARNING, logger="tvm_prune.frontend"):
        model = load_onnx(proto)
    assert "loaded without comparing results" in caplog.text
    assert model.outputs[0].shape == (1, 4, 8, 8)


def test_huge_logits_are_no_mismatch() -> None:
    # The generated weights make logits near 1e10, whose softmax is a matter of rounding.
    assert load_onnx(light("squeezenet")).parameters


def branched(condition: str) -> onnx.ModelProto:
    """A squeeze that a tracing exporter guards by the extent it found."""

    def branch(name: str, op: str) -> onnx.GraphProto:
        inputs = ["b", "where"] if op == "Squeeze" else ["b"]
        result = helper.make_empty_tensor_value_info(name)
        return helper.make_graph([helper.make_node(op, inputs, [name])], name, [], [result])

    body = (
        "a = Conv(x, w1) b = GlobalAveragePool(a) " + condition + " c = Relu(b) y = MatMul(c, w2)"
    )
    proto = onnx_model(
        body,
        {
            "w1": weight(8, 3, 1, 1),
            "w2": weight(8, 5),
            "where": np.array([2, 3]),
            "two": np.array(2),
            "one": np.array(1),
        },
        check=False,
    )
    index = next(i for i, node in enumerate(proto.graph.node) if node.output[0] == "c")
    proto.graph.node[index].CopyFrom(
        helper.make_node(
            "If",
            ["guard"],
            ["c"],
            name="guarded_squeeze",
            then_branch=branch("squeezed", "Squeeze"),
            else_branch=branch("same", "Identity"),
        )
    )
    return proto


def test_a_branch_that_shapes_decide_is_put_in_its_place() -> None:
    proto = branched("s = Shape(b) n = Gather <axis=0> (s, two) guard = Equal(n, one)")
    loaded_exactly(proto, 8)


def test_a_branch_that_the_input_decides_is_named() -> None:
    condition = "sum = ReduceSum <keepdims=0> (x) zero = Sub(sum, sum) guard = Greater(sum, zero)"
    with pytest.raises(ModelError, match=r"If \(node 'guarded_squeeze'\)"):
        load_onnx(branched(condition))


def test_a_scalar_input_is_static() -> None:
    proto = onnx_model(
        "a = Conv(x, w1) b = Mul(a, s) y = Conv(b, w2)",
        {"w1": weight(8, 3, 1, 1), "w2": weight(4, 8, 1, 1)},
        inputs="float[1,3,8,8] x, float s",
    )
    del proto.graph.input[1].type.tensor_type.shape.dim[:]
    proto.graph.input[1].type.tensor_type.shape.SetInParent()
    assert [spec.shape for spec in load_onnx(proto).inputs] == [(1, 3, 8, 8), ()]


def test_an_input_that_nothing_reads_stays_an_input() -> None:
    proto = onnx_model(
        "a = Conv(x, w1) y = Conv(a, w2)",
        {"w1": weight(8, 3, 1, 1), "w2": weight(4, 8, 1, 1)},
        inputs="float[1,4] unused, float[1,3,8,8] x",
    )
    assert [spec.name for spec in load_onnx(proto).inputs] == ["unused", "x"]


def test_functions_of_the_model_itself_are_inlined() -> None:
    double = helper.make_function(
        "local", "Double", ["v"], ["w"], [helper.make_node("Add", ["v", "v"], ["w"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    proto = onnx_model(
        "a = Conv(x, w1) b = Relu(a) y = Conv(b, w2)",
        {"w1": weight(8, 3, 1, 1), "w2": weight(4, 8, 1, 1)},
    )
    proto.graph.node[1].CopyFrom(helper.make_node("Double", ["a"], ["b"], domain="local"))
    proto.functions.append(double)
    proto.opset_import.append(helper.make_opsetid("local", 1))
    loaded_exactly(proto, 8)
