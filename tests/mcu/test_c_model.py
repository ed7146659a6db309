"""Whole models on emulated boards, held against ONNX Runtime."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from support.onnx_models import onnx_model, weight

from tvm_prune.board import Board, load_board
from tvm_prune.errors import ExportError
from tvm_prune.frontend import load
from tvm_prune.mcu import CModel, compile_c_model, kernel_c_model
from tvm_prune.mcu.dialogue import profile_model, run_model
from tvm_prune.mcu.firmware import FirmwareBuilder
from tvm_prune.mcu.qemu import QemuLink
from tvm_prune.transform import inference_form
from tvm_prune.tuning import default_schedule, kernel_calls, lower

BOARDS = ("mps2-an386", "mps2-an500", "mps3-an547")

CNN = onnx_model(
    """
    a = Conv <pads=[1,1,1,1]> (x, stem, bias) r = Relu(a)
    d = Conv <pads=[0,0,1,1], strides=[2,2], group=6> (r, depthwise) e = Clip(d, low, high)
    p = Conv(e, pointwise) q = Conv <pads=[1,1,1,1]> (p, square) s = Add(p, q) t = Sigmoid(s)
    m = MaxPool <kernel_shape=[2,2], strides=[2,2]> (t) g = GlobalAveragePool(m)
    f = Flatten(g) l = Gemm <transB=1> (f, dense) y = Softmax(l)
    """,
    {
        "stem": weight(6, 3, 3, 3),
        "bias": weight(6),
        "depthwise": weight(6, 1, 3, 3),
        "low": np.float32(0),
        "high": np.float32(6),
        "pointwise": weight(9, 6, 1, 1),
        "square": weight(9, 9, 3, 3),
        "dense": 10 * weight(5, 9),
    },
)


def compiled(
    proto: onnx.ModelProto, board: Board, *, code: str = "llvm", scheduled: bool = True
) -> CModel:
    model, target = load(proto), board.tvm_target()
    lowered = lower(inference_form(model), target)
    schedules = {
        call.name: default_schedule(call.workload, target)
        for call in kernel_calls(lowered)
        if scheduled
    }
    return compile_c_model(
        lowered, target, "net", model.inputs, model.outputs, scheduled=schedules, code=code
    )


def outputs(model: CModel, board: Board, folder: Path, inputs: dict[str, Any]) -> list[Any]:
    elf = FirmwareBuilder(board, folder / "parts").build(model.files, folder / "model")
    link = QemuLink(str(board.machine), elf)
    return list(run_model(link, model.inputs, model.outputs, [inputs]).outputs[0])


def reference(proto: onnx.ModelProto, inputs: dict[str, Any]) -> list[Any]:
    return list(onnxruntime.InferenceSession(proto.SerializeToString()).run(None, inputs))


def image(seed: int = 0) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).standard_normal((1, 3, 8, 8)).astype("float32")}


@pytest.mark.parametrize("code", ["llvm", "c"])
@pytest.mark.parametrize("name", BOARDS)
def test_outputs_are_those_of_onnx_runtime(name: str, code: str, tmp_path: Path) -> None:
    board = load_board(name)
    [found] = outputs(compiled(CNN, board, code=code), board, tmp_path, image())
    [expected] = reference(CNN, image())
    assert expected.max() > 1.5 * expected.min()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("code", ["llvm", "c"])
def test_unscheduled_kernels_run_as_well(code: str, tmp_path: Path) -> None:
    board = load_board("mps2-an500")
    [found] = outputs(compiled(CNN, board, code=code, scheduled=False), board, tmp_path, image())
    np.testing.assert_allclose(found, reference(CNN, image())[0], rtol=1e-4)


def test_several_outputs_one_of_which_is_an_input(tmp_path: Path) -> None:
    proto = onnx_model(
        "a, b = Split <axis=1> (x, parts) y = Relu(a) z = Neg(b) same = Identity(x)",
        {"parts": np.array([1, 2], dtype="int64")},
        outputs="y,z,same",
    )
    board = load_board("mps2-an500")
    model = compiled(proto, board)
    for found, expected in zip(
        outputs(model, board, tmp_path, image()), reference(proto, image()), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_maximum_reductions_are_right_in_c(tmp_path: Path) -> None:
    proto = onnx_model(
        "m = ReduceMax <axes=[2,3], keepdims=1> (x) n = ReduceMin <axes=[2,3], keepdims=1> (x) "
        "y = Sub(m, n)"
    )
    board = load_board("mps2-an500")
    model = compiled(proto, board, code="c", scheduled=False)
    [found] = outputs(model, board, tmp_path, image())
    np.testing.assert_allclose(found, reference(proto, image())[0], rtol=1e-6)


def test_a_firmware_has_no_heap_no_runtime_and_no_constructors(tmp_path: Path) -> None:
    board = load_board("mps2-an500")
    builder = FirmwareBuilder(board, tmp_path / "parts")
    elf = builder.build(compiled(CNN, board).files, tmp_path / "model")
    listed = subprocess.run(
        ["arm-none-eabi-nm", str(elf)], capture_output=True, text=True, check=True
    )
    names = [line.split()[-1] for line in listed.stdout.splitlines()]
    assert "model_run" in names
    unwanted = ("malloc", "TVM", "tvm_ffi", "__init_array_start", "_GLOBAL__")
    assert not [name for name in names if any(word in name for word in unwanted)]


def test_one_kernel_is_a_model_that_can_be_profiled(tmp_path: Path) -> None:
    board = load_board("mps2-an500")
    [call] = kernel_calls(
        lower(inference_form(load(onnx_model("y = Relu(x)"))), board.tvm_target())
    )
    model = kernel_c_model(call.workload.mod, board.tvm_target())
    assert [spec.shape for spec in (*model.inputs, *model.outputs)] == [(1, 3, 8, 8)] * 2
    assert model.footprint.arena == 2 * 3 * 8 * 8 * 4
    builder = FirmwareBuilder(board, tmp_path / "parts")
    elf = builder.build(model.files, tmp_path / "model", profile=True)
    report = profile_model(QemuLink(str(board.machine), elf), model.inputs, 1)
    assert 192 < report.kernels[0] < 192 * 20


def test_the_header_says_what_the_model_takes() -> None:
    header = compiled(CNN, load_board("mps2-an500")).files["model.h"].decode()
    assert "input 0: x, float32 [1, 3, 8, 8]" in header
    assert '#define MODEL_NAME "net"' in header


def test_unknown_forms_of_code_are_refused() -> None:
    with pytest.raises(ExportError, match="'rust'; allowed: llvm, c"):
        compiled(CNN, load_board("mps2-an500"), code="rust")
