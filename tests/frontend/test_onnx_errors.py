"""Whatever is wrong with a model file, the message is one clear sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_models import onnx_model, weight

from tvm_prune.errors import ModelError
from tvm_prune.frontend import load_onnx
from tvm_prune.frontend.onnx_unsupported import refuse_unsupported


def model(inputs: str = "float[1,3,8,8] x") -> onnx.ModelProto:
    return onnx_model("y = Conv(x, w)", {"w": weight(4, 3, 3, 3)}, inputs=inputs)


def message(
    source: Path | onnx.ModelProto, shapes: dict[str, tuple[int, ...]] | None = None
) -> str:
    with pytest.raises(ModelError) as caught:
        load_onnx(source, shapes)
    text = str(caught.value)
    assert text.strip()
    assert "\n" not in text
    assert len(text) < 400
    return text


def test_a_missing_file(tmp_path: Path) -> None:
    assert f"There is no file {tmp_path / 'none.onnx'}" in message(tmp_path / "none.onnx")


def test_a_directory(tmp_path: Path) -> None:
    assert f"{tmp_path} is a directory" in message(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xde\xad\xbe\xef" * 40, id="garbage"),
        pytest.param(b"# Notes\n\nThis is not a network.\n", id="text"),
        pytest.param(b"", id="empty"),
        pytest.param(b"PK\x03\x04" + bytes(60), id="zip"),
        pytest.param(b"{}", id="json"),
    ],
)
def test_a_file_that_is_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert f"{path} is not an ONNX model" in message(path)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_truncated_file(tmp_path: Path, part: float) -> None:
    content = model().SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(content[: int(len(content) * part)])
    assert "model" in message(path)


def test_weights_in_another_file_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save_model(
        model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    (tmp_path / "weights.bin").unlink()
    assert "weights.bin" in message(path)


def test_an_unreadable_operator_name(tmp_path: Path) -> None:
    text = message(onnx_model("y = NoSuchOperator(x)", check=False))
    assert "NoSuchOperator" in text


def test_a_graph_that_the_checker_refuses() -> None:
    text = message(onnx_model("a = Relu(x) y = Add(a, nowhere)", check=False))
    assert "malformed" in text
    assert "nowhere" in text


def test_a_dynamic_batch_says_which_shape_to_give() -> None:
    text = message(onnx_model("y = Relu(picture)", inputs="float[N,3,8,8] picture"))
    assert "'picture' has the dynamic shape [N,3,8,8]" in text
    assert "--shape picture:1,3,8,8" in text


def test_a_shape_for_an_input_that_does_not_exist() -> None:
    text = message(model(), {"image": (1, 3, 8, 8)})
    assert "no input 'image'" in text
    assert "its inputs are x" in text


def test_a_shape_of_another_rank() -> None:
    text = message(model(), {"x": (3, 8, 8)})
    assert "has 4 axes" in text
    assert "[3, 8, 8] has 3" in text


def test_a_shape_that_the_weights_refuse() -> None:
    assert message(model(), {"x": (1, 5, 8, 8)})


def test_an_operator_that_tvm_lacks_is_named_with_its_node() -> None:
    proto = onnx_model("y = Det(x)", inputs="float[2,3,3] x")
    proto.graph.node[0].name = "determinant"
    text = message(proto)
    assert "Det (node 'determinant')" in text
    assert "TVM cannot import" in text


RECURRENT = "y, h, c = LSTM <hidden_size=4> (x, w, r)"
UNSUPPORTED = {
    "LSTM": (RECURRENT, "float[5,1,3] x", "cut the model before that node"),
    "GRU": ("y, h = GRU <hidden_size=4> (x, w, r)", "float[5,1,3] x", "cut the model"),
    "RNN": ("y, h = RNN <hidden_size=4> (x, w, r)", "float[5,1,3] x", "cut the model"),
    "ConvInteger": ("y = ConvInteger(x, w)", "uint8[1,3,8,8] x", "in floating point"),
    "QLinearConv": ("y = QLinearConv(x, s, z, w, s, z, s, z)", "uint8[1,3,8,8] x", "quantize"),
    "StringNormalizer": ("y = StringNormalizer(x)", "string[3] x", "inputs are prepared"),
}


@pytest.mark.parametrize("op", UNSUPPORTED)
def test_what_no_simplifier_can_remove_is_named_at_once(
    op: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_args: object, **_options: object) -> None:
        raise AssertionError("the model was simplified first")

    monkeypatch.setattr("tvm_prune.frontend.onnx.simplified_forms", never)
    body, inputs, way_out = UNSUPPORTED[op]
    proto = onnx_model(body, inputs=inputs, check=False)
    proto.graph.node[0].name = "the_layer"
    weights = set(proto.graph.node[0].input) - {"x"}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.zeros((1, 1)), name) for name in weights
    )
    text = message(proto)
    assert f"{op} (node 'the_layer')" in text
    assert way_out in text


def test_a_loop_inside_a_branch_is_named() -> None:
    proto = onnx_model("y = Relu(x)")
    inner = onnx.helper.make_graph(
        [onnx.helper.make_node("Loop", ["x"], ["i"], "roll")], "g", [], []
    )
    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("If", ["x"], ["j"], then_branch=inner, else_branch=inner)],
        "g",
        [],
        [],
    )
    outer = onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    proto.graph.node[0].CopyFrom(outer)
    with pytest.raises(ModelError, match=r"Loop \(node 'roll'\).*unrolled"):
        refuse_unsupported(proto, "net")


def test_an_operator_of_another_domain_is_named_with_its_domain() -> None:
    proto = onnx_model("y = Relu(x)")
    proto.graph.node[0].domain = "my.company"
    proto.graph.node[0].name = "special"
    proto.opset_import.append(onnx.helper.make_opsetid("my.company", 1))
    text = message(proto)
    assert "my.company::Relu (node 'special')" in text
    assert "standard ONNX operators" in text


def test_an_input_that_is_no_tensor() -> None:
    proto = onnx_model("y = Relu(x)")
    tensor = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [1])
    proto.graph.input[0].type.CopyFrom(onnx.helper.make_sequence_type_proto(tensor))
    with pytest.raises(ModelError, match="Input 'x' of the model 'net' is a sequence"):
        refuse_unsupported(proto, "net")


@pytest.mark.parametrize("extent", [0, -1])
def test_a_shape_without_positions(extent: int) -> None:
    text = message(model(), {"x": (extent, 3, 8, 8)})
    assert f"[{extent}, 3, 8, 8]" in text
    assert "from 1 on" in text


def test_a_failing_load_leaves_the_callers_model_alone() -> None:
    proto = onnx_model("y = Relu(x)", inputs="float[N,3,8,8] x")
    before = proto.SerializeToString()
    message(proto)
    load_onnx(proto, {"x": (1, 3, 8, 8)})
    assert proto.SerializeToString() == before


def test_integer_weights_do_not_become_channels() -> None:
    proto = onnx_model(
        "a = Gather <axis=1> (x, order) y = Conv(a, w)",
        {"order": np.array([2, 1, 0]), "w": weight(4, 3, 1, 1)},
    )
    assert set(load_onnx(proto).parameters) == {"w"}
