from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tvm
from support.onnx_models import onnx_model, weight

from tvm_prune.board import load_board
from tvm_prune.firmware_build import compile_for
from tvm_prune.frontend import load
from tvm_prune.mcu.dialogue import run_model
from tvm_prune.mcu.firmware import FirmwareBuilder
from tvm_prune.mcu.in_place import kernels_in_place, overwritable_inputs, places_taken
from tvm_prune.mcu.program import Program, read_program
from tvm_prune.mcu.qemu import QemuLink
from tvm_prune.transform import inference_form
from tvm_prune.tuning import lower

TARGET = tvm.target.Target({"kind": "llvm", "mtriple": "thumbv7em-none-eabihf", "num-cores": 1})
SQUARE = {"w": weight(3, 3, 3, 3), "v": weight(3, 3, 3, 3)}
RESIDUAL = """
    a = Conv <pads=[1,1,1,1]> (x, w) b = Conv <pads=[1,1,1,1]> (a, v)
    c = Conv <pads=[1,1,1,1]> (b, w) d = Add(c, a) y = Relu(d)
"""


def program_of(body: str, **weights: np.ndarray) -> Program:
    return read_program(lower(inference_form(load(onnx_model(body, weights))), TARGET))


@pytest.mark.parametrize(
    ("body", "positions"),
    [
        ("y = Relu(x)", (0,)),
        ("s = Sigmoid(x) t = Mul(s, x) y = Tanh(t)", (0,)),
        ("y = Transpose <perm=[0,1,3,2]> (x)", ()),
        ("y = Softmax <axis=1> (x)", ()),
        ("y = Conv <pads=[1,1,1,1]> (x, w)", ()),
        ("y = MaxPool <kernel_shape=[3,3], pads=[1,1,1,1]> (x)", ()),
    ],
)
def test_only_what_is_read_where_it_is_written_may_be_overwritten(
    body: str, positions: tuple[int, ...]
) -> None:
    [kernel] = program_of(body, **(SQUARE if "w" in body else {})).kernels.values()
    assert overwritable_inputs(kernel) == positions


def test_a_sum_takes_the_place_of_the_shortcut() -> None:
    program = program_of(RESIDUAL, **SQUARE)
    first, _, last = program.calls
    assert places_taken(program) == {last.outputs[0]: first.outputs[0]}
    assert kernels_in_place(program, places_taken(program)) == {last.kernel}


def test_what_a_kernel_also_reads_elsewhere_keeps_its_memory() -> None:
    body = "a = Conv <pads=[1,1,1,1]> (x, w) b = Conv <pads=[1,1,1,1]> (a, v) y = Add(b, a)"
    assert places_taken(program_of(body, **SQUARE)) == {}


def test_what_is_read_later_keeps_its_memory() -> None:
    model = load(onnx_model(RESIDUAL + "z = Softmax <axis=1> (a)", SQUARE, outputs="y,z"))
    program = read_program(lower(inference_form(model), TARGET))
    shortcut = program.calls[0].outputs[0]
    readers = [call for call in program.calls if shortcut in call.inputs]
    assert len(readers) == 3
    for call in readers[:-1]:
        assert places_taken(program).get(call.outputs[0]) is not shortcut


def test_an_output_keeps_its_memory() -> None:
    model = load(onnx_model("y = Relu(x) a = Neg(y) z = Transpose(a)", outputs="y,z"))
    program = read_program(lower(inference_form(model), TARGET))
    assert program.outputs[0] not in places_taken(program).values()


@pytest.mark.parametrize("code", ["llvm", "c"])
def test_sums_in_place_are_right_and_save_a_tensor(code: str, tmp_path: Path) -> None:
    board, proto = load_board("mps2-an500"), onnx_model(RESIDUAL, SQUARE)
    tensor = 3 * 8 * 8 * 4
    model = compile_for(load(proto), board, tmp_path / "cache", code, ram=2 * tensor)
    assert model.footprint.arena == 2 * tensor
    elf = FirmwareBuilder(board, tmp_path / "parts").build(model.files, tmp_path / "model")
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype("float32")
    link = QemuLink(str(board.machine), elf)
    [[found]] = run_model(link, model.inputs, model.outputs, [{"x": x}]).outputs
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    np.testing.assert_allclose(found, session.run(None, {"x": x})[0], rtol=1e-4, atol=1e-5)
